"""The run's curves: TensorBoard event files in DIR/tensorboard and in the bucket, and Weights & Biases where wanted.

The x axis is the run's environment steps. A resumed run goes on at its checkpoint as if nothing had happened: points
that the life before had drawn beyond it count no more. Nothing here stops or delays learning: points are written by
threads of their own, and what fails is a warning.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

from runtime.files import write_private
from runtime.logs import fields
from train_cloud import notify
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.run_config import RunConfig
from train_cloud.run_folder import files
from train_cloud.run_folder.keys import TENSORBOARD
from train_cloud.trainer.reporting.weights_and_biases import WandbCurves

FLUSH_SECONDS = 10
_EVENTS = "events.out.tfevents."
_QUEUE = 10_000
"""Points that may wait for the disk; only beyond it would a new one have to wait too."""

_CURVES = {
    "drive": (
        "mean_metres",
        "mean_reward",
        "laps",
        "clean_laps",
        "best_lap_s",
        "human_lap_s",
        "policy_lap_s",
        "newest_lap_s",
        "episodes",
        "off_track_rate",
        "collision_rate",
    ),
    "run": (
        "updates",
        "forgiven_updates",
        "replay_rows",
        "demonstrations",
        "off_period_steps",
        "weights_version",
        "seconds",
    ),
    "rate": ("steps_per_second", "updates_per_second", "update_ratio", "update_ratio_in_all"),
}
TAGS = {f"{group}/{name}": name for group, names in _CURVES.items() for name in names}
"""Name of each curve, and the field of metrics.json that it draws; the losses come as train/..., and what a remote
environment's steps take as remote/..., what the policy's best lap takes longer than the human's in sector N as
drive/behind_human_N_s, and how policies were judged as judged/..."""

_log = logging.getLogger(__name__)


def curve_points(document: Mapping[str, Any]) -> dict[str, float]:
    """The point of each curve in a metrics document; what is not known yet has none."""
    points = {tag: document[field] for tag, field in TAGS.items()}
    points |= {f"remote/{name}": value for name, value in document.get("remote", {}).items()}
    points |= {f"drive/behind_human_{n}_s": behind for n, behind in enumerate(document.get("behind_human_s") or (), 1)}
    for which, verdict in document.get("judged", {}).items():
        if verdict is not None:
            clean = verdict["clean_laps"]
            laps = {"clean_laps": sum(clean), "worst_start": min(clean), "best_lap_s": verdict["best_lap_s"]}
            points |= {f"judged/{which}_{name}": value for name, value in laps.items()}
    points |= {f"train/{name}": value for name, value in document["losses"].items() if name != "n_updates"}
    return {tag: float(value) for tag, value in points.items() if value is not None}


class Tracking:
    """The curves of one life of the trainer, which goes on from a checkpoint at `steps` (0 for a new run).

    The event files go into the folder `tensorboard` of the service's `folder`.
    """

    def __init__(self, config: RunConfig, folder: Path, objects: ObjectStore, steps: int) -> None:
        self._folder, self._objects = folder / files.TENSORBOARD, objects
        self._drawn_through = steps
        self._uploaded: dict[str, int] = {}
        self._writer: SummaryWriter | None = None
        self._wandb = WandbCurves.of_run(config, folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Also at 0 steps: a life before may have drawn curves and not have come to a checkpoint.
            self._fetch_earlier_lives()
            # TensorBoard drops what earlier files hold from purge_step on.
            self._writer = SummaryWriter(self._folder, purge_step=steps + 1, max_queue=_QUEUE, flush_secs=FLUSH_SECONDS)
        except OSError as error:
            self._give_up(error)

    def draw(self, document: Mapping[str, Any]) -> None:
        """Add the points of a metrics document, unless the run stands where the last points are."""
        steps = int(document["steps"])
        if steps <= self._drawn_through:
            return
        self._drawn_through = steps
        points = curve_points(document)
        if self._wandb is not None:
            self._wandb.add(steps, points)
        for tag, value in points.items():
            self._written(SummaryWriter.add_scalar, tag, value, steps)

    def upload(self) -> None:
        """Bring the event files that have grown to the bucket, in any thread. Raises ObjectStoreError, OSError."""
        self._written(SummaryWriter.flush)
        for file in sorted(self._folder.glob(f"{_EVENTS}*")):
            content = file.read_bytes()
            if self._uploaded.get(file.name) != len(content):
                self._objects.put(TENSORBOARD + file.name, content)
                self._uploaded[file.name] = len(content)

    def end(self) -> None:
        """No more points come: let Weights & Biases finish while the last uploads go on."""
        if self._wandb is not None:
            self._wandb.end()

    def close(self) -> None:
        """Close everything, within WandbCurves.CLOSE_SECONDS."""
        self._written(SummaryWriter.close)
        if self._wandb is not None:
            self._wandb.close()

    def _written(self, write: Callable[..., None], *arguments: object) -> None:
        """Let `write` have the writer, if there is one still; after an error there is none."""
        try:
            if self._writer is not None:
                write(self._writer, *arguments)
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        _log.warning("TensorBoard's files cannot be written: training goes on without", extra=fields(reason=str(error)))

    def _fetch_earlier_lives(self) -> None:
        """Bring back the files of earlier lives, before this one's: TensorBoard reads files in their names' order."""
        try:
            for key in self._objects.list(TENSORBOARD + _EVENTS):
                file = self._folder / key.removeprefix(TENSORBOARD)
                if file.exists() or file.parent != self._folder:
                    continue
                notify.starting(f"fetching {key}")
                content, _ = self._objects.get(key)
                write_private(file, content)
                self._uploaded[file.name] = len(content)
        except ObjectStoreError as error:
            _log.warning("earlier curves not fetched: they begin at this life", extra=fields(reason=str(error)))
