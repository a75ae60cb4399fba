"""The door between who shows something and the recorder: whole, clean laps get through, in order, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.driving.clean_laps import CleanLaps
from bridge.spool import Spool
from experience.batches import DEMONSTRATION
from experience.codec import Batch, decode_batch
from experience.environment import racing
from experience.recorder import Recorder
from racing.driving import EpisodeEnd, Lap, Step
from racing.task import ACTION_SIZE, OBSERVATION_SIZE, Float32Array

PERIOD = 0.05
LAP = 100
"""Steps; more than what is no attempt."""


class Shown:
    """Somebody who shows laps to a recorder with a spool; each step's reward is its number."""

    def __init__(self, folder: Path, wanted: int | None = None, chunks: int = 8) -> None:
        self.spool = Spool(folder)
        self.recorder = Recorder(self.spool, racing().spaces.layout, 1, flush_steps=64, chunks=chunks)
        self.laps = CleanLaps(self.recorder, PERIOD, wanted)
        self._number = 0
        self._observation = self._new()

    def _new(self) -> Float32Array:
        return np.full((1, OBSERVATION_SIZE), (self._number % 4096) / 4096, np.float32)

    def drive(self, steps: int = LAP, lap: bool | None = None, end: str = "") -> None:
        """So many steps, the last of which completes a lap, clean or not, or ends the episode."""
        for left in range(steps - 1, -1, -1):
            self._number += 1
            before, self._observation = self._observation, self._new()
            step = Step(
                observation=self._observation,
                next_observation=self._observation,
                action=np.zeros((1, ACTION_SIZE), np.float32),
                reward=np.array([self._number], np.float32),
                terminated=np.array([bool(end) and not left]),
                truncated=np.zeros(1, bool),
                action_age=np.zeros(1, np.float32),
                off_period=False,
                laps=() if lap is None or left else (Lap(0, 10.0 + self._number / 1000.0, lap),),
                episodes=(EpisodeEnd(0, steps, 0.0, end),) if end and not left else (),
            )
            self.laps.record(before, step)

    def stored(self) -> list[Batch]:
        """What came of it, in the end."""
        self.laps.finish()
        self.recorder.close()
        return [decode_batch(batch.blob) for n in range(1, self.spool.last_number + 1) if (batch := self.spool.read(n))]


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    yield made
    made.spool.close()


def numbers(batches: list[Batch]) -> list[int]:
    return [int(reward) for batch in batches for reward in batch.rewards]


def ends(batches: list[Batch]) -> list[int]:
    """Numbers of the steps after which nothing goes on."""
    return [int(one) for batch in batches for one in batch.rewards[batch.truncated | batch.terminated]]


def test_clean_laps_in_a_row_are_one_drive_with_the_way_to_the_line(shown: Shown) -> None:
    shown.drive(50)
    shown.drive(lap=True)
    shown.drive(lap=True)
    shown.drive(70)
    batches = shown.stored()
    assert numbers(batches) == list(range(1, 251))
    assert ends(batches) == [250]
    assert [len(batch.laps) for batch in batches if batch.laps] == [1, 1]
    assert {int(version) for batch in batches for version in batch.policy_versions} == {DEMONSTRATION}
    (end,) = (end for batch in batches for end in batch.episodes)
    assert (end.steps, end.total_reward, end.reason) == (250, sum(range(1, 251)), "demonstration")
    assert shown.laps.summary() == "2 laps were taken, the best in 0:10.150."


def test_a_lap_that_is_not_clean_is_left_out_and_ends_what_was_before(shown: Shown) -> None:
    shown.drive(lap=True)
    shown.drive(lap=False)
    shown.drive(lap=True)
    batches = shown.stored()
    assert numbers(batches) == [*range(1, 101), *range(201, 301)]
    assert ends(batches) == [100, 300]
    assert shown.laps.summary() == (
        "2 laps were taken, the best in 0:10.100. Left out: 1 that had more than two wheels off the track."
    )


@pytest.mark.parametrize(
    ("reason", "why"),
    [("off_track", "left the track"), ("crash", "hit something"), ("reversed", "turned round"), ("stalled", "stood")],
)
def test_a_lap_that_ends_early_is_left_out_with_its_reason(shown: Shown, reason: str, why: str) -> None:
    shown.drive(lap=True)
    shown.drive(80, end=reason)
    shown.drive(30)
    shown.drive(lap=True)
    batches = shown.stored()
    assert numbers(batches) == [*range(1, 101), *range(181, 311)]
    assert f"1 that {why}" in shown.laps.summary()


def test_what_was_interrupted_joins_nothing_and_a_short_piece_is_not_worth_a_word(shown: Shown) -> None:
    shown.drive(lap=True)
    shown.drive(70)
    shown.laps.interrupted()
    shown.drive(20)
    shown.laps.interrupted()
    shown.drive(lap=True)
    batches = shown.stored()
    assert numbers(batches) == [*range(1, 101), *range(191, 291)]
    assert ends(batches) == [100, 290]
    assert shown.laps.left_out == {"was interrupted": 1}


def test_a_lap_that_ends_with_its_episode_keeps_that_end(shown: Shown) -> None:
    shown.drive(lap=True, end="crash")
    batches = shown.stored()
    assert numbers(batches) == list(range(1, 101))
    assert batches[-1].terminated[-1]
    assert [end.reason for batch in batches for end in batch.episodes] == ["crash"]


def test_enough_is_enough(tmp_path: Path) -> None:
    shown = Shown(tmp_path, wanted=1)
    shown.drive(lap=True)
    assert shown.laps.enough
    shown.drive(lap=True)
    assert numbers(shown.stored()) == list(range(1, 101))
    shown.spool.close()


def test_a_lap_longer_than_the_recorder_has_room_for_is_not_lost(tmp_path: Path) -> None:
    shown = Shown(tmp_path, chunks=2)
    shown.drive(2000, lap=True)
    batches = shown.stored()
    assert numbers(batches) == list(range(1, 2001))
    assert shown.recorder.lost_steps == 0
    shown.spool.close()


def test_nothing_worth_learning_is_said(shown: Shown) -> None:
    shown.drive(300)
    assert shown.stored() == []
    assert shown.laps.summary() == "No lap was taken: only whole laps count, from the line to the line."
