"""Windows of several steps are what was met, each discounted for the steps that it has, in whatever pieces it came."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.support.runs import boxes
from train_cloud.trainer.learning.replay import Float32Array
from train_cloud.trainer.learning.rollout import Run
from train_cloud.trainer.learning.windows import MAX_OPEN, WindowReplayBuffer

GAMMA = 0.9
SPACES = boxes(2, 1)


@dataclass(frozen=True)
class Life:
    """What one car did: its observations (n + 1, 2), told apart by their numbers, and rewards (n,)."""

    car: int
    rows: Float32Array
    rewards: Float32Array
    terminated: bool

    def run(self, begin: int, end: int, ended: bool | None = None) -> Run:
        whole = end == len(self.rewards)
        return Run(
            *(self.car, 100 + begin, self.rows[begin : end + 1]),
            *(np.full((end - begin, 1), 0.5, np.float32), self.rewards[begin:end]),
            *(self.terminated and whole, whole if ended is None else ended),
        )


def life(car: int, steps: int, terminated: bool = False) -> Life:
    rng = np.random.default_rng(car)
    rows = np.column_stack([np.full(steps + 1, car), np.arange(steps + 1)]).astype(np.float32)
    return Life(car, rows, rng.normal(size=steps).astype(np.float32), terminated)


def buffer(capacity: int = 100) -> WindowReplayBuffer:
    return WindowReplayBuffer(capacity, SPACES.observation.space, SPACES.action.space, GAMMA, device="cpu")


def append(replay: WindowReplayBuffer, *runs: Run) -> Float32Array:
    rows, actions = (np.concatenate([getattr(run, name) for run in runs]) for name in ("rows", "actions"))
    return replay.append([*runs], rows, actions)


def check(replay: WindowReplayBuffer, lives: Sequence[Life], steps: int, first: int = 0) -> set[int]:
    """Compare a large sample with what plain loops make of the lives; returns the lengths that were met.

    Steps before `first` are not to be met.
    """
    torch.manual_seed(0)
    sample = replay.sample_windows(2_000, steps)
    met, lengths = set(), set()
    for row in range(2_000):
        car, at = (int(number) for number in sample.observations[row])
        lived = lives[[one.car for one in lives].index(car)]
        end = min(at + steps, len(lived.rewards))
        wanted = sum(GAMMA**k * lived.rewards[at + k] for k in range(end - at))
        assert sample.rewards[row] == pytest.approx(wanted, abs=1e-5)
        assert sample.next_observations[row].tolist() == lived.rows[end].tolist()
        over = lived.terminated and end == len(lived.rewards)
        assert sample.discounts[row] == pytest.approx(0.0 if over else GAMMA ** (end - at))
        met.add((car, at))
        lengths.add(end - at)
    assert met == {(one.car, at) for one in lives for at in range(first, len(one.rewards))}
    return lengths


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("terminated", [False, True])
def test_a_window_is_what_was_met_and_ends_with_the_episode(steps: int, terminated: bool) -> None:
    replay, lived = buffer(), life(1, 12, terminated)
    append(replay, lived.run(0, 12))
    assert check(replay, [lived], steps) == set(range(1, steps + 1))


def test_what_cars_do_in_turns_is_put_together() -> None:
    replay, lives = buffer(), [life(1, 9, True), life(2, 9), life(3, 9)]
    for begin, end in ((0, 1), (1, 4), (4, 8), (8, 9)):
        append(replay, *(one.run(begin, end) for one in lives))
    check(replay, lives, 4)


def test_the_newest_steps_have_shorter_windows_until_more_is_known() -> None:
    replay, lived = buffer(), life(1, 10)
    append(replay, lived.run(0, 5))
    check(replay, [Life(1, lived.rows[:6], lived.rewards[:5], False)], 3)
    append(replay, lived.run(5, 10))
    check(replay, [lived], 3)


@pytest.mark.parametrize("first", [0, 3, 7])
def test_links_hold_around_the_end_of_the_buffer_and_after_what_is_forgotten(first: int) -> None:
    replay, before, lived = buffer(10), life(1, 10 + first), life(2, 10)
    append(replay, before.run(0, 10 + first))
    for begin in range(0, 10, 2):
        append(replay, lived.run(begin, begin + 2))
    check(replay, [lived], 3)


def test_more_than_the_buffer_holds_leaves_the_newest() -> None:
    replay, lived = buffer(10), life(1, 40)
    append(replay, lived.run(0, 5))
    append(replay, lived.run(5, 39))
    append(replay, lived.run(39, 40))
    check(replay, [lived], 3, first=30)


def test_no_window_bridges_a_missing_step_or_another_cars() -> None:
    replay, lived = buffer(), life(1, 12)
    append(replay, lived.run(0, 4))
    append(replay, lived.run(4, 6), lived.run(6, 8))
    check(replay, [Life(1, lived.rows[:9], lived.rewards[:8], False)], 3)
    missing = buffer()
    append(missing, lived.run(0, 4), lived.run(5, 12))
    torch.manual_seed(0)
    sample = missing.sample_windows(2_000, 3)
    assert all(int(after[1]) != 5 for after in sample.next_observations[sample.observations[:, 1] < 4])
    other = Run(1, 104, lived.rows[4:6] + 1.0, lived.run(4, 5).actions, lived.rewards[4:5], False, False)
    stranger = buffer()
    append(stranger, lived.run(0, 4))
    append(stranger, other)
    assert stranger.offsets[:5].tolist() == [1, 1, 1, 0, 0], "the same car and step of another bridge's stream"


def test_the_returns_so_far_go_on_over_batches_and_begin_anew_with_an_episode() -> None:
    replay, lived, other = buffer(), life(1, 7, True), life(2, 5)
    told = [*append(replay, lived.run(0, 3), other.run(0, 5)), *append(replay, lived.run(3, 7), life(3, 2).run(0, 2))]
    wanted = []
    for rewards in (lived.rewards[:3], other.rewards, lived.rewards, life(3, 2).rewards):
        so_far = 0.0
        for reward in rewards:
            so_far = GAMMA * so_far + float(reward)
            wanted.append(so_far)
    del wanted[8:11]
    assert told == pytest.approx(wanted, abs=1e-5)


def test_a_digest_tells_what_follows_and_not_in_what_pieces_it_came() -> None:
    lived = life(1, 20)
    whole, pieces, parted = buffer(16), buffer(16), buffer(16)
    append(whole, lived.run(0, 20))
    for begin in range(0, 20, 5):
        append(pieces, lived.run(begin, begin + 5))
        append(parted, lived.run(begin, begin + 5, ended=True))
    assert whole.digest() == pieces.digest()
    assert np.array_equal(parted.newest(16), whole.newest(16))
    assert parted.digest() != whole.digest()


def test_cars_that_never_come_back_are_forgotten() -> None:
    replay = buffer(50)
    for car in range(0, MAX_OPEN + 500, 500):
        append(replay, *(life(number, 1).run(0, 1, ended=False) for number in range(car, car + 500)))
    assert len(replay._open) == MAX_OPEN
    assert replay.append([], np.zeros((0, 2), np.float32), np.zeros((0, 1), np.float32)).shape == (0,)
