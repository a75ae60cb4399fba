"""`make stop`: ends the run's instance in order: desired capacity 0, with the reason in the bucket; or the run that is
served or installed on this machine.

The instance saves everything when it is shut down (a last checkpoint, the last experience, its log), which is why this
waits until it is gone, for a bounded time. `make start` goes on from there.
"""

from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import OperationalError
from typing import Annotated

import msgspec
import typer

from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.own_run import RunFile, ServiceFolder, folder_of
from scripts.cloud.run_record import Ending
from scripts.cloud.waiting import Wait
from scripts.serve.folder import ENDED, LOGS, STOP, is_held
from scripts.serve.installed import ends_out_of_order, is_installed, stop_units
from train_cloud.object_store import ObjectStoreError
from train_cloud.run_folder.states import Reason

MINUTES = 8.0
HERE_SECONDS = 0.2
"""Between two looks at a run on this machine."""
_STAYS = "What was driven is in its store and in the spools of the bridges."


def stop(
    wait_minutes: Annotated[
        float, typer.Option(envvar="AC_WAIT_MINUTES", min=0.0, help="Longest time to wait until it is gone.")
    ] = MINUTES,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Stop the run, and say whether everything is saved."""
    if here := folder_of(run, folder, deployment):
        stop_here(here, Wait(wait_minutes))
    else:
        stop_instance(deployment, wait_minutes)


def stop_here(folder: Path, wait: Wait) -> None:
    """Stop what serves the folder on this machine. Raises OperatorError, also where not everything was saved."""
    try:
        if is_installed(folder):
            problem = stop_units(folder)
            if problem:
                raise OperatorError(f"systemd does not stop the services of {folder}; it says: {problem}")
            if ends := ends_out_of_order(folder):
                raise OperatorError(
                    f"Stopped the services of {folder}, but not in order ({'; '.join(ends)}), so that something may "
                    "not be saved: `journalctl -u ac-receiver -u ac-training` says what (with --user, if they are your "
                    f"own). {_STAYS} They start again with the machine."
                )
            print(f"Stopped the services of {folder}; everything is saved. They start again with the machine.")
            return
        if not is_held(folder):
            print(f"Nothing serves {folder}; nothing is changed.")
            return
        (folder / STOP).touch()
        while is_held(folder):
            wait.say("its processes save what they have")
            if not wait.again(HERE_SECONDS):
                raise OperatorError(
                    f"After {wait.minutes:g} minutes the run in {folder} has not ended; {folder / LOGS} says why."
                )
        code = (folder / ENDED).read_text("utf-8").strip() if (folder / ENDED).exists() else None
    except (OSError, OperationalError) as error:
        said = getattr(error, "strerror", None) or error
        raise OperatorError(f"The run in {folder} cannot be stopped: {said}. Is it another user's (sudo)?") from error
    if code != str(int(ExitCode.OK)):
        how = "without a word" if code is None else f"with exit code {code}"
        raise OperatorError(
            f"The run in {folder} has ended {how}, so that something may not be saved: {folder / LOGS} says what. "
            f"{_STAYS} `make serve FOLDER={folder}` goes on from there."
        )
    print(f"Stopped the run in {folder}; everything is saved. `make serve FOLDER={folder}` goes on from there.")


def stop_instance(deployment: Path | None, wait_minutes: float) -> None:
    """Set the desired capacity to 0 and wait. Raises OperatorError."""
    cloud = Cloud(applied := load_deployment(deployment))
    group = cloud.group()
    if group.desired == 0 and group.existing == 0:
        print(f"Nothing runs for {cloud.deployment.run_id}; nothing is changed.")
        return
    cloud.set_desired(0)
    if (running := group.instance) and running.run_id:
        # What ends is the run that the instance works for, whatever was applied since.
        cloud = Cloud(msgspec.structs.replace(applied, run_id=running.run_id))
    if group.desired > 0:
        _record(cloud, running.instance_id if running else "none")
    wait = Wait(wait_minutes)
    while (group := cloud.group()).existing:
        if group.desired:
            raise OperatorError("Somebody started the run again in the meantime. Run `make stop` again to stop it.")
        wait.say("no instance is wanted any more; the one that is there saves everything and shuts down")
        if not wait.again():
            raise OperatorError(
                f"After {wait.minutes:g} minutes the instance is still shutting down. Nothing replaces it; `make "
                "status` shows when it is gone, and so does the EC2 console."
            )
    same = cloud.deployment.run_id == applied.run_id
    then = "goes on from there" if same else f"begins the run {applied.run_id}, for which this deployment is"
    print(
        f"Stopped the run {cloud.deployment.run_id}. Everything is in s3://{cloud.deployment.bucket}/{cloud.objects.prefix}"
        f" ; `make start` {then}."
    )


def _record(cloud: Cloud, instance_id: str) -> None:
    ending = Ending(
        reason=Reason.STOPPED,
        text="The owner stopped the run (make stop).",
        at=datetime.now(UTC),
        instance_id=instance_id,
        run_id=cloud.deployment.run_id,
        desired_capacity=0,
    )
    try:
        cloud.record.put_ending(ending)
    except ObjectStoreError as error:
        # Stopping is what was asked for; its record is for the next `make status`.
        note(f"The run is stopped, but the bucket has no record of it: {error}")
