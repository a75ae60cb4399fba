"""Each verdict, from facts with the numbers of real runs: right word, right reason, and which goes first."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from train_cloud.bridge_table import BridgeStanding
from train_cloud.dashboard.course import course_of
from train_cloud.dashboard.money import Money
from train_cloud.dashboard.standing import Facts, Verdict, verdict_of
from train_cloud.history_table import Beat, Point
from train_cloud.store import TrainerProgress

NOW = 1_790_000_000.0
BRIDGE = BridgeStanding(
    *("a" * 32, "gaming-pc", "collect", "0.1.0", True, NOW - 0.8),
    policy_version=212,
    steps_per_second=24.9,
    action_age=0.004,
    round_trip=0.031,
    real_time=True,
)
REPORT: dict[str, Any] = {
    "mean_metres": 812.4,
    "metres_trend": 45.2,
    "mean_laps": 0.677,
    "mean_reward": 151.2,
    "reward_trend": 8.1,
    "laps": 41,
    "clean_laps": 12,
    "best_lap_s": 61.234,
    "steps_per_second": 24.9,
    "seconds_left": 6180.0,
    "update_ratio": 1.0,
    "checkpoint_steps": 45_000,
}


def judged(steps: int, clean: list[int], by: str = "simulator") -> dict[str, Any]:
    where = {"steps": steps, "version": 9, "by": by, "clean_laps": clean, "of_laps": 3}
    return where | {"best_lap_s": 60.1, "ends": [""] * 3}


def facts(**changes: Any) -> Facts:
    """A run of the real game that learns well."""
    usual = Facts(
        now=NOW,
        total_timesteps=200_000,
        learning_starts=500,
        beats={"trainer": Beat(NOW - 0.6, "training"), "receiver": Beat(NOW - 0.9, "receiving")},
        progress=TrainerProgress(45_180, 45_200, 44_680, "training"),
        stored_steps=45_212,
        report=REPORT,
        bridges=[BRIDGE],
        moved_at=NOW - 0.2,
        learned_at=NOW - 0.1,
    )
    return replace(usual, **changes)


def said(**changes: Any) -> Verdict:
    return verdict_of(facts(**changes))


def points(metres: list[float], seconds: float = 10.0, steps: int = 250) -> list[Point]:
    return [Point(NOW + seconds * n, steps * n, 0, {"drive/mean_metres": value}) for n, value in enumerate(metres)]


def noisy(values: list[float], noise: float, seed: int = 3) -> list[float]:
    chance = random.Random(seed)
    return [max(0.0, value + chance.gauss(0.0, noise)) for value in values]


RISING = [900.0 * (1 - math.exp(-n / 60)) for n in range(180)]


def test_a_run_that_learns_says_how_far_it_gets_and_when_it_is_done() -> None:
    verdict = said(course=course_of(points(noisy(RISING[:90], 20))))
    assert (verdict.word, verdict.level) == ("learning", "good")
    assert verdict.reason == (
        "An episode gets 812 m far (0.68 laps), 45.2 m more than shortly before. 41 laps, 12 clean, the best in "
        "1:01.234. 45,200 of 200,000 steps, about 1h43m to go."
    )
    assert verdict.advice == "Nothing to do: let it drive."


def test_one_that_learns_too_slowly_for_what_is_driven_is_told_so() -> None:
    verdict = said(report=REPORT | {"update_ratio": 0.41})
    assert verdict.word == "learning"
    assert "41 % of the updates" in verdict.advice


def test_an_environment_that_is_no_racing_is_told_by_its_reward() -> None:
    report: dict[str, Any] = {"mean_reward": -212.5, "reward_trend": 18.2, "seconds_left": None, "losses": {}}
    verdict = said(report=report)
    assert verdict.word == "learning"
    assert "reward of -212.5, 18.2 more than shortly before" in verdict.reason


def test_before_the_first_update_it_warms_up() -> None:
    progress = TrainerProgress(0, 310, 0, "training")
    verdict = said(progress=progress, stored_steps=312, report={"steps_per_second": 24.9})
    assert (verdict.word, verdict.level) == ("warming_up", "wait")
    assert verdict.reason == "312 of the 500 steps that come before the first update, about 8s to go."
    assert said(progress=progress, stored_steps=512, report={}).title == "Learning is about to begin"
    rebuilding = TrainerProgress(45_180, 45_200, 44_680, "rebuilding the replay buffer")
    assert said(progress=rebuilding).title == "The trainer takes up where it was"


def test_a_dead_trainer_goes_before_a_link_that_is_down() -> None:
    dead = {"trainer": Beat(NOW - 4.6, "training"), "receiver": Beat(NOW - 0.9, "receiving")}
    for bridges in ([BRIDGE], [replace(BRIDGE, connected=False)]):
        verdict = said(beats=dead, bridges=bridges)
        assert (verdict.word, verdict.level) == ("trainer_down", "bad")
    assert "from the checkpoint at 45,000 steps" in verdict.advice
    assert said(beats={"trainer": Beat(NOW - 3.4, "training"), "receiver": Beat(NOW, "")}).word == "learning"


def test_a_dead_receiver_goes_before_a_link_that_is_down() -> None:
    dead = {"trainer": Beat(NOW - 0.6, "training"), "receiver": Beat(NOW - 4.6, "receiving")}
    verdict = said(beats=dead, bridges=[replace(BRIDGE, heard_at=NOW - 4.7)])
    assert (verdict.word, verdict.level) == ("receiver_down", "bad")
    assert "nothing is lost" in verdict.advice


def test_both_dead_are_told_as_one() -> None:
    verdict = said(beats={"trainer": Beat(NOW - 65, ""), "receiver": Beat(NOW - 70, "")})
    assert (verdict.word, verdict.title) == ("trainer_down", "Trainer and receiver do not run")
    assert "1m10s" in verdict.reason


@pytest.mark.parametrize("change", [{"connected": False}, {"heard_at": NOW - 4.5}])
def test_a_cut_link_is_told_within_five_seconds_whether_its_end_was_noticed_or_not(change: dict[str, Any]) -> None:
    verdict = said(bridges=[replace(BRIDGE, **change)])
    assert (verdict.word, verdict.level) == ("link_down", "bad")
    assert "gaming-pc was last heard" in verdict.reason
    assert "make bridge" in verdict.advice


def test_one_bridge_of_two_is_enough() -> None:
    gone = replace(BRIDGE, stream="b" * 32, bridge="other-pc", connected=False, heard_at=NOW - 900)
    assert said(bridges=[BRIDGE, gone]).word == "learning"


def test_nobody_has_come_yet() -> None:
    assert said(bridges=[]).word == "waiting"
    assert said(beats={}).title == "The receiver has not started yet"
    assert said(beats={"receiver": Beat(NOW, "receiving")}).title == "The trainer has not started yet"
    trouble = "There is no store at work/store.db to read. The receiver or the trainer makes it when it starts."
    verdict = said(trouble=trouble, beats={}, bridges=[])
    assert (verdict.word, verdict.reason) == ("waiting", trouble)


def test_a_game_that_is_paused() -> None:
    still = [replace(BRIDGE, steps_per_second=0.0)]
    verdict = said(bridges=still, moved_at=NOW - 31)
    assert (verdict.word, verdict.level) == ("paused", "warn")
    assert verdict.reason == "gaming-pc is connected, but nothing new was driven for 31s."
    # An episode begins anew: that takes the game some seconds.
    assert said(bridges=still, moved_at=NOW - 6).word == "learning"


def test_simulated_cars_that_wait_for_learning_are_no_pause() -> None:
    still = [replace(BRIDGE, steps_per_second=0.0, real_time=False)]
    assert said(bridges=still, moved_at=NOW - 31).word == "learning"
    assert said(bridges=still, moved_at=NOW - 31, learned_at=NOW - 31).word == "paused"


def test_a_remote_run_says_what_the_trainer_waits_for() -> None:
    still = [replace(BRIDGE, steps_per_second=0.0, real_time=False)]
    report = REPORT | {"waits_for": "a PC that serves CartPole-v1"}
    verdict = said(bridges=still, moved_at=NOW - 31, learned_at=NOW - 31, report=report, remote=True)
    assert "The trainer waits for a PC that serves CartPole-v1." in verdict.reason


def test_a_judgement_far_behind_the_best_is_worse() -> None:
    worse = {"newest": judged(45_000, [0, 1, 0]), "best": judged(30_000, [3, 3, 3])}
    verdict = said(report=REPORT | {"judged": worse})
    assert (verdict.word, verdict.level) == ("worse", "warn")
    assert "drove 1 clean laps of 9; the best, at 30,000 steps, drove 9" in verdict.reason
    as_good = {"newest": judged(45_000, [3, 2, 3]), "best": judged(30_000, [3, 3, 3])}
    assert said(report=REPORT | {"judged": as_good}).word == "learning"
    others = {"newest": judged(45_000, [0, 1, 0], by="bridges"), "best": judged(30_000, [3, 3, 3])}
    assert said(report=REPORT | {"judged": others}).word == "learning"
    first = {"newest": judged(5_000, [0, 0, 0]), "best": None}
    assert said(report=REPORT | {"judged": first}).word == "learning"


def test_a_curve_that_falls_is_worse_and_a_noisy_one_is_not() -> None:
    fallen = noisy(RISING + [900.0 - 20 * n for n in range(25)], 20)
    verdict = said(course=course_of(points(fallen)))
    assert verdict.word == "worse"
    assert "the way of an episode was" in verdict.reason
    for seed in range(20):
        assert course_of(points(noisy(RISING, 60, seed))).fallen is None


def test_a_curve_that_never_rose_has_not_fallen() -> None:
    for seed in range(20):
        assert course_of(points(noisy([100.0] * 120, 30, seed))).fallen is None


def test_long_without_getting_better_is_stalled() -> None:
    course = course_of(points(noisy(RISING + [900.0] * 300, 15)))
    verdict = said(course=course, progress=TrainerProgress(120_000, 120_000, 119_500, "training"))
    assert (verdict.word, verdict.level) == ("stalled", "warn")
    assert "nothing got better" in verdict.reason
    assert "ac-bridge demonstrate" in verdict.advice
    report = REPORT | {"judged": {"newest": judged(110_000, [3, 3, 3]), "best": judged(90_000, [3, 3, 3])}}
    verdict = said(course=course, progress=TrainerProgress(120_000, 120_000, 119_500, "training"), report=report)
    assert (verdict.word, verdict.level) == ("stalled", "good")


def test_not_yet_long_without_getting_better_is_learning() -> None:
    course = course_of(points(noisy(RISING + [900.0] * 20, 15)))
    assert said(course=course).word == "learning"
    assert course_of(points(RISING[:10])).better is None


def test_little_money_is_told_instead_of_good_news_and_beside_bad() -> None:
    low = Money(spent_usd=18.4, usd_per_hour=0.41, budget_usd=20.0, hours_left=3.9, launches=3)
    verdict = said(money=low)
    assert (verdict.word, verdict.level) == ("money_low", "warn")
    assert "18.40 of 20.00 USD" in verdict.reason
    assert "3h54m" in verdict.reason
    assert "It is learning" in verdict.reason
    verdict = said(money=low, bridges=[replace(BRIDGE, connected=False)])
    assert verdict.word == "link_down"
    assert "18.40 of 20.00 USD" in verdict.reason
    enough = Money(spent_usd=9.0, usd_per_hour=0.41, budget_usd=20.0, hours_left=26.8, launches=3)
    assert said(money=enough).word == "learning"


def test_an_end_goes_before_everything() -> None:
    silent = {"trainer": Beat(NOW - 900, "done"), "receiver": Beat(NOW - 900, "")}
    done = TrainerProgress(200_000, 200_000, 199_500, "done")
    low = Money(spent_usd=19.9, usd_per_hour=0.41, budget_usd=20.0, hours_left=0.2, launches=3)
    verdict = said(beats=silent, progress=done, bridges=[], money=low)
    assert (verdict.word, verdict.level, verdict.title) == ("ended", "good", "The run is finished")
    assert "200,000 steps and 199,500 updates, 41 laps, 12 of them clean, the best in 1:01.234" in verdict.reason
    stopped = TrainerProgress(45_180, 45_200, 44_680, "stopped")
    verdict = said(beats=silent, progress=stopped)
    assert (verdict.word, verdict.level) == ("ended", "warn")
    assert "The last checkpoint is at 45,000 steps." in verdict.reason


def test_the_last_judgement_of_a_run_is_waited_for() -> None:
    progress = TrainerProgress(200_000, 200_000, 199_500, "training")
    assert said(progress=progress).title == "The run is finishing"
