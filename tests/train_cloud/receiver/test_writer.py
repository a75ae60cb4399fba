"""The writer with a real store: whose turn it is, and what becomes of the jobs of a peer that has ended."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from experience.codec import Batch, CodecError, encode_batch
from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.receivers import blob
from tests.support.waiting import wait_until
from train_cloud.receiver.writer import GROUP_BYTES, Job, Result, WriteOutcome, Writer
from train_cloud.store import Store

GREEDY, MODEST = "a" * 32, "b" * 32
LAYOUT = racing().spaces.layout


class Peer:
    """A peer that counts what it costs to judge its batches, and finds those wrong whose number is in `bad`."""

    def __init__(self, stream: str, bad: int = 0) -> None:
        self.stream, self.ended, self.spent, self.judged, self.bad = stream, False, 0.0, 0, bad

    def done(self, _: Result) -> None:
        raise AssertionError("the receiver tells peers, not the writer")

    def job(self, number: int, content: bytes) -> Job:
        def check(_: Batch) -> None:
            self.judged += 1
            if number == self.bad:
                raise CodecError("It is bad.")

        return Job(self.stream, number, content, LAYOUT, check, self)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.db")) as store:
        for stream in (GREEDY, MODEST):
            store.register_stream(stream, stream[:4], "signature")
        yield store


def groups(store: Store, jobs: list[Job]) -> list[list[Result]]:
    """What the writer said of each transaction, when all jobs had come before the first."""
    said: list[list[Result]] = []
    crashed = threading.Event()
    writer = Writer(store, lambda results, _: said.append(results), crashed.set)
    for job in jobs:
        writer.submit(job)
    writer.start()
    writer.stop()
    assert not crashed.is_set()
    assert sum(map(len, said)) == len(jobs)
    return said


@pytest.mark.slow
def test_who_sends_much_before_does_not_hold_up_who_sends_little(store: Store) -> None:
    large = encode_batch(made_up_batch(1, (1,) * 4096))
    assert len(large) > GROUP_BYTES
    greedy, modest = Peer(GREEDY), Peer(MODEST)
    jobs = [greedy.job(number, large) for number in range(1, 31)]
    jobs += [modest.job(number, blob(number)) for number in range(1, 11)]
    said = groups(store, jobs)
    of_modest = [place for place, results in enumerate(said) for result in results if result.job.peer is modest]
    assert len(of_modest) == 10
    # After the one whose turn it was, whatever else waits.
    assert max(of_modest) <= 5
    assert {result.outcome for results in said for result in results} == {WriteOutcome.STORED}
    assert [store.streams()[stream].stored_through for stream in (GREEDY, MODEST)] == [30, 10]


def test_what_waits_of_a_peer_that_was_refused_is_not_looked_at(store: Store) -> None:
    greedy, modest = Peer(GREEDY, bad=2), Peer(MODEST)
    jobs = [greedy.job(number, blob(number)) for number in range(1, 201)] + [modest.job(1, blob(1))]
    results = {
        result.job.number: result for group in groups(store, jobs) for result in group if result.job.peer is greedy
    }
    assert [results[number].outcome for number in (1, 2)] == [WriteOutcome.STORED, WriteOutcome.BAD]
    assert {results[number].outcome for number in range(3, 201)} == {WriteOutcome.DROPPED}
    assert greedy.judged == 2
    assert [store.streams()[stream].stored_through for stream in (GREEDY, MODEST)] == [1, 1]


def test_what_waits_of_a_peer_that_has_left_is_dropped(store: Store) -> None:
    gone = Peer(GREEDY)
    jobs = [gone.job(number, blob(number)) for number in range(1, 11)]
    gone.ended = True
    assert {result.outcome for group in groups(store, jobs) for result in group} == {WriteOutcome.DROPPED}
    assert gone.judged == 0


def test_who_was_idle_has_saved_nothing_up(store: Store) -> None:
    early, late = Peer(GREEDY), Peer(MODEST)
    said: list[list[Result]] = []
    writer = Writer(store, lambda results, _: said.append(results), lambda: None)
    writer.start()
    for number in range(1, 51):
        writer.submit(early.job(number, blob(number)))
    wait_until(lambda: store.streams()[GREEDY].stored_through == 50, "the first peer's batches are stored")
    writer.submit(late.job(1, blob(1)))
    writer.stop()
    assert late.spent > early.spent / 2


def test_what_has_not_ended_is_named(store: Store) -> None:
    judging, go_on = threading.Event(), threading.Event()

    def slow(_: Batch) -> None:
        judging.set()
        assert go_on.wait(60)

    writer = Writer(store, lambda *_: None, lambda: None)
    assert writer.busy() is None
    writer.start()
    assert (writer.busy() or ("?",))[0] == ""
    writer.submit(replace(Peer(GREEDY).job(1, blob(1)), check=slow))
    assert judging.wait(60)
    assert (writer.busy() or ("?",))[0] == "a batch has not been judged"
    go_on.set()
    with store.writing():
        writer.submit(Peer(GREEDY).job(2, blob(2)))
        wait_until(lambda: (writer.busy() or ("?",))[0] == "the disk has not taken a transaction", "the writer waits")
    writer.stop()
