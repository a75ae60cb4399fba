"""The document of one look at a run, as the page gets it: how it stands, in words and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import asdict

from train_cloud.bridge_table import BridgeStanding
from train_cloud.dashboard.reference import ReferenceLap
from train_cloud.dashboard.standing import Facts, verdict_of
from train_cloud.lap_table import LapRow
from train_cloud.run_config import RunConfig

BRIDGES: Final = 64
"""Of all that are remembered, so many are shown, those first that are there."""
PROGRESS: Final = (
    "update_ratio",
    "steps_per_second",
    "updates_per_second",
    "seconds_left",
    "mean_reward",
    "reward_trend",
    "mean_metres",
    "mean_laps",
)
"""What the page's progress takes from the report as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is looked at beside the facts: of the store, the newest first where there are several."""

    laps: Sequence[LapRow] = ()
    safe_steps: int = 0
    newest_version: int = 0
    reference: ReferenceLap | None = None
    revisions: Mapping[str, Any]


def look_document(config: RunConfig, facts: Facts, seen: Seen) -> dict[str, Any]:
    """The document, ready for JSON; None where nothing is known."""
    report = facts.report
    return {
        "now": facts.now,
        "run_id": config.run_id,
        "method": config.method,
        "racing": config.environment.kind == "racing",
        "verdict": verdict_of(facts),
        "progress": _progress(facts),
        "laps": _laps(report, seen),
        "judged": report.get("judged") or {"newest": None, "best": None},
        "bridges": [_bridge(one, facts, seen.newest_version) for one in _shown(facts)],
        "money": None if facts.money is None else asdict(facts.money),
        "safety": _safety(facts, seen.safe_steps),
        "revisions": seen.revisions,
    }


def _progress(facts: Facts) -> dict[str, Any]:
    progress, report = facts.progress, facts.report
    own = {
        "state": progress.state,
        "steps": max(facts.stored_steps, progress.consumed_steps),
        "trained_steps": progress.trained_steps,
        "total_timesteps": facts.total_timesteps,
        "updates": progress.updates,
    }
    return own | {name: report.get(name) for name in PROGRESS} | {"losses": report.get("losses") or {}}


def _laps(report: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    human, best = report.get("human_lap_s"), report.get("policy_lap_s")
    # The best lap of all, by the way, may be one of which not all steps are known, and so no sectors.
    best_sectors = report.get("policy_sectors_s")
    if best is None and report.get("best_lap_s") is not None:
        best, best_sectors = report["best_lap_s"], None
    against = best if human is None else human
    last = next((row for row in seen.laps if row.version > 0), None)

    def lap(time: float | None, sectors: Sequence[float] | None) -> dict[str, Any] | None:
        if time is None:
            return None
        delta = None if against is None else round(time - against, 3)
        return {"time_s": time, "sectors_s": sectors, "clean": True, "delta_s": delta}

    reference = seen.reference
    return {
        "count": report.get("laps") or 0,
        "clean": report.get("clean_laps") or 0,
        "best": lap(best, best_sectors),
        "last": None if last is None else lap(last.time, last.sectors),
        "human": lap(human, report.get("human_sectors_s")),
        "reference": None if reference is None else lap(reference.trace.time, reference.sectors),
        "recent": list(seen.laps),
    }


def _shown(facts: Facts) -> list[BridgeStanding]:
    return sorted(facts.bridges, key=lambda one: (not one.connected, one.bridge, one.stream))[:BRIDGES]


def _bridge(one: BridgeStanding, facts: Facts, newest_version: int) -> dict[str, Any]:
    return {
        "bridge": one.bridge,
        "stream": one.stream,
        "connected": facts.is_there(one),
        "heard_at": one.heard_at,
        "age_s": round(max(0.0, facts.now - one.heard_at), 1),
        "role": one.role,
        "steps_per_second": round(one.steps_per_second, 2),
        "off_period_steps": one.off_period_steps,
        "action_age_s": one.action_age,
        "unsent_steps": one.unsent_steps,
        "round_trip_s": one.round_trip,
        "policy_version": one.policy_version,
        "newest_version": newest_version,
    }


def _safety(facts: Facts, safe_steps: int) -> dict[str, Any]:
    unsafe = max(0, facts.stored_steps - safe_steps)
    saved = facts.report.get("checkpoint_steps")
    if unsafe and facts.remote:
        # The trainer drives, and no PC keeps what was driven.
        lost = f"The newest {unsafe:,} steps, which are not in the bucket yet."
    elif saved is None and facts.progress.updates:
        lost = f"Nothing that was driven; the {facts.progress.updates:,} updates would be made again."
    elif saved is not None and facts.progress.trained_steps > saved:
        again = facts.progress.trained_steps - saved
        lost = f"Nothing that was driven; learning from the {again:,} steps since the checkpoint would be done again."
    else:
        lost = "nothing"
    return {"checkpoint_steps": saved, "unsafe_steps": unsafe, "would_lose": lost}
