"""metrics.json says how far a run is, how well it goes, and with which software."""

import msgspec
import pytest

from experience.environment import racing
from tests.support.runs import run_config
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.reporting.metrics import Rates, metrics_bytes, metrics_document, story


def test_the_document_holds_what_the_readme_promises() -> None:
    config = run_config(network=[8], buffer_size=100, total_timesteps=1000)
    counters = Counters()
    counters.steps, counters.updates, counters.laps, counters.clean_laps = 400, 200, 3, 2
    counters.best_lap, counters.episodes = 35.5, 4
    counters.ends = {"off_track": 3, "crash": 1}
    counters.drove([100.0, 200.0, 300.0, 600.0])
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
    told = story(document)
    assert (told["metres_an_episode"], told["of_a_lap"], told["metres_trend"]) == (300.0, 0.25, 300.0)
    assert read["versions"]["torch"].startswith("2.")
    assert set(read["versions"]) == {"python", "ac-training", "torch", "stable-baselines3", "sb3-contrib", "numpy"}
