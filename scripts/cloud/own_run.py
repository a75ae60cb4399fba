"""A run of one's own, by its run.json: on any machine and any S3 server, without Terraform and without AWS's services.

It answers what the operator's commands ask of the cloud's run: what lies in the run's folder of the bucket, and, on the
machine where it listens, the receiver.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from runtime.exit_codes import ExitCode
from runtime.progress import duration
from scripts.cloud.deployment import OperatorError
from scripts.cloud.progress import RunProgress, figures_of
from scripts.cloud.run_record import RunRecord
from train_cloud.object_store import ObjectStore, ObjectStoreAbsent
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_config import ConfigError, load_run_config
from train_cloud.run_folder.files import PAIRING
from train_cloud.run_folder.keys import DONE, run_prefix
from train_cloud.run_folder.states import BRIDGES, TrainerState
from wire.pairing import PairingError, PinMismatch, parse_pairing

RunFile = Annotated[
    Path | None,
    typer.Option("--run", envvar="AC_RUN_FILE", help="run.json of a run of your own; default: the cloud's run."),
]
ServiceFolder = Annotated[
    Path, typer.Option("--folder", envvar="AC_FOLDER", help="With --run: the receiver's folder, on its machine.")
]
FOLDER = Path("work")
REPORTED_SECONDS = 60.0
"""A trainer that runs reports more often than this."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches itself, if the receiver listens at every address."""


class OwnRun:
    """The run of the file `run_file`: `objects` and `record` are its folder in the bucket. Raises OperatorError."""

    def __init__(self, run_file: Path) -> None:
        self.file = run_file
        try:
            self.config = load_run_config(run_file)
        except ConfigError as error:
            raise OperatorError(str(error), ExitCode.USAGE) from error
        self.run_id = self.config.run_id
        try:
            self.objects = ObjectStore(self.config.bucket, run_prefix(self.run_id))
            self.objects.find(DONE)
        except ObjectStoreAbsent as error:
            raise OperatorError(str(error), ExitCode.STORAGE) from error
        self.record = RunRecord(self.objects)

    def look(self, folder: Path) -> RunProgress:
        """How the run stands; `folder` is the receiver's, where there is one on this machine."""
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
        self._ask_receiver(found, folder / PAIRING)
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
