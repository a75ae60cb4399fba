"""An exchange and a receiver that may be cut off, full or lost: whatever happens, nothing is lost or doubled."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.link.exchange import Exchange, SessionOver
from bridge.spool import SpooledBatch, SpoolPosition
from tests.bridge.link.test_exchange import FULL
from tests.support.links import INTRODUCTION
from wire.delivery import Inbox, Verdict
from wire.messages import Ack, DownMessage, Error, ErrorCode, TransitionBatch, Welcome


class Story:
    """A spool in a list, the receiver's store and bucket, and what is on its way between them."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.store: list[bytes] = []
        self.bucket = 0
        self.up: list[TransitionBatch] = []
        self.down: list[DownMessage] = []
        self.inbox: Inbox | None = None
        self.now = 0.0
        self.exchange = Exchange(SpoolPosition("bridge", "a" * 32, 0, 0, 0, 0), INTRODUCTION)

    def append(self) -> None:
        self.blobs.append(b"batch %d" % len(self.blobs))
        self.exchange.appended(len(self.blobs))

    def dial(self) -> None:
        if self.inbox is None:
            self.exchange.hello()
            self.inbox = Inbox(len(self.store))
            self.down.append(Welcome("run", len(self.store), self.bucket, 0, 0, 0))

    def cut(self) -> None:
        self.exchange.disconnected()
        self.up, self.down, self.inbox = [], [], None

    def read(self) -> None:
        wanted = self.exchange.to_read()[:3]
        batches = [SpooledBatch(number, 1, self.blobs[number - 1], number) for number in wanted]
        self.exchange.take("a" * 32, wanted.start, batches)

    def send(self) -> None:
        if (batch := self.exchange.next_batch(self.now)) is not None:
            assert isinstance(batch, TransitionBatch)
            self.up.append(batch)

    def arrive(self) -> None:
        if not self.up or self.inbox is None:
            return
        batch = self.up.pop(0)
        match self.inbox.judge(batch.number):
            case Verdict.STORE:
                self.inbox.accepted(batch.number)
                self.store.append(batch.blob)
            case Verdict.OUT_OF_ORDER:
                self.down.append(Error(ErrorCode.OUT_OF_ORDER, ""))
        self.down.append(Ack(len(self.store), self.bucket))

    def refuse(self) -> None:
        if self.up:
            self.up.pop(0)
            self.down.append(FULL)

    def hear(self) -> None:
        if self.down:
            try:
                self.exchange.hear(self.down.pop(0), self.now)
            except SessionOver:
                self.cut()

    def back_up(self) -> None:
        self.bucket = len(self.store)

    def lose(self) -> None:
        """The instance dies; another one has what was in the bucket."""
        self.cut()
        del self.store[self.bucket :]

    def wait(self) -> None:
        self.now += 10.0


ACTS = ("append", "dial", "cut", "read", "send", "arrive", "refuse", "hear", "back_up", "lose", "wait")


@given(st.lists(st.sampled_from([*ACTS, *("append", "dial", "read", "send", "arrive", "hear") * 3]), max_size=120))
def test_whatever_happens_every_batch_is_stored_once_and_in_order(acts: list[str]) -> None:
    story = Story()
    for act in acts:
        getattr(story, act)()
        assert story.store == story.blobs[: len(story.store)]
        assert story.exchange.state.safe_through <= story.bucket
    for _ in range(2 * len(acts) + 20):
        for act in ("dial", "hear", "wait", "read", "send", "arrive", "hear"):
            getattr(story, act)()
    assert story.store == story.blobs
    assert story.exchange.state.stored_through == story.exchange.state.stored_total == len(story.blobs)
