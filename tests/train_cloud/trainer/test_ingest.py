"""Experience reaches the replay buffer whole and in order, and counts once however often it comes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experience.batches import DEMONSTRATION, NOBODY
from experience.codec import encode_batch
from experience.environment import racing
from tests.support.experience import STREAM, incoming, made_up_batch
from tests.support.learners import off_policy_learner, replay_of
from tests.support.runs import run_config
from train_cloud.store import IncomingBatch, Store
from train_cloud.trainer.counters import Counters, trend
from train_cloud.trainer.ingest import Ingest
from train_cloud.trainer.learning.off_policy import OffPolicyLearner


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.db")
    store.register_stream(STREAM, "pc", "signature")
    return store


def learner(capacity: int = 1000) -> OffPolicyLearner:
    return off_policy_learner(run_config(network=[8], buffer_size=capacity, n_step=1), racing())


def take_in(store: Store, learner: OffPolicyLearner, counters: Counters) -> None:
    ingest = Ingest(store, learner, counters, racing().spaces.layout)
    ingest.skip_to_needed()
    while ingest.read():
        pass


def test_rows_arrive_as_they_were_driven(store: Store) -> None:
    store.add_batches(incoming([1, 2]))
    taker, counters = learner(), Counters()
    take_in(store, taker, counters)
    first, second = made_up_batch(1), made_up_batch(2)
    held = replay_of(taker).unpack(replay_of(taker).rows[:40])
    wanted = np.concatenate([first.current_observations(), second.current_observations()])
    assert np.array_equal(held.observations.numpy(), wanted)
    wanted = np.concatenate([first.next_observations(), second.next_observations()])
    assert np.array_equal(held.next_observations.numpy(), wanted)
    assert np.array_equal(held.actions.numpy(), np.concatenate([first.actions, second.actions]))
    assert np.array_equal(held.rewards[:, 0].numpy(), np.concatenate([first.rewards, second.rewards]))


def test_only_terminated_steps_end_the_return(store: Store) -> None:
    batch = made_up_batch(1, run_lengths=(5, 5, 5))
    assert batch.truncated.sum() == batch.terminated.sum() == 1
    taker = learner()
    store.add_batches([IncomingBatch(STREAM, 1, batch.steps, encode_batch(batch))])
    take_in(store, taker, Counters())
    assert np.array_equal(
        replay_of(taker).unpack(replay_of(taker).rows[:15]).dones[:, 0].numpy() == 1.0, batch.terminated
    )


def test_laps_ends_and_rewards_are_counted(store: Store) -> None:
    store.add_batches(incoming(range(1, 11)))
    counters = Counters()
    take_in(store, learner(), counters)
    assert (counters.steps, counters.laps, counters.clean_laps, counters.episodes) == (200, 10, 5, 10)
    assert counters.best_lap == pytest.approx(99.9)
    assert counters.share_of_episodes("off_track") == 1.0
    assert trend(counters.recent_rewards) == pytest.approx(5.0)
    assert counters.consumed == {STREAM: 10}


def test_late_steps_count_but_are_not_learned_from(store: Store) -> None:
    store.add_batches(incoming([1], late_share=0.4))
    taker, counters = learner(), Counters()
    take_in(store, taker, counters)
    batch = made_up_batch(1, late_share=0.4)
    assert counters.steps == 20
    assert counters.off_period_steps == batch.off_period.sum() > 0
    kept = replay_of(taker).unpack(replay_of(taker).rows[: taker.replay.size()])
    assert np.array_equal(kept.observations.numpy(), batch.current_observations()[~batch.off_period])


def test_a_batch_that_was_counted_before_is_held_but_not_counted_again(store: Store) -> None:
    store.add_batches(incoming([1, 2, 3]))
    taker, counters = learner(), Counters(steps=40, consumed={STREAM: 2})
    take_in(store, taker, counters)
    assert counters.steps == 60
    assert taker.replay.size() == 60


@pytest.mark.parametrize("late_share", [0.0, 0.3])
def test_a_rebuilt_buffer_holds_the_newest_transitions_like_the_one_that_lived(store: Store, late_share: float) -> None:
    store.add_batches(incoming(range(1, 41), late_share=late_share))
    lived, counters = learner(130), Counters()
    take_in(store, lived, counters)
    rebuilt, resumed = learner(130), counters
    before = resumed.steps
    reads: list[int] = []
    ingest = Ingest(store, rebuilt, resumed, racing().spaces.layout)
    ingest.skip_to_needed()
    while read := ingest.read():
        reads.append(read)
    room = lived.replay.buffer_size
    assert np.array_equal(replay_of(rebuilt).newest(room), replay_of(lived).newest(room))
    assert resumed.steps == before
    assert sum(reads) < 40, "a rebuild reads what the buffer can hold, not the whole run"


def test_what_was_stored_since_the_checkpoint_takes_nothing_from_the_memory_that_is_rebuilt(store: Store) -> None:
    store.add_batches(incoming(range(1, 41)))
    lived, counters = learner(130), Counters()
    take_in(store, lived, counters)
    store.add_batches(incoming(range(1, 51)))
    rebuilt = learner(130)
    ingest = Ingest(store, rebuilt, counters, racing().spaces.layout)
    ingest.skip_to_needed()
    while ingest.rebuild():
        pass
    assert rebuilt.memory_digest() == lived.memory_digest()
    assert counters.consumed == {STREAM: 40}


@pytest.mark.parametrize("late_share", [0.0, 0.3, 1.0])
def test_what_is_needed_again_begins_with_the_oldest_batch_that_is_still_in_the_memory(
    store: Store, late_share: float
) -> None:
    batches = incoming(range(1, 41), late_share=late_share)
    store.add_batches(batches)
    taker = learner(130)
    ingest = Ingest(store, taker, Counters(), racing().spaces.layout)
    ingest.skip_to_needed()
    assert ingest.needed_from() == 1
    while ingest.read():
        pass
    needed = [batch for batch in store.read_batches(0, 100) if batch.id >= ingest.needed_from()]
    kept = [20 - int(made_up_batch(batch.number, late_share=late_share).off_period.sum()) for batch in needed]
    if late_share == 1.0:
        assert len(needed) == 40, "none of it is in the memory, which so has room for all of it"
    else:
        assert sum(kept) >= 130 > sum(kept[1:])


def test_uncounted_batches_are_counted_however_old_they_are(store: Store) -> None:
    other = "b" * 32
    store.register_stream(other, "pc2", "signature")
    store.add_batches(incoming([1], stream=other))
    store.add_batches(incoming(range(1, 41)))
    counters = Counters(steps=800, consumed={STREAM: 40})
    take_in(store, learner(100), counters)
    assert counters.steps == 820


def test_a_damaged_row_is_passed_over(store: Store) -> None:
    good = incoming([1, 2, 3])
    store.add_batches([good[0], IncomingBatch(STREAM, 2, 20, b"rubbish"), good[2]])
    taker, counters = learner(), Counters()
    take_in(store, taker, counters)
    assert taker.replay.size() == 40
    assert counters.consumed == {STREAM: 3}


SHOWN = {3, 4, 21, 39}


def test_demonstrations_are_no_steps_laps_or_episodes_of_a_policy(store: Store) -> None:
    store.add_batches(incoming(range(1, 41), demonstrated=SHOWN))
    taker, counters = learner(), Counters()
    take_in(store, taker, counters)
    assert (counters.steps, counters.demonstrations, counters.driven) == (800, 80, 720)
    assert (counters.laps, counters.episodes, len(counters.recent_rewards)) == (36, 36, 36)
    assert (taker.replay.size(), replay_of(taker).beside) == (720, taker.demonstrations)
    assert taker.demonstrations is not None
    assert taker.demonstrations.size() == 80


@pytest.mark.parametrize("late_share", [0.0, 0.3])
def test_what_is_demonstrated_takes_nothing_from_the_memory_that_is_rebuilt_from_what_is_needed(
    store: Store, late_share: float
) -> None:
    store.add_batches(incoming(range(1, 41), late_share=late_share, demonstrated={3, *range(25, 39)}))
    lived, counters = learner(130), Counters()
    ingest = Ingest(store, lived, counters, racing().spaces.layout)
    while ingest.read():
        pass
    needed = ingest.needed_from()
    assert needed < 25, "the newest fourteen batches but two have nothing of a policy"
    assert lived.demonstrations is not None
    for forgotten in (0, needed):
        with store.writing() as database:
            database.execute("DELETE FROM batches WHERE id < ?", (forgotten,))
        rebuilt = learner(130)
        assert rebuilt.demonstrations is not None
        rebuilt.demonstrations.restore(lived.demonstrations.saved())
        resumed = Ingest(store, rebuilt, counters, racing().spaces.layout)
        resumed.skip_to_needed()
        while resumed.rebuild():
            pass
        assert rebuilt.memory_digest() == lived.memory_digest()
        assert np.array_equal(rebuilt.demonstrations.newest(10**6), lived.demonstrations.newest(10**6))


def test_what_no_policy_drove_is_taken_in_and_names_no_version(store: Store) -> None:
    versions = np.repeat(np.array([DEMONSTRATION, 7, NOBODY], np.uint32), (8, 4, 8))
    batch = replace(made_up_batch(1), policy_versions=versions)
    store.add_batches([IncomingBatch(STREAM, 1, batch.steps, encode_batch(batch))])
    seen: list[int] = []
    counters = Counters()
    assert Ingest(store, learner(), counters, racing().spaces.layout, seen.append).read() == 1
    assert seen == [7]
    assert counters.steps == 20
