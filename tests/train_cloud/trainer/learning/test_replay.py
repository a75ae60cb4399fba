"""The packed replay buffer keeps what stable-baselines3's own keeps, in order, and samples it fairly."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import ReplayBuffer

from tests.support.runs import boxes
from train_cloud.trainer.learning.learners import SpacesOnly
from train_cloud.trainer.learning.replay import PackedReplayBuffer

SIZE, ACTIONS = 5, 2
ENV = SpacesOnly(boxes(SIZE, ACTIONS))


def buffer(capacity: int) -> PackedReplayBuffer:
    return PackedReplayBuffer(capacity, ENV.observation_space, ENV.action_space, device="cpu")


def transitions(count: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(count, SIZE)).astype(np.float32),
        rng.normal(size=(count, ACTIONS)).astype(np.float32),
        rng.normal(size=count).astype(np.float32),
        rng.normal(size=(count, SIZE)).astype(np.float32),
        rng.random(count) < 0.3,
    )


def packed(columns: tuple[np.ndarray[Any, Any], ...]) -> np.ndarray[Any, Any]:
    observations, actions, rewards, following, terminated = columns
    return np.column_stack([observations, actions, rewards, following, terminated]).astype(np.float32)


@pytest.mark.parametrize("pieces", [[3], [10], [4, 4, 4, 4], [7, 9, 2], [25], [10, 25, 1], [1] * 23])
def test_the_newest_transitions_stay_in_order_however_they_come(pieces: list[int]) -> None:
    replay = buffer(10)
    everything = packed(transitions(sum(pieces)))
    start = 0
    for count in pieces:
        part = tuple(column[start : start + count] for column in transitions(sum(pieces)))
        replay.insert(*part)
        start += count
    assert np.array_equal(replay.ordered_rows(), everything[-10:])
    assert replay.size() == min(10, start)


def test_a_digest_tells_contents_and_order_and_nothing_else() -> None:
    columns = transitions(25)
    at_once, in_pieces, turned, empty = buffer(10), buffer(10), buffer(10), buffer(10)
    at_once.insert(*columns)
    for row in range(25):
        in_pieces.insert(*(column[row : row + 1] for column in columns))
    turned.insert(*(column[::-1] for column in columns))
    assert at_once.digest() == in_pieces.digest()
    assert len({at_once.digest(), turned.digest(), empty.digest()}) == 3


def test_an_empty_batch_changes_nothing() -> None:
    replay = buffer(10)
    replay.insert(*transitions(4))
    before = replay.ordered_rows()
    replay.insert(*transitions(0))
    assert np.array_equal(replay.ordered_rows(), before)


def test_it_holds_what_stable_baselines3_holds_and_bootstraps_through_timeouts() -> None:
    theirs = ReplayBuffer(50, ENV.observation_space, ENV.action_space, device="cpu")
    ours = buffer(50)
    observations, actions, rewards, following, done = transitions(30)
    timeouts = np.random.default_rng(1).random(30) < 0.5
    for row in range(30):
        step = (observations[row : row + 1], following[row : row + 1], actions[row : row + 1])
        for target in (theirs, ours):
            target.add(*step, rewards[row : row + 1], done[row : row + 1], [{"TimeLimit.truncated": timeouts[row]}])
    wanted = theirs._get_samples(np.arange(30))
    held = ours.unpack(torch.from_numpy(ours.ordered_rows()))
    for field in ("observations", "actions", "next_observations", "dones", "rewards"):
        assert torch.equal(getattr(held, field), getattr(wanted, field)), field


def test_a_sample_draws_every_stored_row_equally_often_and_no_other() -> None:
    replay = buffer(100)
    columns = transitions(20)
    columns[0][:, 0] = np.arange(20)
    replay.insert(*columns)
    torch.manual_seed(0)
    drawn = replay.sample(40_000).observations[:, 0].numpy().astype(int)
    counts = np.bincount(drawn, minlength=20)
    assert len(counts) == 20
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


def test_a_seed_repeats_the_sample() -> None:
    replay = buffer(100)
    replay.insert(*transitions(60))
    torch.manual_seed(3)
    first = replay.sample_rows(32)
    torch.manual_seed(3)
    assert torch.equal(first, replay.sample_rows(32))
