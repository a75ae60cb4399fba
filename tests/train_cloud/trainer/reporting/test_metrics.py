"""metrics.json says how far a run is, how well it goes, and with which software."""

from types import SimpleNamespace

import msgspec
import pytest

from experience.environment import racing
from tests.support.driven_laps import driven_lap
from tests.support.runs import run_config
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.reporting import metrics
from train_cloud.trainer.reporting.metrics import Rates, metrics_bytes, metrics_document, story
from train_cloud.trainer.reporting.tracking import curve_points


def test_the_time_left_goes_by_learning_and_not_by_what_is_collected_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 20.0, 30.0])
    # Not the library's own: threads that earlier tests left would take its times away.
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    config, rates = run_config(network=[8], buffer_size=100, total_timesteps=10_000), Rates()
    left = []
    for steps, updates in ((0, 0), (2000, 0), (2400, 100), (2600, 300)):
        counters = Counters(steps=steps, updates=updates)
        rates.mark(steps, counters)
        document = metrics_document(config, counters, make_learner(config, racing()), rates, "training", steps, None)
        left.append((document["steps_per_second"], document["seconds_left"], story(document).get("left")))
    assert left[:3] == [(0.0, None, None), (200.0, None, None), (120.0, None, None)]
    assert left[3] == (pytest.approx(86.667), 370.0, "6m10s")


def test_updates_made_are_told_over_those_asked_for_lately_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 20.0, 40.0, 60.0])
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    config, rates, told = run_config(network=[8], buffer_size=100), Rates(), []
    learner = make_learner(config, racing())
    for updates, asked in ((0, 0), (100, 100), (150, 200), (160, 400)):
        counters = Counters(updates=updates, forgiven_updates=7)
        rates.mark(0, counters, asked)
        document = metrics_document(config, counters, learner, rates, "training", 0, None)
        told.append((document["update_ratio"], document["update_ratio_in_all"]))
        points, line = curve_points(document), story(document)
        assert points.get("rate/update_ratio") == line.get("update_ratio") == document["update_ratio"]
        assert points["run/forgiven_updates"] == 7
    assert told == [(None, None), (1.0, 1.0), (0.75, 0.75), (0.2, 0.4)]


def test_the_document_holds_what_the_readme_promises() -> None:
    config = run_config(network=[8], buffer_size=100, total_timesteps=1000)
    counters = Counters()
    counters.steps, counters.updates, counters.laps, counters.clean_laps = 400, 200, 3, 2
    counters.best_lap, counters.episodes = 35.5, 4
    counters.ends = {"off_track": 3, "crash": 1}
    you, policy = driven_lap((10.0, 11.0, 12.0), version=0), driven_lap((10.5, 11.25, 11.75))
    counters.drove([100.0, 200.0, 300.0, 600.0], [you, policy, driven_lap((20.0, 20.0, 20.0))])
    rates = Rates()
    rates.mark(400, counters)

    document = metrics_document(
        config, counters, make_learner(config, racing()), rates, "training", 400, 300, lap_metres=1200.0
    )
    read = msgspec.json.decode(metrics_bytes(document))

    assert read["steps"] == 400
    assert read["updates"] == 200
    assert (read["laps"], read["clean_laps"], read["best_lap_s"]) == (3, 2, 35.5)
    assert read["episodes"] == 4
    assert read["off_track_rate"] == pytest.approx(0.75)
    assert read["collision_rate"] == pytest.approx(0.25)
    assert read["steps_left"] == 600
    assert read["seconds_left"] is None, "one mark tells no rate"
    assert read["reward_trend"] is None
    assert (read["mean_metres"], read["mean_laps"], read["metres_trend"]) == (300.0, 0.25, 300.0)
    assert (read["human_lap_s"], read["policy_lap_s"], read["newest_lap_s"]) == (33.0, 33.5, 60.0)
    assert (read["human_sectors_s"], read["policy_sectors_s"]) == ([10.0, 11.0, 12.0], [10.5, 11.25, 11.75])
    assert read["behind_human_s"] == [0.5, 0.25, -0.25]
    told = story(document)
    assert told["against_you"] == "best 33.5 s, yours 33.0 s: +0.5 +0.2 -0.2"
    assert (told["metres_an_episode"], told["of_a_lap"], told["metres_trend"]) == (300.0, 0.25, 300.0)
    assert read["versions"]["torch"].startswith("2.")
    assert set(read["versions"]) == {"python", "ac-training", "torch", "stable-baselines3", "sb3-contrib", "numpy"}
