"""What outlives a single connection: how far the spool is sent, what the run said of itself, the newest policy.

The rules of the conversation are here, as a state machine without sockets, files or a clock. Whoever has sockets and a
spool tells it what happened and asks what to do. Used by one thread alone; other threads may read `state` and `policy`,
which are replaced whole.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bridge.link.phases import MOVES, TALKING, WELCOME, IllegalMove, Phase
from bridge.link.refusal import Refused
from bridge.spool import SpooledBatch, SpoolPosition
from experience.environment import Environment
from racing.policy import Policy
from racing.policy_file import PolicyError
from racing.track_text import track_hash
from runtime.logs import fields
from wire.delivery import Outbox, StreamConflict
from wire.messages import (
    Ack,
    ControlChunk,
    DownMessage,
    Drain,
    DriverState,
    Error,
    ErrorCode,
    FlowControl,
    Hello,
    Pong,
    Role,
    TelemetryBatch,
    TrackAnnouncement,
    TransitionBatch,
    WeightsUpdate,
    Welcome,
)

MAX_UNACKNOWLEDGED_BYTES = 256 * 1024
"""More than this is not sent ahead of its acknowledgement, so that a Ping on a slow line is not stuck behind it."""
RESEND_SECONDS = (1.0, 2.0, 4.0, 5.0)
"""Pauses before what the receiver could not take is sent again; the last one repeats."""
READ_AHEAD = 16
"""Batches asked of the spool at once; it is asked again when half of them are sent."""
_PATIENCE = 3
"""So many refusals in a row of what should have been right, before the conversation starts anew."""

_FINAL: dict[str, str] = {
    ErrorCode.WRONG_SIGNATURE: "Give the settings of the run's task on this side too, with --rate and --task or --env.",
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
    """What the bridge says of itself in its Hello, see `wire.messages.Hello`, and how it says the rest.

    Who sends no experience has no `environment`.
    """

    environment: Environment | None
    real_time: bool
    cars: int
    software: str
    track: bytes | None = None
    """Text of racing's track (`racing.track_text`), announced where the receiver does not have it."""
    role: Role = Role.COLLECT
    message: Callable[[int, bytes], TransitionBatch | TelemetryBatch] = TransitionBatch
    """Makes what is sent of a batch's number and bytes in the spool."""
    text: bool = False
    """Speak JSON."""
    driven: Callable[[ControlChunk | DriverState], None] = lambda _: None
    """Takes what a driver in the cloud says, in the link's thread."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the link knows at one moment.

    Attributes:
        stream: id of our spool's stream.
        phase: where the conversation stands.
        draining: the receiver has said that it is about to go, and has stored nothing since.
        stored_through, safe_through: newest batch of our stream committed there, and in S3.
        stored_total: how many of the spool's steps, ever, the stored ones are, as far as the spool was read.
        stored_steps, trained_steps: of the whole run, from all bridges.
        max_lead_steps: how far stored_steps may lead trained_steps; None until the receiver was heard once.
        done: the run has all its training; nobody learns from further experience.
        round_trip: of the newest Ping, s; None before the first.
    """

    stream: str
    phase: Phase = Phase.APART
    draining: bool = False
    stored_through: int = 0
    safe_through: int = 0
    stored_total: int = 0
    stored_steps: int = 0
    trained_steps: int = 0
    max_lead_steps: int | None = None
    done: bool = False
    round_trip: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the receiver has welcomed us on the present connection."""
        return self.phase in WELCOME


class Exchange:
    """The conversation with the receiver over all its connections, for a spool that stands at `position`."""

    def __init__(self, position: SpoolPosition, introduction: Introduction) -> None:
        self.introduction = introduction
        self.policy: Policy | None = None
        self.to_judge: Policy | None = None
        """The newest that came to be judged; it takes no place of `policy`, which explores."""
        self.announcement: TrackAnnouncement | None = None
        """What the newest Welcome asked for."""
        self.takes_telemetry = False
        """Whether the newest Welcome said so."""
        self.conflict = ""
        """Why the stream was OUTLIVED, the last time."""
        self.state = LinkState(position.stream)
        self._begin(position)

    def hello(self) -> Hello:
        """The first message on a connection."""
        self._move(Phase.GREETING_AFRESH if self.state.phase is Phase.APART_AFRESH else Phase.GREETING)
        mine = self.introduction
        return Hello(
            bridge=self._bridge,
            stream=self.state.stream,
            role=mine.role,
            signature="" if mine.environment is None else mine.environment.signature,
            spaces="" if mine.environment is None else mine.environment.spaces.text,
            track=None if mine.track is None else track_hash(mine.track),
            real_time=mine.real_time,
            cars=mine.cars,
            last_number=self._outbox.last_number,
            weights_version=0 if self.policy is None else self.policy.version,
            software=mine.software,
        )

    def hear(self, message: DownMessage, now: float) -> None:
        """Take one message; `now` is a monotonic time in s.

        Raises Refused for what no retry can mend, SessionOver when the connection has no use any more, and IllegalMove
        when nothing can be heard in this phase.
        """
        if self.state.phase not in TALKING:
            raise IllegalMove(f"a {type(message).__name__} was heard, but the link is {self.state.phase.name}")
        try:
            match message:
                case Ack():
                    self._acknowledged(message)
                case FlowControl():
                    self._take_flow_control(message)
                case Pong():
                    self.state = replace(self.state, round_trip=now - message.time)
                case WeightsUpdate():
                    self._take_weights(message)
                case Welcome():
                    self._welcomed(message)
                case Drain():
                    _log.warning("the instance is about to go; driving goes on", extra=fields(reason=message.reason))
                    self.state = replace(self.state, draining=True)
                case ControlChunk() | DriverState():
                    self.introduction.driven(message)
                case Error():
                    self._reproached(message, now)
        except StreamConflict as conflict:
            self._move(Phase.OUTLIVED)
            self.conflict = str(conflict)
            raise SessionOver("the stream starts afresh") from None

    def disconnected(self) -> None:
        """The connection is gone."""
        if self.state.phase in TALKING:
            self._move(Phase.APART_AFRESH if self.state.phase is Phase.GREETING_AFRESH else Phase.APART)
        self._outbox.disconnected()
        self._forget_under_way()
        self.state = replace(self.state, draining=False)

    def begin_afresh(self, position: SpoolPosition) -> None:
        """The spool, whose old stream was OUTLIVED, has begun a fresh one and stands at `position`."""
        if self.state.phase is not Phase.OUTLIVED:
            raise IllegalMove(f"a fresh stream was begun, but the link is {self.state.phase.name}")
        self._move(Phase.APART_AFRESH)
        self._begin(position)

    def appended(self, last_number: int) -> None:
        """The spool holds the batches of the present stream through `last_number`."""
        while self.state.phase is not Phase.OUTLIVED and self._outbox.last_number < last_number:
            self._outbox.appended(self._outbox.last_number + 1)

    def to_read(self) -> range:
        """The numbers of the batches to read from the spool next; empty when enough are at hand, or none are wanted."""
        ahead = sum(len(batch.blob) for batch in self._ahead)
        if not self.state.connected or len(self._ahead) > READ_AHEAD // 2 or ahead >= MAX_UNACKNOWLEDGED_BYTES:
            return range(0)
        first = self._outbox.stored_through + self._outbox.in_flight + len(self._ahead) + 1
        return range(first, min(first + READ_AHEAD, self._outbox.last_number + 1))

    def take(self, stream: str, first: int, batches: Sequence[SpooledBatch]) -> None:
        """These were read, the first ones of what `to_read` began at `first` when the stream was `stream`.

        What is not wanted any more, because it was acknowledged or the connection has changed meanwhile, is dropped.
        """
        wanted = self.to_read()
        if stream != self.state.stream or not wanted or wanted.start != first:
            return
        if not batches:
            raise RuntimeError(f"batch {first} of the spool's stream {stream} is missing")
        self._ahead.extend(batches)
        self._totals[first - 1] = batches[0].steps_through - batches[0].steps
        self._totals.update((batch.number, batch.steps_through) for batch in batches)
        self._note_progress(news=False)

    def next_batch(self, now: float) -> TransitionBatch | TelemetryBatch | None:
        """The batch to send now, which then counts as sent; None when there is nothing to do."""
        if self.state.phase is Phase.PAUSED and now >= self._resume_at:
            self._move(Phase.LINKED)
        if self.state.phase is not Phase.LINKED or not self._ahead or self._outbox.next_number() is None:
            return None
        if sum(size for _, size in self._unacknowledged) >= MAX_UNACKNOWLEDGED_BYTES:
            return None
        batch = self._ahead.popleft()
        self._outbox.sent(batch.number)
        self._unacknowledged.append((batch.number, len(batch.blob)))
        return self.introduction.message(batch.number, batch.blob)

    def pause_left(self, now: float) -> float:
        """For how many more seconds nothing is sent, because the receiver could not take it; at least 0."""
        return max(0.0, self._resume_at - now) if self.state.phase is Phase.PAUSED else 0.0

    def _move(self, phase: Phase) -> None:
        if phase not in MOVES[self.state.phase]:
            raise IllegalMove(f"a link that is {self.state.phase.name} cannot become {phase.name}")
        self.state = replace(self.state, phase=phase)

    def _begin(self, position: SpoolPosition) -> None:
        self._bridge = position.bridge
        self._outbox = Outbox(position.last_number, position.safe_through)
        self._ahead: deque[SpooledBatch] = deque()
        """Read and not sent yet: the batches after the newest one that was sent."""
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._totals = {position.last_number: position.total_steps, position.safe_through: position.safe_steps}
        """How many steps, ever, lie in batches through a number, where that is known."""
        self._resume_at = 0.0
        self._refusals = 0
        self.state = replace(self.state, stream=position.stream)
        self._note_progress(news=False)

    def _forget_under_way(self) -> None:
        self._ahead.clear()
        self._unacknowledged.clear()

    def _welcomed(self, message: Welcome) -> None:
        if self.state.connected:
            raise SessionOver("the receiver welcomes this bridge a second time", RESEND_SECONDS[-1])
        self._outbox.welcome(message.stored_through, message.safe_through)
        self._move(Phase.LINKED)
        self._refusals = 0
        self.takes_telemetry = message.takes_telemetry
        track = self.introduction.track
        self.announcement = TrackAnnouncement(track) if message.wants_track and track is not None else None
        self._note_progress(news=True)
        self._take_flow_control(message)
        _log.info(
            "linked to the receiver",
            extra=fields(
                run=message.run_id,
                stored_through=message.stored_through,
                unsent_batches=self._outbox.last_number - message.stored_through,
            ),
        )

    def _acknowledged(self, message: Ack) -> None:
        before = self._outbox.stored_through
        self._outbox.ack(message.stored_through, message.safe_through)
        while self._unacknowledged and self._unacknowledged[0][0] <= self._outbox.stored_through:
            self._unacknowledged.popleft()
        while self._ahead and self._ahead[0].number <= self._outbox.stored_through:
            self._ahead.popleft()
        if self._outbox.stored_through > before:
            self._refusals = 0
            # Where only idleness would have ended it, the instance stays for who drives.
            self.state = replace(self.state, draining=False)
        self._note_progress(news=True)

    def _note_progress(self, news: bool) -> None:
        """Bring `state` to what the outbox says; as news, steps newly stored count for the run from now on."""
        stored = self._outbox.stored_through
        total = self._totals.get(stored, self.state.stored_total)
        newly = max(0, total - self.state.stored_total) if news else 0
        self._totals = {number: steps for number, steps in self._totals.items() if number >= stored}
        self.state = replace(
            self.state,
            stored_through=stored,
            safe_through=self._outbox.safe_through,
            stored_total=total,
            stored_steps=self.state.stored_steps + newly,
        )

    def _take_flow_control(self, message: FlowControl | Welcome) -> None:
        self.state = replace(
            self.state,
            stored_steps=message.stored_steps,
            trained_steps=message.trained_steps,
            max_lead_steps=message.max_lead_steps,
            done=message.done,
        )

    def _take_weights(self, message: WeightsUpdate) -> None:
        if self.introduction.environment is None:
            return
        if hashlib.sha256(message.blob).hexdigest() != message.sha256:
            _log.error("weights with a wrong hash are not taken", extra=fields(version=message.version))
            return
        try:
            policy = self.introduction.environment.policy(message.blob)
        except PolicyError as error:
            _log.error("weights are not taken", extra=fields(version=message.version, reason=error))
            return
        if policy.to_judge:
            self.to_judge = policy
        else:
            self.policy = policy
        _log.debug("weights taken", extra=fields(version=policy.version, to_judge=policy.to_judge))

    def _reproached(self, message: Error, now: float) -> None:
        if message.code == ErrorCode.DUPLICATE_BRIDGE and self.state.phase is Phase.GREETING_AFRESH:
            raise SessionOver("the receiver has not noticed yet that the old stream is over", RESEND_SECONDS[0])
        if (advice := _FINAL.get(message.code)) is not None:
            raise Refused(f"The receiver refuses this bridge ({message.code}): {message.text} {advice}")
        if message.code not in _LATER or not self.state.connected:
            raise SessionOver(f"the receiver says {message.code}: {message.text}", RESEND_SECONDS[-1])
        if self.state.phase is Phase.PAUSED:
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
        self._move(Phase.PAUSED)
        self._resume_at = now + pause
        self._outbox.welcome(self._outbox.stored_through, self._outbox.safe_through)
        self._forget_under_way()
