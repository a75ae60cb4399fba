"""A run of one's own: by its run.json on any machine, by its folder on the machine that serves it; without Terraform.

It answers what the operator's commands ask of the cloud's run: what lies in the run's folder of the bucket, and, on the
machine where it listens, the receiver. Where nothing is named, it is the run that is served here, if there is one and
Terraform was never set up here.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from runtime.exit_codes import ExitCode
from runtime.progress import duration
from scripts.cloud.aws import Cloud
from scripts.cloud.deployment import TERRAFORM_FOLDER, OperatorError, load_deployment
from scripts.cloud.progress import RunProgress, figures_of
from scripts.cloud.run_record import RunRecord
from scripts.serve.folder import FOLDER as SERVED
from scripts.serve.folder import moved
from scripts.serve.installed import is_installed
from train_cloud.object_store import ObjectStoreAbsent
from train_cloud.open_store import open_store
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_config import ConfigError, load_run_config
from train_cloud.run_folder.files import PAIRING, RUN_CONFIG, STORE, VAR
from train_cloud.run_folder.keys import DONE, run_prefix
from train_cloud.run_folder.states import BRIDGES, TrainerState
from wire.pairing import PairingError, PinMismatch, parse_pairing

RunFile = Annotated[
    Path | None,
    typer.Option(
        "--run",
        envvar="AC_RUN_FILE",
        help="run.json of a run of your own; default: the one served here, or the cloud's.",
    ),
]
ServiceFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder", envvar="AC_FOLDER", help="The folder of a run that is served or installed on this machine."
    ),
]
WORK = Path("work")
"""The receiver's folder of a run.json that lies elsewhere."""
REPORTED_SECONDS = 60.0
"""A trainer that runs reports more often than this."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches itself, if the receiver listens at every address."""


class Place(NamedTuple):
    """Where a run of one's own is: its settings, and the folder of its receiver."""

    run_file: Path
    folder: Path


def place_of(run: Path | None, folder: Path | None, deployment: Path | None) -> Place | None:
    """What a command is about, by what was named; None for the cloud's run. Raises OperatorError."""
    if run is not None:
        return Place(run, folder or _receiver_of(run))
    if folder is None and (deployment is not None or (TERRAFORM_FOLDER / ".terraform").exists()):
        return None
    for one in [folder] if folder else [SERVED, Path(VAR)]:
        try:
            if (one / RUN_CONFIG).exists() and (folder or one == SERVED or is_installed(one)):
                return Place(one / RUN_CONFIG, one)
        except PermissionError:
            raise OperatorError(
                f"The folder {one} is another user's. The run in it is asked with his rights: put sudo before the "
                "command.",
                ExitCode.USAGE,
            ) from None
    if folder is not None:
        raise OperatorError(
            f"The folder {folder} holds no run: {folder / RUN_CONFIG} is missing. FOLDER= names the one that `make "
            "serve` works in, RUN= the run.json of another run of your own.",
            ExitCode.USAGE,
        )
    return None


def _receiver_of(run: Path) -> Path:
    """The folder of the receiver that works by such a run.json: beside it, where the run is served here, or WORK."""
    if (run.parent / STORE).exists():
        return run.parent
    # What else is wrong with a file, or which folders are another user's, is told where it is needed.
    with suppress(ConfigError, OSError):
        run_id = load_run_config(run).run_id
        for one in (SERVED, Path(VAR)):
            served = one == SERVED or is_installed(one)
            if served and (one / RUN_CONFIG).exists() and load_run_config(one / RUN_CONFIG).run_id == run_id:
                return one
    return WORK


def folder_of(run: Path | None, folder: Path | None, deployment: Path | None) -> Path | None:
    """The folder of the receiver that a command is about; None for the cloud's. Raises OperatorError."""
    place = None if folder else place_of(run, folder, deployment)
    return place.folder if place else folder


def run_of(run: Path | None, folder: Path | None, deployment: Path | None) -> "OwnRun | Cloud":
    """The run that a command is about: one of one's own, or the cloud's. Raises OperatorError."""
    place = place_of(run, folder, deployment)
    return OwnRun(place) if place else Cloud(load_deployment(deployment))


class OwnRun:
    """The run at a `place`: `objects` and `record` are its folder in the bucket. Raises OperatorError."""

    def __init__(self, place: Place) -> None:
        self.file, self.folder = run_file, _ = place
        try:
            self.config = load_run_config(run_file)
        except ConfigError as error:
            raise OperatorError(str(error), ExitCode.USAGE) from error
        self.run_id = self.config.run_id
        if run_file.parent == self.folder and (problem := moved(self.folder, self.config)):
            raise OperatorError(problem, ExitCode.USAGE)
        try:
            self.objects = open_store(self.config.bucket, run_prefix(self.run_id))
            self.objects.find(DONE)
        except ObjectStoreAbsent as error:
            raise OperatorError(str(error), ExitCode.STORAGE) from error
        self.record = RunRecord(self.objects)

    def look(self) -> RunProgress:
        """How the run stands, and its receiver, where that is on this machine."""
        document, total = self.record.metrics(), self.config.total_timesteps
        found = RunProgress(
            run_id=self.run_id,
            state="finished" if self.record.is_done(total) else "not started, or nothing is reported yet",
            total_timesteps=total,
            **figures_of(self.record),
        )
        if document and found.state != "finished":
            age = (datetime.now(UTC) - datetime.fromisoformat(str(document["updated"]))).total_seconds()
            found.state = str(document["state"])
            if found.state == TrainerState.TRAINING and age > REPORTED_SECONDS:
                found.state += (
                    f" at the last report, {duration(age)} ago; since then the trainer has not run, or has not reached "
                    "the bucket"
                )
            elif found.state == TrainerState.TRAINING:
                found.steps_per_second, found.seconds_left = document["steps_per_second"], document["seconds_left"]
        self._ask_receiver(found, self.folder / PAIRING)
        return found

    def _ask_receiver(self, found: RunProgress, file: Path) -> None:
        host = self.config.listen_host
        try:
            pairing = parse_pairing(file.read_text(encoding="utf-8"))
            # Its public address may lead back here by no way.
            found.bridges = int(metrics(pairing, _ANY_ADDRESS.get(host, host))[BRIDGES])
        except FileNotFoundError:
            found.bridges_unknown_because = f"{file} is not on this machine; FOLDER=... names another folder"
        except (OSError, ValueError, PairingError, PinMismatch, Unreachable, KeyError):
            found.bridges_unknown_because = f"the receiver that has written {file} does not answer"
