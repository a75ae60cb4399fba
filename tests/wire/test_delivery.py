"""Delivery as a story of cuts, restarts and lost instances.

Nothing lost, nothing doubled, nothing reordered.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wire.delivery import Inbox, Outbox, StreamConflict, Verdict

WINDOW = 4


class Delivery(RuleBasedStateMachine):
    """A spool and a receiver with a link between them that may be cut at any moment.

    The model keeps what each side has on disk (the spool's batches, the store, the bucket) apart from
    what it has in memory (Outbox, Inbox, frames on the way), and kills either side by dropping the memory
    only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spool: dict[int, str] = {}
        self.spool_last = 0
        self.spool_safe = 0
        self.store: list[str] = []
        self.bucket: list[str] = []
        self.outbox = Outbox(window=WINDOW)
        self.inbox: Inbox | None = None
        self.queue: deque[tuple[int, str]] = deque()
        self.up: deque[tuple[int, str]] = deque()
        self.down: deque[tuple[str, int, int]] = deque()

    @rule()
    def produce(self) -> None:
        self.spool_last += 1
        self.spool[self.spool_last] = f"batch {self.spool_last}"
        self.outbox.appended(self.spool_last)

    @precondition(lambda self: self.inbox is None)
    @rule()
    def connect(self) -> None:
        self.inbox = Inbox(len(self.store))
        self.down.append(("welcome", len(self.store), len(self.bucket)))

    @rule(most=st.integers(1, 6))
    def send(self, most: int) -> None:
        for _ in range(most):
            number = self.outbox.next_number()
            if number is None:
                return
            self.up.append((number, self.spool[number]))
            self.outbox.sent(number)

    @precondition(lambda self: self.up)
    @rule()
    def receive(self) -> None:
        assert self.inbox is not None
        number, batch = self.up.popleft()
        verdict = self.inbox.judge(number)
        assert verdict is not Verdict.OUT_OF_ORDER
        if verdict is Verdict.STORE:
            self.inbox.accepted(number)
            self.queue.append((number, batch))
        else:
            self.down.append(("ack", len(self.store), len(self.bucket)))

    @precondition(lambda self: self.queue)
    @rule(most=st.integers(1, 4))
    def commit(self, most: int) -> None:
        for _ in range(min(most, len(self.queue))):
            number, batch = self.queue.popleft()
            if number == len(self.store) + 1:  # the store's own UNIQUE(stream, number)
                self.store.append(batch)
        if self.inbox is not None:
            self.down.append(("ack", len(self.store), len(self.bucket)))

    @rule(most=st.integers(1, 4))
    def back_up(self, most: int) -> None:
        self.bucket.extend(self.store[len(self.bucket) : len(self.bucket) + most])

    @precondition(lambda self: self.down)
    @rule()
    def hear(self) -> None:
        kind, stored, safe = self.down.popleft()
        forget = self.outbox.welcome(stored, safe) if kind == "welcome" else self.outbox.ack(stored, safe)
        self.spool_safe = forget
        self.spool = {number: batch for number, batch in self.spool.items() if number > forget}

    @rule()
    def cut_the_link(self) -> None:
        """What was queued for the store on the old connection may still be committed after a new one began."""
        self.inbox = None
        self.up.clear()
        self.down.clear()
        self.outbox.disconnected()

    @rule()
    def kill_the_bridge(self) -> None:
        self.cut_the_link()
        self.outbox = Outbox(self.spool_last, self.spool_safe, WINDOW)

    @rule()
    def kill_the_receiver(self) -> None:
        self.cut_the_link()
        self.queue.clear()

    @rule()
    def lose_the_instance(self) -> None:
        self.kill_the_receiver()
        self.store = list(self.bucket)

    @invariant()
    def the_store_is_what_was_produced_so_far(self) -> None:
        assert self.store == [f"batch {number}" for number in range(1, len(self.store) + 1)]

    @invariant()
    def the_spool_keeps_all_that_is_not_in_the_bucket(self) -> None:
        assert set(range(len(self.bucket) + 1, self.spool_last + 1)) <= set(self.spool)

    @invariant()
    def the_window_is_kept(self) -> None:
        assert 0 <= self.outbox.in_flight <= WINDOW

    def teardown(self) -> None:
        """In the end, on a link that holds, everything arrives."""
        self.cut_the_link()
        self.connect()
        for _ in range(4 * self.spool_last + 8):
            self.send(WINDOW)
            for waiting, step in ((self.up, self.receive), (self.down, self.hear)):
                if waiting:
                    step()
            if self.queue:
                self.commit(4)
        assert len(self.store) == self.spool_last


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_nothing_is_sent_before_the_welcome() -> None:
    outbox = Outbox(last_number=3)
    assert outbox.next_number() is None
    outbox.welcome(0, 0)
    assert outbox.next_number() == 1


def test_a_full_window_waits_for_an_acknowledgement() -> None:
    outbox = Outbox(last_number=5, window=2)
    outbox.welcome(0, 0)
    outbox.sent(1)
    outbox.sent(2)
    assert outbox.next_number() is None
    assert outbox.ack(1, 0) == 0
    assert outbox.next_number() == 3


def test_a_reconnect_sends_again_what_was_not_stored() -> None:
    outbox = Outbox(last_number=5)
    outbox.welcome(0, 0)
    for number in (1, 2, 3):
        outbox.sent(number)
    outbox.disconnected()
    assert outbox.next_number() is None
    outbox.welcome(2, 1)
    assert outbox.next_number() == 3


def test_a_replaced_instance_gets_again_what_was_stored_but_not_safe() -> None:
    outbox = Outbox(last_number=5)
    outbox.welcome(0, 0)
    for number in (1, 2, 3, 4):
        outbox.sent(number)
    assert outbox.ack(4, 2) == 2
    outbox.disconnected()
    outbox.welcome(2, 2)
    assert outbox.next_number() == 3


def test_only_what_is_safe_may_be_forgotten() -> None:
    outbox = Outbox(last_number=5)
    assert outbox.welcome(5, 3) == 3
    assert outbox.ack(5, 4) == 4
    assert outbox.ack(5, 1) == 4


@pytest.mark.parametrize(
    ("stored", "safe", "hint"),
    [(9, 0, "only made 5"), (1, 0, "already reported safe"), (3, 4, "one version")],
)
def test_a_receiver_with_another_history_is_a_conflict(stored: int, safe: int, hint: str) -> None:
    outbox = Outbox(last_number=5, safe_through=2)
    with pytest.raises(StreamConflict, match=hint):
        outbox.welcome(stored, safe)
    assert not outbox.connected


def test_misuse_of_the_outbox_is_refused() -> None:
    outbox = Outbox(last_number=1)
    with pytest.raises(ValueError, match="does not follow"):
        outbox.appended(3)
    with pytest.raises(ValueError, match="not the next"):
        outbox.sent(1)
    with pytest.raises(ValueError, match="safe_through"):
        Outbox(last_number=1, safe_through=2)
    with pytest.raises(ValueError, match="window"):
        Outbox(window=0)


def test_the_inbox_tells_next_repeated_and_too_early_apart() -> None:
    inbox = Inbox(stored_through=3)
    assert inbox.judge(4) is Verdict.STORE
    assert inbox.judge(3) is Verdict.DUPLICATE
    assert inbox.judge(5) is Verdict.OUT_OF_ORDER
    inbox.accepted(4)
    assert inbox.accepted_through == 4
    assert inbox.judge(4) is Verdict.DUPLICATE
    with pytest.raises(ValueError, match="does not follow"):
        inbox.accepted(6)
    with pytest.raises(ValueError, match="negative"):
        Inbox(-1)
