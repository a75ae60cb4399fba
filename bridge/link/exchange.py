"""What outlives a single connection: how far the spool is sent, what the run said of itself, the newest policy.

The rules of the conversation are here, without any sockets: which batch goes next, what an acknowledgement allows to
forget, which weights are taken, which refusals are final. Used by the link's thread alone; other threads may read
`state` and `policy`, which are replaced whole.
"""

import hashlib
import logging
from collections import deque
from dataclasses import dataclass, replace

from bridge.link.refusal import Refused
from bridge.spool import Spool
from experience.environment import Environment
from racing.policy import Policy, PolicyError
from runtime.logs import fields
from wire.delivery import Outbox, StreamConflict
from wire.messages import (
    Ack,
    DownMessage,
    Drain,
    Error,
    ErrorCode,
    Hello,
    Pace,
    Pong,
    Role,
    TransitionBatch,
    WeightsUpdate,
    Welcome,
)

MAX_UNACKNOWLEDGED_BYTES = 256 * 1024
"""More than this is not sent ahead of its acknowledgement, so that a Ping on a slow line is not stuck behind it."""
RESEND_SECONDS = (1.0, 2.0, 4.0, 5.0)
"""Pauses before what the receiver could not take is sent again; the last one repeats."""
_PATIENCE = 3
"""So many refusals in a row of what should have been right, before the conversation starts anew."""

_FINAL = {
    ErrorCode.WRONG_SIGNATURE: "Give the settings of the run's task on this side too, with --rate and --task.",
    ErrorCode.DUPLICATE_BRIDGE: "End the other bridge, or give this one a spool of its own with --spool.",
    ErrorCode.BAD_BATCH: "Bring both sides to the same version of this project; the spool keeps the batch.",
    ErrorCode.TOO_LARGE: "Bring both sides to the same version of this project; the spool keeps the batch.",
    ErrorCode.BAD_MESSAGE: "Bring both sides to the same version of this project.",
}
_LATER = frozenset({ErrorCode.DISK_FULL, ErrorCode.OUT_OF_ORDER})

_log = logging.getLogger(__name__)


class SessionOver(Exception):
    """This connection has no use any more; dial again after `delay` s."""

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Introduction:
    """What the bridge says of itself in its Hello; see `wire.messages.Hello`."""

    environment: Environment
    real_time: bool
    cars: int
    software: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the link knows at one moment.

    Attributes:
        connected: the receiver has welcomed us on the present connection.
        draining: it has said that it is about to go.
        stored_through, safe_through: newest batch of our stream committed there, and in S3.
        stored_total: how many of the spool's steps, ever, the stored ones are.
        stored_steps, trained_steps: of the whole run, from all bridges.
        max_lead_steps: how far stored_steps may lead trained_steps; None until the receiver was heard once.
        done: the run has all its training; nobody learns from further experience.
        round_trip: of the newest Ping, s; None before the first.
    """

    connected: bool = False
    draining: bool = False
    stored_through: int = 0
    safe_through: int = 0
    stored_total: int = 0
    stored_steps: int = 0
    trained_steps: int = 0
    max_lead_steps: int | None = None
    done: bool = False
    round_trip: float | None = None


class Exchange:
    """The conversation with the receiver over all its connections.

    Args:
        spool: what to send.
        introduction: what the bridge says of itself.
        policy: what it drives on already, if anything.
    """

    def __init__(self, spool: Spool, introduction: Introduction, policy: Policy | None = None) -> None:
        self.spool, self.introduction, self.policy = spool, introduction, policy
        self.state = LinkState()
        self._rewind = False
        """Whether the next batch is the one after what is stored, not the one after what was sent."""
        self._fresh = False
        """Whether the receiver may still take our old stream for another bridge's."""
        self._begin_stream()

    @property
    def safe_through(self) -> tuple[str, int]:
        """The stream, and the number through which the spool may forget it."""
        return self._stream, self._outbox.safe_through

    @property
    def all_stored(self) -> bool:
        """Whether the receiver has committed everything that the spool holds."""
        return self._stream == self.spool.stream and self._outbox.stored_through >= self.spool.last_number

    @property
    def all_safe(self) -> bool:
        """Whether everything that the spool ever held is in S3."""
        return self._stream == self.spool.stream and self._outbox.safe_through >= self.spool.last_number

    def hello(self) -> Hello:
        """The first message on a connection."""
        self._appended()
        mine = self.introduction
        return Hello(
            bridge=self.spool.bridge,
            stream=self._stream,
            role=Role.COLLECT,
            signature=mine.environment.signature,
            spaces=mine.environment.spaces.text,
            real_time=mine.real_time,
            cars=mine.cars,
            last_number=self._outbox.last_number,
            weights_version=0 if self.policy is None else self.policy.version,
            software=mine.software,
        )

    def hear(self, message: DownMessage, now: float) -> None:
        """Take one message; `now` is a monotonic time in s.

        Raises:
            Refused: what no retry can mend.
            SessionOver: the connection has no use any more.
        """
        match message:
            case Ack():
                self._acknowledged(message)
            case Pace():
                self._paced(message)
            case Pong():
                self.state = replace(self.state, round_trip=now - message.time)
            case WeightsUpdate():
                self._take_weights(message)
            case Welcome():
                self._welcomed(message)
            case Drain():
                _log.warning("the instance is about to go; driving goes on", extra=fields(reason=message.reason))
                self.state = replace(self.state, draining=True)
            case Error():
                self._reproached(message, now)

    def next_batch(self, now: float) -> TransitionBatch | None:
        """The batch to send now, which then counts as sent; None when there is nothing to do."""
        self._appended()
        if now < self._paused_until:
            return None
        if self._rewind:
            self._rewind = False
            self._outbox.welcome(self._outbox.stored_through, self._outbox.safe_through)
            self._unacknowledged.clear()
        number = self._outbox.next_number()
        if number is None or sum(size for _, size in self._unacknowledged) >= MAX_UNACKNOWLEDGED_BYTES:
            return None
        batch = self.spool.read(number)
        if batch is None:
            raise RuntimeError(f"batch {number} of the spool in {self.spool.folder} is missing")
        self._outbox.sent(number)
        self._unacknowledged.append((number, len(batch.blob)))
        return TransitionBatch(number, batch.blob)

    def pause_left(self, now: float) -> float:
        """For how many more seconds nothing is sent, because the receiver could not take it; at least 0."""
        return max(0.0, self._paused_until - now)

    def disconnected(self) -> None:
        """The connection is gone."""
        self._outbox.disconnected()
        self._unacknowledged.clear()
        self._rewind = False
        self.state = replace(self.state, connected=False, draining=False)

    def _begin_stream(self) -> None:
        spool = self.spool
        self._stream = spool.stream
        self._outbox = Outbox(spool.last_number, spool.safe_through)
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._paused_until = float("-inf")
        self._refusals = 0
        self._rewind = False
        self._note_progress()

    def _appended(self) -> None:
        while self._outbox.last_number < self.spool.last_number:
            self._outbox.appended(self._outbox.last_number + 1)

    def _welcomed(self, message: Welcome) -> None:
        self._appended()
        try:
            self._outbox.welcome(message.stored_through, message.safe_through)
        except StreamConflict as conflict:
            self._start_afresh(conflict)
        self._refusals, self._paused_until, self._fresh = 0, float("-inf"), False
        self.state = replace(self.state, connected=True, draining=False)
        self._note_progress()
        self._paced(message)
        _log.info(
            "linked to the receiver",
            extra=fields(
                run=message.run_id,
                stored_through=message.stored_through,
                unsent_steps=self.spool.total_steps - self.state.stored_total,
            ),
        )

    def _start_afresh(self, conflict: StreamConflict) -> None:
        self.spool.start_fresh_stream(str(conflict))
        self._begin_stream()
        self._fresh = True
        raise SessionOver("the stream starts afresh")

    def _acknowledged(self, message: Ack) -> None:
        before = self._outbox.stored_through
        self._appended()
        try:
            self._outbox.ack(message.stored_through, message.safe_through)
        except StreamConflict as conflict:
            self._start_afresh(conflict)
        while self._unacknowledged and self._unacknowledged[0][0] <= self._outbox.stored_through:
            self._unacknowledged.popleft()
        if self._outbox.stored_through > before:
            self._refusals = 0
        self._note_progress()

    def _note_progress(self) -> None:
        """Bring `state` to what the outbox says. Steps newly stored count for the run before its next Pace."""
        state, stored, safe = self.state, self._outbox.stored_through, self._outbox.safe_through
        if (stored, safe) == (state.stored_through, state.safe_through) and state.max_lead_steps is not None:
            return
        total = self.spool.total_steps - self.spool.steps_after(stored)
        self.state = replace(
            state,
            stored_through=stored,
            safe_through=safe,
            stored_total=total,
            stored_steps=state.stored_steps + max(0, total - state.stored_total),
        )

    def _paced(self, message: Pace | Welcome) -> None:
        self.state = replace(
            self.state,
            stored_steps=message.stored_steps,
            trained_steps=message.trained_steps,
            max_lead_steps=message.max_lead_steps,
            done=message.done,
        )

    def _take_weights(self, message: WeightsUpdate) -> None:
        if hashlib.sha256(message.blob).hexdigest() != message.sha256:
            _log.error("weights with a wrong hash are not taken", extra=fields(version=message.version))
            return
        try:
            policy = Policy.from_bytes(message.blob, self.introduction.environment.signature)
        except PolicyError as error:
            _log.error("weights are not taken", extra=fields(version=message.version, reason=error))
            return
        self.policy = policy
        _log.debug("weights taken", extra=fields(version=policy.version))

    def _reproached(self, message: Error, now: float) -> None:
        if message.code == ErrorCode.DUPLICATE_BRIDGE and self._fresh:
            raise SessionOver("the receiver has not noticed yet that the old stream is over", RESEND_SECONDS[0])
        advice = next((text for code, text in _FINAL.items() if code == message.code), None)
        if advice is not None:
            raise Refused(f"The receiver refuses this bridge ({message.code}): {message.text} {advice}")
        if message.code not in _LATER or not self._outbox.connected:
            raise SessionOver(f"the receiver says {message.code}: {message.text}", RESEND_SECONDS[-1])
        if now < self._paused_until:
            # What was under way behind the refused batch is refused too; that says nothing new.
            return
        pause = RESEND_SECONDS[min(self._refusals, len(RESEND_SECONDS) - 1)]
        self._refusals += 1
        if message.code == ErrorCode.OUT_OF_ORDER and self._refusals >= _PATIENCE:
            raise SessionOver(f"the receiver misses a batch: {message.text}", pause)
        _log.warning(
            "the receiver cannot take experience now; it waits in the spool",
            extra=fields(code=message.code, reason=message.text, again_in=pause),
        )
        self._paused_until, self._rewind = now + pause, True
