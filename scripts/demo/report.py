"""What the demo leaves behind and shows at its end: a table, metrics.json and a picture of the policy's lap."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from racing.evaluation import Evaluation
from racing.track import Track
from runtime.logs import fields
from runtime.progress import duration, lap_text
from scripts.demo.judge import LAPS_IN_A_ROW, STARTS, Judge, PolicyJudgement
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import METRICS, run_prefix

_log = logging.getLogger(__name__)


def census(objects: ObjectStore) -> dict[str, dict[str, int]]:
    """How many objects and bytes the run has left, by the first part of their keys."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for key, size in objects.sizes().items():
        name, slash, _ = key.partition("/")
        counts[name + slash] += 1
        sizes[name + slash] += size
    return {name: {"objects": counts[name], "bytes": sizes[name]} for name in sorted(counts)}


def demo_metrics(
    judge: Judge, best: PolicyJudgement | None, drive: Evaluation | None, run: RunConfig, track: str, seconds: float
) -> dict[str, Any]:
    """The demo's metrics.json: the judgement first, then what the trainer counted; times in s unless named.

    `drive` are the laps from the line of the policy that was judged `best`.
    """
    objects = open_store(run.bucket, run_prefix(run.run_id))
    shelves: dict[str, dict[str, int]] = {}
    trainer = b"{}"
    try:
        shelves, trainer = census(objects), objects.find(METRICS) or trainer
    except ObjectStoreError as error:
        _log.warning("the demo's bucket cannot be read, so its part of the table is empty", extra=fields(reason=error))
    # The first lap starts slower than the others end; the best of each compares flying laps.
    reference = min((lap.time for lap in judge.reference.laps), default=None) if judge.reference else None
    return {
        "track": track,
        "passed": judge.passed is not None,
        "minutes": round(seconds / 60.0, 2),
        "clean_laps_in_a_row": best.clean if best else 0,
        "clean_laps_by_start": list(best.found.clean) if best else [],
        "lap_times_s": [round(lap.time, 3) for lap in drive.laps] if drive else [],
        "reference_lap_s": reference,
        "weights_version": best.version if best else 0,
        "versions_judged": judge.judged,
        "bucket": shelves,
        "trainer": msgspec.json.decode(trainer),
    }


def print_table(metrics: dict[str, Any]) -> None:
    """The outcome on standard output, for people."""
    trainer, laps = metrics["trainer"], metrics["lap_times_s"]
    table = Table(title=f"The car on {metrics['track']} after {duration(metrics['minutes'] * 60)}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    clean = "+".join(map(str, metrics["clean_laps_by_start"])) or "0"
    table.add_row(f"clean laps in a row, driven alone from {STARTS} starts", f"{clean} of {LAPS_IN_A_ROW} each")
    table.add_row("best of them", lap_text(min(laps, default=None)))
    table.add_row("the reference driver's lap", lap_text(metrics["reference_lap_s"]))
    if laps and metrics["reference_lap_s"]:
        table.add_row("against the reference driver", f"{100.0 * min(laps) / metrics['reference_lap_s']:.1f} %")
    table.add_section()
    table.add_row("laps while learning, clean ones", f"{trainer.get('laps', 0)}, {trainer.get('clean_laps', 0)}")
    table.add_row("best of them", lap_text(trainer.get("best_lap_s")))
    table.add_row("steps", f"{trainer.get('steps', 0):,}")
    table.add_row("updates", f"{trainer.get('updates', 0):,}")
    table.add_row("policies judged", str(metrics["versions_judged"]))
    table.add_section()
    for name, shelf in metrics["bucket"].items():
        table.add_row(f"bucket: {name}", f"{shelf['objects']} objects, {shelf['bytes'] / 1e6:.2f} MB")
    Console(highlight=False).print(table)


def draw_lap(path: Path, track: Track, drive: Evaluation, reference: Evaluation | None) -> None:
    """Save a PNG: the last lap of `drive` coloured by speed, the reference driver's line, the track's edges."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.collections import LineCollection

    figure, axes = pyplot.subplots(figsize=(10, 8), dpi=120)
    for gap in (track.width_left, np.asarray(-1.0 * track.width_right)):
        edge = track.position_at(track.s, gap)
        closed = np.concatenate([edge, edge[:1]])
        axes.plot(closed[:, 0], closed[:, 1], color="0.55", linewidth=0.8)
    if reference is not None:
        line = reference.positions
        axes.plot(line[:, 0], line[:, 1], "--", color="0.3", linewidth=0.8, label="the reference driver's line")
        axes.legend(loc="best", frameon=False)
    first, title = 0, f"the learned policy's way until its end ({drive.end or 'stopped'})"
    if drive.laps:
        share = drive.laps[-1].time / sum(lap.time for lap in drive.laps)
        first = max(0, int(len(drive.speeds) * (1.0 - share)))
        if not drive.end:
            title = f"the learned policy's lap: {lap_text(drive.laps[-1].time)}"
    points, speeds = drive.positions[first:], drive.speeds[first:]
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    coloured = LineCollection(list(pieces), cmap="viridis", linewidth=2.0)
    coloured.set_array(speeds[:-1] * 3.6)
    axes.add_collection(coloured)
    figure.colorbar(coloured, label="speed in km/h", shrink=0.8)
    axes.set(aspect="equal", xlabel="x in m", ylabel="y in m", title=title)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
