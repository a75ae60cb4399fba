"""Did it learn? The answer in words, out of the run's own figures: what was judged counts more than the rest."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from train_cloud.report.facts import Facts
from train_cloud.report.numbers import lap, number, numbers, plain, signed, table, whole
from train_cloud.run_folder.states import TrainerState

_FAR_BEHIND = 1.1
"""A newest policy whose best lap is so much slower than the best's is worse, not just another."""
_FEW_POINTS = 8


class Verdict(NamedTuple):
    """`level` is good, wait or bad; `word` answers in two or three, `text` says why."""

    level: str
    word: str
    text: str


def verdict_of(facts: Facts, reference: float | None) -> Verdict:
    """Of a run; `reference` is the reference driver's lap in s, where it is known."""
    metrics = facts.metrics
    if not metrics:
        return Verdict("wait", "Not known", "The bucket holds no figures of this run yet.")
    if whole(metrics, "steps") == 0:
        return Verdict("wait", "Not begun", "No step of experience has been taken in yet.")
    if not facts.racing:
        return _by_reward(facts)
    judged = judged_best(facts)
    clean = [round(one) for one in numbers(judged.get("clean_laps")) or []]
    if any(clean):
        return _judged(judged, clean, reference, newest_is_worse(facts))
    if whole(metrics, "clean_laps"):
        best = number(metrics, "best_lap_s")
        text = f"{whole(metrics, 'clean_laps')} clean laps were driven while it explored, the best in {lap(best)}"
        return Verdict("wait", "It laps", f"{text}; without exploration no policy has been judged to lap cleanly.")
    share, driven = number(metrics, "mean_laps"), number(metrics, "mean_metres")
    if driven is None:
        return Verdict("wait", "Too early", "No episode has ended yet.")
    told = f"An episode gets {driven:,.0f} m far" + (f", {100 * share:.0f} % of a lap" if share is not None else "")
    trend = number(metrics, "metres_trend")
    if trend is not None:
        told += f" ({signed(trend, 0)} m lately)"
    if whole(metrics, "laps"):
        return Verdict("wait", "Not yet", f"{told}; {whole(metrics, 'laps')} laps were completed, none of them clean.")
    return Verdict(
        "bad" if (trend or 0.0) <= 0 and done(metrics) else "wait", "Not yet", f"{told}; no lap is completed."
    )


def judged_best(facts: Facts) -> dict[str, Any]:
    """How the best policy did without exploration, as metrics.json has it, else as BEST does; {} where none did."""
    told = table(table(facts.metrics.get("judged")).get("best"))
    if told:
        return told
    judgement = table(facts.best.get("judgement"))
    if not judgement:
        return {}
    about = {name: facts.best.get(name) for name in ("steps", "version", "by")}
    return about | {"clean_laps": judgement.get("clean"), "best_lap_s": judgement.get("best")}


def newest_is_worse(facts: Facts) -> bool:
    """Whether the newest judged policy laps worse than the best did."""
    both = table(facts.metrics.get("judged"))
    best, newest = table(both.get("best")), table(both.get("newest"))
    there, here = numbers(best.get("clean_laps")), numbers(newest.get("clean_laps"))
    if not there or not here or newest.get("steps") == best.get("steps"):
        return False
    slower = (number(newest, "best_lap_s") or 0.0) > _FAR_BEHIND * (number(best, "best_lap_s") or np.inf)
    return sum(here) < sum(there) or slower


def done(metrics: Mapping[str, Any]) -> bool:
    """Whether the run has come to its end."""
    return metrics.get("state") == TrainerState.DONE


def _judged(judged: Mapping[str, Any], clean: list[int], reference: float | None, worse: bool) -> Verdict:
    each = whole(judged, "of_laps") or max(clean)
    best = number(judged, "best_lap_s")
    text = f"Without exploration the policy at {whole(judged, 'steps'):,} steps drove {sum(clean)} clean laps of "
    text += f"{each * len(clean)} ({'+'.join(map(str, clean))} from {len(clean)} starts)"
    if best is not None:
        text += f", the best in {lap(best)}"
        if reference:
            text += f", {100 * best / reference:.1f}\u00a0% of the reference driver's {lap(reference)}"
    text += "."
    if worse:
        text += " The newest policy that was judged is worse than that; the best one is kept and fetched."
    if min(clean) >= each:
        return Verdict("good", "It learned", text)
    return Verdict("wait", "Partly", text)


def _by_reward(facts: Facts) -> Verdict:
    """Of a run without laps: whether the return of an episode has risen."""
    found = [(point.steps, point.values["drive/mean_reward"]) for point in facts.points if _has_reward(point.values)]
    now = number(facts.metrics, "mean_reward")
    if len(found) < _FEW_POINTS:
        seen = "" if now is None else f" The mean return of an episode is {plain(now)}."
        return Verdict("wait", "Cannot be told", f"There are too few points of a curve to see a trend in.{seen}")
    rewards = np.array([reward for _, reward in found])
    tenth = max(2, len(rewards) // 10)
    first, last = float(rewards[:tenth].mean()), float(rewards[-tenth:].mean())
    spread = float(np.abs(np.diff(rewards)).mean())
    text = f"The mean return of an episode went from {plain(first)} to {plain(last)} ({signed(last - first, 1)})"
    text += f" within {facts.points[-1].steps:,} steps; from one point to the next it moves by {plain(spread, 2)}."
    if last - first > 2.0 * spread:
        return Verdict("good", "It learned", text)
    if last - first < -2.0 * spread:
        return Verdict("bad", "It got worse", text)
    return Verdict("wait", "No clear trend", text)


def _has_reward(values: Mapping[str, float]) -> bool:
    return abs(values.get("drive/mean_reward", np.inf)) < np.inf
