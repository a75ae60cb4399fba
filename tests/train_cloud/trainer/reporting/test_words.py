"""The words of the progress line, for runs at different points of their way."""

from typing import Any

import pytest

from train_cloud.trainer.reporting.words import in_words

NOTHING: dict[str, Any] = {
    "steps": 0,
    "laps": 0,
    "clean_laps": 0,
    "best_lap_s": None,
    "mean_laps": None,
    "mean_metres": None,
    "metres_trend": None,
    "mean_reward": None,
    "reward_trend": None,
    "judged": {"newest": None, "best": None},
    "update_ratio": None,
}
JUDGED = {"newest": {"clean_laps": [3, 3, 1], "of_laps": 3}}


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "waits for experience"),
        ({"steps": 50}, "no episode has ended yet"),
        (
            {"steps": 900, "mean_laps": 0.12, "mean_metres": 144.0, "metres_trend": 31.0},
            "no lap yet, an episode gets 0.12 laps far, more than before",
        ),
        (
            {"steps": 900, "mean_laps": 0.12, "mean_metres": 144.0, "metres_trend": -1.0, "update_ratio": 0.42},
            "no lap yet, an episode gets 0.12 laps far, no more and no less than before; "
            "learning keeps up with 42% of what is driven",
        ),
        (
            {"laps": 9, "clean_laps": 5, "best_lap_s": 62.345, "judged": JUDGED, "update_ratio": 1.0},
            "9 laps, 5 of them clean, best 1:02.345; judged alone: 2 of 3 starts lapped cleanly",
        ),
        (
            {"laps": 1, "clean_laps": 1, "best_lap_s": 62.0, "policy_lap_s": 62.0, "human_lap_s": 60.5},
            "1 laps, 1 of them clean, best 1:02.000; 1.50 s behind yours",
        ),
        ({"laps": 1, "human_lap_s": 60.5}, "1 laps, 0 of them clean, best none yet; yours 1:00.500"),
        ({"steps": 5, "mean_reward": -250.0, "reward_trend": -40.0}, "an episode brings -250, less than before"),
    ],
)
def test_how_it_goes_is_told_in_words(known: dict[str, Any], words: str) -> None:
    assert in_words(NOTHING | known) == words
