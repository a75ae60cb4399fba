"""How far a run is, wherever it runs: the figures that its trainer leaves in the bucket, and how people read them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from runtime.progress import duration, lap_text, laps_compared
from scripts.cloud.run_record import RunRecord
from train_cloud.run_folder.keys import LATEST

_TOLD = (
    *("laps", "clean_laps", "best_lap_s", "human_sectors_s", "policy_sectors_s", "newest_sectors_s"),
    *("mean_metres", "mean_laps", "metres_trend", "mean_reward"),
)


class RunProgress(msgspec.Struct, kw_only=True):
    """What is known of any run; None where nothing is known. Distances in m, ages and times in s."""

    run_id: str
    state: str
    steps: int
    total_timesteps: int
    steps_per_second: float | None = None
    seconds_left: float | None = None
    laps: int = 0
    clean_laps: int = 0
    best_lap_s: float | None = None
    human_sectors_s: list[float] | None = None
    policy_sectors_s: list[float] | None = None
    newest_sectors_s: list[float] | None = None
    mean_metres: float | None = None
    mean_laps: float | None = None
    metres_trend: float | None = None
    mean_reward: float | None = None
    checkpoint_steps: int | None = None
    checkpoint_age_s: float | None = None
    bridges: int | None = None
    bridges_unknown_because: str | None = None


def figures_of(record: RunRecord) -> dict[str, Any]:
    """Those of RunProgress that stay true when nothing runs."""
    document, checkpoint = record.metrics(), record.newest_checkpoint()
    figures = {name: document[name] for name in _TOLD if name in document}
    # The steps of the time left; trainers of earlier versions told only those taken in.
    figures["steps"] = int(document.get("trained_steps") or document.get("steps") or 0)
    if checkpoint is not None:
        figures["checkpoint_steps"] = checkpoint.steps
        age = datetime.now(UTC) - record.objects.written_at(LATEST)
        figures["checkpoint_age_s"] = round(age.total_seconds(), 1)
    return figures


def progress_rows(found: RunProgress) -> list[tuple[str, str]]:
    """The table's rows about it: what and how much, as people read it."""
    steps = f"{found.steps:,} of {found.total_timesteps:,} ({100 * found.steps / max(1, found.total_timesteps):.1f} %)"
    if found.steps_per_second is not None:
        steps += f", {found.steps_per_second:.1f} a second"
    if found.seconds_left is not None:
        steps += f", {duration(found.seconds_left)} left"
    metres = "none yet"
    if found.mean_metres is not None:
        metres = f"{found.mean_metres:.0f}"
        if found.mean_laps is not None:
            metres += f", {100 * found.mean_laps:.0f} % of a lap"
        if found.metres_trend is not None:
            metres += f", {found.metres_trend:+.0f} lately"
    yours, against = found.human_sectors_s, list[tuple[str, str]]()
    if yours is not None:
        against = [("against your best lap", laps_compared(found.policy_sectors_s, yours))]
    checkpoint = "none yet"
    if found.checkpoint_age_s is not None:
        checkpoint = f"at {found.checkpoint_steps:,} steps, {duration(found.checkpoint_age_s)} old"
    return [
        ("steps", steps),
        ("metres an episode", metres),
        ("laps, clean ones", f"{found.laps:,}, {found.clean_laps:,}"),
        ("best lap", lap_text(found.best_lap_s)),
        *against,
        ("mean reward of an episode", "none yet" if found.mean_reward is None else f"{found.mean_reward:.1f}"),
        ("last checkpoint", checkpoint),
        ("bridges", str(found.bridges) if found.bridges is not None else f"unknown ({found.bridges_unknown_because})"),
    ]
