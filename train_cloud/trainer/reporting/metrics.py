"""metrics.json: how far the run is and how well it goes, in one document that people and scripts read."""

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from runtime.logs import SAYS
from runtime.progress import duration, laps_compared
from train_cloud.code_version import code_version
from train_cloud.run_config import RunConfig
from train_cloud.trainer.counters import CRASHED, OFF_TRACK, Counters, mean, trend
from train_cloud.trainer.laps import LapTimes
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.reporting.words import in_words

RATE_SECONDS = 30.0
PACKAGES = ("ac-training", "torch", "stable-baselines3", "sb3-contrib", "numpy")
"""Whose versions decide what a run learned."""


class Rates:
    """Steps and updates a second over the last RATE_SECONDS, and updates for each that was asked for."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float, int, int]] = []
        self._asked: list[int] = []

    def mark(self, trained: float, counters: Counters, asked: int = 0) -> None:
        """Note where the run is now, and how many updates its steps have asked for; about once a second or less."""
        now = time.monotonic()
        self._marks.append((now, trained, counters.steps, counters.updates))
        self._asked.append(asked)
        while len(self._marks) > 2 and now - self._marks[1][0] >= RATE_SECONDS:
            del self._marks[0], self._asked[0]

    def per_second(self) -> tuple[float, float, float]:
        """(trained steps, taken-in steps, updates) a second; zeros before there is an interval.

        What is collected before the first update comes faster than learning goes, and is not taken for training.
        """
        _, steps, updates = _gained(self._marks)
        trained, _, _ = _gained([mark for mark in self._marks if mark[3] > 0] or self._marks[:1])
        return trained, steps, updates

    def update_ratios(self) -> tuple[float | None, float | None]:
        """Updates made over updates asked for: lately, and in the whole run; None where none were asked for."""
        made, asked = self._marks[-1][3], self._asked[-1]
        return _ratio(made - self._marks[0][3], asked - self._asked[0]), _ratio(made, asked)


def _ratio(made: int, asked: int) -> float | None:
    return round(made / asked, 3) if asked > 0 else None


def _gained(marks: list[tuple[float, float, int, int]]) -> tuple[float, float, float]:
    """What a second brought between the first mark and the last."""
    seconds, *gained = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    trained, steps, updates = (gain / seconds if seconds > 0 else 0.0 for gain in gained)
    return trained, steps, updates


@cache
def software_versions() -> dict[str, str | None]:
    """Version of Python and of each of PACKAGES; None for one that runs from its source without being installed."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {package: installed(package) for package in PACKAGES}


def metrics_document(
    config: RunConfig,
    counters: Counters,
    learner: Learner,
    rates: Rates,
    state: str,
    trained_steps: int,
    saved_steps: int | None,
    boot_seconds: Mapping[str, float] | None = None,
    lap_metres: float | None = None,
) -> dict[str, Any]:
    """The document; times in s, rates in 1/s, rewards in the task's unit, None where nothing is known yet.

    `boot_seconds`: when each step of the instance's boot was over, where there was one; `lap_metres`: of the track.
    """
    figures = learner.figures()
    trained_rate, steps_rate, updates_rate = rates.per_second()
    lately, in_all = rates.update_ratios()
    metres = mean(counters.recent_metres)
    steps_left = max(0, config.total_timesteps - trained_steps)
    return {
        "run_id": config.run_id,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": state,
        "method": config.method,
        "code": code_version(),
        "steps": counters.steps,
        "trained_steps": trained_steps,
        "total_timesteps": config.total_timesteps,
        "demonstrations": counters.demonstrations,
        "off_period_steps": counters.off_period_steps,
        "replay_rows": figures.replay_rows,
        "dropped_steps": figures.dropped_steps,
        "updates": counters.updates,
        "forgiven_updates": counters.forgiven_updates,
        "update_ratio": lately,
        "update_ratio_in_all": in_all,
        "episodes": counters.episodes,
        "episode_ends": counters.ends,
        "collision_rate": counters.share_of_episodes(CRASHED),
        "off_track_rate": counters.share_of_episodes(OFF_TRACK),
        "laps": counters.laps,
        "clean_laps": counters.clean_laps,
        "best_lap_s": counters.best_lap,
        **_by_sectors(counters.lap_times),
        "judged": counters.judged.figures(),
        "mean_metres": metres,
        "metres_trend": trend(counters.recent_metres),
        "mean_laps": metres / lap_metres if metres is not None and lap_metres else None,
        "mean_reward": mean(counters.recent_rewards),
        "reward_trend": trend(counters.recent_rewards),
        "losses": figures.losses,
        "seconds": round(counters.seconds, 3),
        "steps_per_second": round(steps_rate, 3),
        "updates_per_second": round(updates_rate, 3),
        "steps_left": steps_left,
        "seconds_left": round(steps_left / trained_rate, 1) if trained_rate > 0 else None,
        "weights_version": counters.weights_version,
        "seen_version": counters.seen_version,
        "checkpoint_steps": saved_steps,
        "resumes": counters.resumes,
        "boot_seconds": dict(boot_seconds or {}),
        "versions": dict(software_versions()),
    }


def _by_sectors(times: LapTimes) -> dict[str, Any]:
    """The clean laps of the human and of the policy, and what the policy's best takes longer, in each sector."""
    told: dict[str, Any] = {}
    for name, sectors in (("human", times.human), ("policy", times.policy), ("newest", times.last)):
        told |= {f"{name}_lap_s": None if sectors is None else round(sum(sectors), 3), f"{name}_sectors_s": sectors}
    if times.human is not None and times.policy is not None:
        told["behind_human_s"] = [round(p - h, 3) for p, h in zip(times.policy, times.human, strict=True)]
    return {"behind_human_s": None} | told


STORY = {
    "updates_per_second": "updates_per_second",
    "update_ratio": "update_ratio",
    "metres_an_episode": "mean_metres",
    "of_a_lap": "mean_laps",
    "metres_trend": "metres_trend",
    "mean_reward": "mean_reward",
    "laps": "laps",
    "clean": "clean_laps",
    "best_lap_s": "best_lap_s",
    "replay": "replay_rows",
    "version": "weights_version",
    "saved_at": "checkpoint_steps",
    "demonstrations": "demonstrations",
    "off_period": "off_period_steps",
}
"""Words of the log's progress line, and the field of the document that each tells; steps are the line's own."""
LOSSES = {
    "actor_loss": "actor_loss",
    "critic_loss": "critic_loss",
    "entropy_coefficient": "ent_coef",
    "loss": "loss",
    "value_loss": "value_loss",
    "exploration": "exploration_rate",
}


def story(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a person who follows the log wants to know of a document; what is not known yet is left out."""
    told: dict[str, Any] = {SAYS: in_words(document)}
    told |= {word: document.get(field) for word, field in STORY.items()}
    told |= {word: document["losses"].get(name) for word, name in LOSSES.items()}
    for word, verdict in document.get("judged", {}).items():
        if verdict is not None:
            lap = "" if verdict["best_lap_s"] is None else f", {verdict['best_lap_s']:.2f} s"
            told[f"judged_{word}"] = f"{'+'.join(map(str, verdict['clean_laps']))} clean at {verdict['steps']}{lap}"
    left = document.get("seconds_left")
    told["left"] = None if left is None else duration(left)
    if (yours := document.get("human_sectors_s")) is not None:
        told["against_you"] = laps_compared(document["policy_sectors_s"], yours)
    return {word: float(f"{v:.4g}") if isinstance(v, float) else v for word, v in told.items() if v is not None}


def metrics_bytes(document: dict[str, Any]) -> bytes:
    """The document as indented JSON; a number that is not finite becomes null."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2)
