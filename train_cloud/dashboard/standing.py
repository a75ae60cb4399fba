"""How a run stands, in words: one verdict with its reason and what to do, from facts alone.

The first that holds of these is the verdict: the run has ended; the store, the trainer or the receiver is not there;
no bridge drives; learning has not begun; it goes worse, or no better; it learns. That money runs out is told beside
what is bad, and instead of what is well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from runtime.progress import duration, lap_text
from train_cloud.bridge_table import BridgeStanding
from train_cloud.dashboard.course import BETTER, Course, Since
from train_cloud.dashboard.money import Money
from train_cloud.history_table import Beat
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import TrainerProgress

SILENT_SECONDS: Final = 4.0
"""A process, or a bridge, that has said nothing for longer is not there: all say something each second, and who looks
is to know within five that one was killed."""
PAUSED_SECONDS: Final = 10.0
"""A game that starts an episode anew takes less."""
STALLED_SHARE: Final = 0.25
"""Of all steps so far, in which nothing got better."""
STALLED_STEPS: Final = 10_000
STALLED_SECONDS: Final = 300.0
"""Fewer steps, or less time, say nothing."""
LOW_HOURS: Final = 1.0
LOW_SHARE: Final = 0.1
"""Of the budget."""
SLOW_RATIO: Final = 0.8
"""Fewer of the updates that the steps ask for are worth a word."""

Word = Literal[
    "learning",
    "warming_up",
    "stalled",
    "worse",
    "link_down",
    "paused",
    "money_low",
    "ended",
    "waiting",
    "trainer_down",
    "receiver_down",
]
Level = Literal["good", "wait", "warn", "bad"]


class Verdict(msgspec.Struct, frozen=True):
    """How the run stands: a word and a level for programs; title, reason and advice are sentences for people."""

    word: Word
    level: Level
    title: str
    reason: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a verdict is made from; times are Unix times (s).

    Attributes:
        trouble: why the store cannot be read, as sentences; "" when it can.
        total_timesteps, learning_starts: of the run's settings.
        remote: the trainer itself steps what a PC serves.
        beats: the newest signs of life, by process.
        report: the newest metrics.json; {} before the first.
        bridges: each that is remembered, the newest first.
        moved_at, learned_at: when experience was last stored, and an update last made, as far as was seen.
    """

    now: float
    trouble: str = ""
    total_timesteps: int
    learning_starts: int
    remote: bool = False
    beats: Mapping[str, Beat] = field(default_factory=dict)
    progress: TrainerProgress = field(default_factory=TrainerProgress)
    stored_steps: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)
    bridges: Sequence[BridgeStanding] = ()
    moved_at: float = 0.0
    learned_at: float = 0.0
    course: Course = field(default_factory=Course)
    money: Money | None = None

    def age(self, process: str) -> float | None:
        """Seconds since that process last said that it lives; None where it never has."""
        beat = self.beats.get(process)
        return None if beat is None else max(0.0, self.now - beat.at)

    def is_there(self, one: BridgeStanding) -> bool:
        """Whether the bridge is connected, and heard."""
        return one.connected and self.now - one.heard_at <= SILENT_SECONDS

    def connected(self) -> list[BridgeStanding]:
        """The bridges that are there."""
        return [one for one in self.bridges if self.is_there(one)]


def verdict_of(facts: Facts) -> Verdict:
    """How the run stands."""
    found = (
        _ended(facts)
        or _not_there_yet(facts)
        or _process_down(facts)
        or _link(facts)
        or _warming_up(facts)
        or _paused(facts)
        or _worse(facts)
        or _stalled(facts)
        or _learning(facts)
    )
    return found if found.word == "ended" else _with_money(found, facts.money)


def _ended(facts: Facts) -> Verdict | None:
    steps, report = facts.progress.consumed_steps, facts.report
    if facts.progress.state == TrainerState.DONE:
        clean, laps = report.get("clean_laps") or 0, report.get("laps") or 0
        driven = f", {laps:,} laps, {clean:,} of them clean, the best in {lap_text(report.get('best_lap_s'))}"
        told = f"{steps:,} steps and {facts.progress.updates:,} updates{driven if laps else ''}."
        advice = "Bring the best policy home with `make fetch`. For more, raise total_timesteps and start it again."
        return Verdict("ended", "good", "The run is finished", told, advice)
    if facts.progress.state == TrainerState.STOPPED:
        saved = report.get("checkpoint_steps")
        told = f"The trainer was told to stop at {steps:,} of {facts.total_timesteps:,} steps. "
        told += "There is no checkpoint yet." if saved is None else f"The last checkpoint is at {saved:,} steps."
        return Verdict("ended", "warn", "The run was stopped", told, "Start it again: it goes on from the checkpoint.")
    return None


def _not_there_yet(facts: Facts) -> Verdict | None:
    if facts.trouble:
        return Verdict("waiting", "wait", "The store cannot be read yet", facts.trouble, "This page looks again.")
    for process in ("receiver", "trainer"):
        if process not in facts.beats:
            return Verdict(
                "waiting",
                "wait",
                f"The {process} has not started yet",
                f"The store is there, but no {process} has said so far that it runs.",
                f"Wait, or look into the {process}'s log.",
            )
    return None


def _process_down(facts: Facts) -> Verdict | None:
    trainer, receiver = facts.age("trainer") or 0.0, facts.age("receiver") or 0.0
    both = trainer > SILENT_SECONDS and receiver > SILENT_SECONDS
    if trainer > SILENT_SECONDS:
        saved = facts.report.get("checkpoint_steps")
        from_where = "from the beginning" if saved is None else f"from the checkpoint at {saved:,} steps"
        told = f"It last said {duration(trainer)} ago that it lives. "
        told += f"The receiver has been silent for {duration(receiver)}, too." if both else "Experience is still taken."
        advice = f"Look at the end of the trainer's log, and start it again: it goes on {from_where}."
        title = "Trainer and receiver do not run" if both else "The trainer does not run"
        return Verdict("trainer_down", "bad", title, told, advice)
    if receiver > SILENT_SECONDS:
        told = f"It last said {duration(receiver)} ago that it lives. Bridges keep what they drive until it is back."
        advice = "Look at the end of the receiver's log, and start it again: nothing is lost by that."
        return Verdict("receiver_down", "bad", "The receiver does not run", told, advice)
    return None


def _link(facts: Facts) -> Verdict | None:
    """No bridge is there."""
    if facts.connected():
        return None
    start = "Start `ac-bridge serve-env` on the PC." if facts.remote else "Start the bridge on the PC: `make bridge`."
    if not facts.bridges:
        told = "Receiver and trainer run, and no bridge has connected so far."
        return Verdict("waiting", "wait", "Waiting for the first bridge", told, f"{start} It asks for the pairing.")
    last = facts.bridges[0]
    told = f"{last.bridge} was last heard {duration(max(0.0, facts.now - last.heard_at))} ago"
    others = len({one.bridge for one in facts.bridges}) - 1
    told += f", {others} more before." if others else "."
    told += " It keeps what it drives and sends it when the link is back." if not facts.remote else ""
    advice = f"Look at the bridge's window and at the PC's network. {start}"
    return Verdict("link_down", "bad", "No bridge is connected", told, advice)


def _warming_up(facts: Facts) -> Verdict | None:
    progress, rate = facts.progress, facts.report.get("steps_per_second") or 0.0
    if progress.state == TrainerState.REBUILDING:
        told = "What the replay buffer held at the checkpoint is read again before learning goes on."
        return Verdict("warming_up", "wait", "The trainer takes up where it was", told, "Wait: this takes minutes.")
    if progress.updates > 0:
        return None
    missing = facts.learning_starts - facts.stored_steps
    if missing > 0:
        told = f"{facts.stored_steps:,} of the {facts.learning_starts:,} steps that come before the first update"
        told += f", about {duration(missing / rate)} to go." if rate > 0 else "."
        return Verdict("warming_up", "wait", "Collecting the first experience", told, "Wait, and let it drive.")
    told = f"{facts.stored_steps:,} steps are there, enough to begin; no update is made yet."
    return Verdict("warming_up", "wait", "Learning is about to begin", told, "Wait: the first update takes a moment.")


def _paused(facts: Facts) -> Verdict | None:
    still = facts.now - facts.moved_at
    waiting = all(one.steps_per_second <= 0 for one in facts.connected())
    learns = facts.now - facts.learned_at < PAUSED_SECONDS
    in_real_time = any(one.real_time for one in facts.connected())
    if still < PAUSED_SECONDS or not waiting or (learns and not in_real_time):
        # Cars that are simulated wait for learning, which is no pause.
        return None
    names = ", ".join(sorted({one.bridge for one in facts.connected()})[:5])
    told = f"{names} is connected, but nothing new was driven for {duration(still)}."
    if waits_for := facts.report.get("waits_for"):
        told += f" The trainer waits for {waits_for}."
    advice = "Let the car drive: leave the game's menu or its pause, and see what the bridge's window says."
    return Verdict("paused", "warn", "Nothing is driven: the game is paused, or waits", told, advice)


def _worse(facts: Facts) -> Verdict | None:
    judged = facts.report.get("judged") or {}
    newest, best = judged.get("newest"), judged.get("best")
    # What others have judged does not compare.
    if newest and best and newest["steps"] > best["steps"] and newest["by"] == best["by"]:
        now, then = sum(newest["clean_laps"]), sum(best["clean_laps"])
        if then >= 3 and 3 * now <= then:
            told = (
                f"Judged without exploration, the policy at {newest['steps']:,} steps drove {now} clean laps of "
                f"{newest['of_laps'] * len(newest['clean_laps'])}; the best, at {best['steps']:,} steps, drove {then}."
            )
            return Verdict("worse", "warn", "It drives worse than it did", told, _KEPT)
    fallen = facts.course.fallen
    if fallen is not None:
        return Verdict("worse", "warn", "It drives worse than it did", f"{_sentence(fallen)}.", _KEPT)
    return None


_KEPT: Final = (
    "Wait for the next judgement: one bad moment is normal, and the best checkpoint is kept. If it stays so, stop the "
    "run, fetch the best, and try a smaller learning_rate or more updates_per_step."
)


def _stalled(facts: Facts) -> Verdict | None:
    better = facts.course.better
    least = max(STALLED_SHARE * facts.progress.consumed_steps, STALLED_STEPS, 10 * facts.learning_starts)
    if better is None or better.steps < least or better.seconds < STALLED_SECONDS:
        return None
    told = f"For {better.steps:,} steps ({duration(better.seconds)}) nothing got better: {_sentence(better)}."
    judged = (facts.report.get("judged") or {}).get("best")
    if judged and min(judged["clean_laps"], default=0) >= judged["of_laps"]:
        title = "It laps cleanly, and gets no better"
        advice = "It may be as good as it gets. Fetch the best with `make fetch`, or let it go on."
        return Verdict("stalled", "good", title, told, advice)
    advice = (
        "If it drives well enough, fetch the best with `make fetch`. If not: show it some laps of yours "
        "(`ac-bridge demonstrate`), or try more updates_per_step."
    )
    return Verdict("stalled", "warn", "It gets no better", told, advice)


def _learning(facts: Facts) -> Verdict:
    report, ratio = facts.report, facts.report.get("update_ratio")
    parts = [_far(report), _reward(report), _laps(report)]
    told = " ".join(part for part in parts if part) or "Updates are made; no episode has ended yet."
    left = report.get("seconds_left")
    told += f" {facts.progress.consumed_steps:,} of {facts.total_timesteps:,} steps"
    told += f", about {duration(left)} to go." if left else "."
    if facts.progress.trained_steps >= facts.total_timesteps:
        return Verdict("learning", "good", "The run is finishing", told, "Wait: the last policy is judged and saved.")
    advice = "Nothing to do: let it drive."
    long_enough = facts.progress.consumed_steps > 10 * facts.learning_starts
    if ratio is not None and ratio < SLOW_RATIO and long_enough:
        advice = (
            f"The trainer makes {100 * ratio:.0f} % of the updates that the steps ask for: a faster machine, fewer "
            "cars or a smaller updates_per_step would keep up."
        )
    return Verdict("learning", "good", "It is learning", told, advice)


def _far(report: Mapping[str, Any]) -> str:
    metres, trend, laps = report.get("mean_metres"), report.get("metres_trend"), report.get("mean_laps")
    if metres is None:
        return ""
    of_a_lap = "" if laps is None else f" ({laps:.2f} laps)"
    return f"An episode gets {metres:,.0f} m far{of_a_lap}{_lately(trend, metres, ' m')}."


def _reward(report: Mapping[str, Any]) -> str:
    reward, trend = report.get("mean_reward"), report.get("reward_trend")
    if reward is None or report.get("mean_metres") is not None:
        return ""
    return f"An episode brings a reward of {reward:.4g}{_lately(trend, reward, '')}."


def _lately(trend: float | None, mean: float, unit: str) -> str:
    """What the newer half of the newest episodes has more than the older half; "" for next to nothing."""
    if not trend or abs(trend) < BETTER * abs(mean):
        return ""
    return f", {abs(trend):.3g}{unit} {'more' if trend > 0 else 'less'} than shortly before"


def _laps(report: Mapping[str, Any]) -> str:
    laps, clean = report.get("laps") or 0, report.get("clean_laps") or 0
    if not laps:
        return ""
    return f"{laps:,} laps, {clean:,} clean" + (
        f", the best in {lap_text(report.get('best_lap_s'))}." if clean else "."
    )


def _sentence(since: Since) -> str:
    unit = f" {since.measure.unit}" if since.measure.unit else ""
    return f"{since.measure.name} was {since.best:,.4g}{unit} at best and is {since.now:,.4g}{unit} now"


def _with_money(verdict: Verdict, money: Money | None) -> Verdict:
    """The verdict, with a word about a budget that is nearly spent; instead of one that all is well."""
    if money is None or (money.hours_left >= LOW_HOURS and money.left_usd >= LOW_SHARE * money.budget_usd):
        return verdict
    left = duration(3600 * money.hours_left)
    told = (
        f"{money.spent_usd:.2f} of {money.budget_usd:.2f} USD are spent; at {money.usd_per_hour:.2f} USD an hour the "
        f"rest lasts for {left}."
    )
    advice = "Raise budget_usd and apply, if it is to go on; else it saves everything and ends by itself."
    if verdict.level in ("good", "wait"):
        return Verdict("money_low", "warn", "Out of money soon", f"{told} {verdict.title}: {verdict.reason}", advice)
    return msgspec.structs.replace(verdict, reason=f"{verdict.reason} {told}", advice=f"{verdict.advice} {advice}")
