"""`make pair`: waits until the run's instance takes bridges and prints the pairing string, alone, on standard output.

Where things stand is told on standard error, and when no instance comes, why. The string is a secret: it is printed
once and written nowhere. It starts nothing; `make start` does.
"""

import sys
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.capacity import explain
from scripts.cloud.command import DeploymentFile, note
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.own_run import RunFile, ServiceFolder, folder_of
from scripts.cloud.waiting import Wait
from train_cloud.receiver_client import Unreachable, healthz
from train_cloud.run_folder.files import PAIRING
from train_cloud.run_folder.states import Reason
from wire.pairing import Pairing, PairingError, PinMismatch, format_pairing, parse_pairing

MINUTES = 20.0
"""A GPU instance's first boot builds its environment; later ones restore it within two or three minutes."""

_NEXT_STEPS: dict[str, str] = {
    Reason.FINISHED: "`make fetch` brings the model home; for another run set a new run_id in terraform.tfvars and run "
    "`terraform -chdir=terraform apply`, then `make start`.",
    Reason.FAILED: "`make logs` shows what led to it; when the cause is mended: `make start`.",
    Reason.OVER_BUDGET: "Raise budget_usd in terraform.tfvars, run `terraform -chdir=terraform apply`, then `make "
    "start`.",
}


def pair(
    wait_minutes: Annotated[
        float, typer.Option(envvar="AC_WAIT_MINUTES", min=0.0, help="Longest time to wait for the instance.")
    ] = MINUTES,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Print the pairing string of the running instance, or of the run that is served on this machine."""
    if here := folder_of(run, folder, deployment):
        pairing = pairing_here(here)
    else:
        pairing = pairing_when_ready(Cloud(load_deployment(deployment)), Wait(wait_minutes))
    if sys.stdout.isatty():
        note("The next line is a secret: whoever has it can drive for this run. `ac-bridge pair` asks for it.")
    print(format_pairing(pairing))


def pairing_here(folder: Path) -> Pairing:
    """The pairing of the receiver that works in the folder. Raises OperatorError."""
    try:
        return parse_pairing((folder / PAIRING).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OperatorError(f"No receiver runs in {folder}. `make serve FOLDER={folder}` starts one.") from None
    except OSError as error:
        raise OperatorError(
            f"{folder / PAIRING} cannot be read ({error.strerror}). Is it another user's (sudo)?"
        ) from error
    except (PairingError, UnicodeDecodeError) as error:
        raise OperatorError(f"{folder / PAIRING} is no pairing string. Start the receiver anew.") from error


def pairing_when_ready(cloud: Cloud, wait: Wait) -> Pairing:
    """The pairing, once the receiver of the present instance answers healthy. Raises OperatorError when none will."""
    while True:
        group = cloud.group()
        if group.desired == 0:
            raise OperatorError(why_nothing_runs(cloud))
        if problem := cloud.other_run(group.instance):
            raise OperatorError(problem, ExitCode.REFUSED)
        if group.instance is None:
            state = _no_instance(cloud)
        elif (endpoint := cloud.present_endpoint(group.instance)) is None:
            doing = "boots" if group.instance.state == "running" else f"is {group.instance.state}"
            state = f"{group.instance} {doing}; its receiver has no address yet"
        else:
            pairing = cloud.pairing(endpoint)
            problem = _not_healthy(pairing)
            if problem is None:
                wait.say(
                    f"the receiver at {pairing.host}:{pairing.port} is healthy; it works for the run {endpoint.run_id}"
                )
                return pairing
            state = f"{endpoint.instance_id} has the address {pairing.host}:{pairing.port}; {problem}"
        wait.say(state)
        if not wait.again():
            raise OperatorError(
                f"After {wait.minutes:g} minutes the run takes no bridges yet. Last: {state}. `make logs` and `make "
                "status` tell more; `make pair` goes on waiting."
            )


def why_nothing_runs(cloud: Cloud) -> str:
    """Why the desired capacity is 0, with what to do; from the newest ending in the bucket."""
    ending = cloud.record.last_ending()
    name = cloud.deployment.run_id
    if ending is None or ending.reason == Reason.INTERRUPTED:
        return f"No instance is wanted for the run {name} (desired capacity 0). `make start` begins it."
    next_step = _NEXT_STEPS.get(ending.reason, "`make start` goes on from the last checkpoint.")
    reason = ending.reason.replace("_", " ")
    return f"The run {name} is not running: {reason}, {ending.at:%Y-%m-%d %H:%M} UTC. {ending.text} {next_step}"


def _no_instance(cloud: Cloud) -> str:
    """Where things stand without an instance. Raises OperatorError when the last attempt failed for good."""
    failure, started = cloud.failure(), cloud.record.started()
    if failure is None or (started is not None and failure[0] < started):
        return "an instance is requested; none is there yet"
    cause = explain(failure[1], cloud.deployment.region, cloud.deployment.instance_types)
    if not cause.passing:
        raise OperatorError(f"No instance comes. {cause.text}")
    return f"no instance yet. {cause.text}"


def _not_healthy(pairing: Pairing) -> str | None:
    """What keeps the receiver from taking bridges; None when nothing does."""
    try:
        status, text = healthz(pairing)
    except (Unreachable, PinMismatch) as error:
        return str(error)
    return None if status == HTTPStatus.OK else f"its receiver says: {text.strip()[:200]}"
