"""What a person who reads the trainer's log does next: where bridges get in, and the way to what was learned."""

from pathlib import Path

from train_cloud.object_store import INSTANCE_FILE
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import PAIRING
from train_cloud.run_folder.keys import POLICY


def way_to_drive(folder: Path) -> str:
    """Where the pairing string is; `folder` is the one that receiver and trainer share."""
    return f"{_way_in(folder)}, for `make bridge URI=...` on the PC that drives"


def way_to_serve(folder: Path) -> str:
    """As way_to_drive, for a PC whose environment is stepped from here."""
    return f"{_way_in(folder)}, for `ac-bridge pair` on that PC"


def _way_in(folder: Path) -> str:
    where = "`make pair` prints" if INSTANCE_FILE.exists() else f"{folder / PAIRING} holds"
    return f"{where} the pairing string, a secret"


def ways_to_results(config: RunConfig, run_file: Path) -> list[str]:
    """How to get at a finished run's model, its figures and a picture of its lap; `run_file` is its run.json."""
    run = "" if INSTANCE_FILE.exists() else f" RUN={run_file}"
    model = f"models/{config.run_id}"
    ways = [
        f"the model: `make fetch{run}` brings it into a folder of {model}/",
        f"the table: `make status{run}`, or metrics.json beside the model",
        f"the report: `make report{run}`, or report/report.html in the run's folder of the bucket",
    ]
    if config.environment.kind == "racing":
        drive = f"`.venv/bin/python -m scripts.lap TRACK --policy {model}/STEPS/{POLICY} --picture lap.png`"
        ways.append(f"the lap's times and its picture: {drive}, with the TRACK that the bridges drove")
    return ways
