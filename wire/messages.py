"""The typed messages that a bridge and a receiver exchange, with the bounds that a valid one keeps.

Every message is a tagged msgspec struct (the tag is the field `type`), so a binary MessagePack frame and a JSON text
frame carry the same thing and are validated by the same declaration: unknown fields, wrong types and values out of
bounds are refused. `wire.frames` turns messages into frames and back.
"""

import math
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from wire.codes import CloseCode as CloseCode
from wire.codes import EnvAction as EnvAction
from wire.codes import EnvErrorCode as EnvErrorCode
from wire.codes import ErrorCode as ErrorCode
from wire.codes import Role as Role

PROTOCOL: Final = "ac-training.v1"
"""WebSocket subprotocol; a peer that does not offer it speaks another version."""

MAX_BLOB_BYTES: Final = 4 * 1024 * 1024
"""Largest encoded experience batch."""
MAX_WEIGHTS_BYTES: Final = 16 * 1024 * 1024
"""Largest policy file."""
MAX_UP_FRAME_BYTES: Final = 6 * 1024 * 1024
"""Largest frame towards the receiver (a batch in a JSON frame is base64, a third longer)."""
MAX_HELLO_FRAME_BYTES: Final = 512 * 1024
"""Largest frame towards the receiver until it has welcomed the bridge."""
MAX_DOWN_FRAME_BYTES: Final = 24 * 1024 * 1024
"""Largest frame towards a bridge (weights in a JSON frame are base64)."""
MAX_TRACK_BYTES: Final = 4 * 1024 * 1024
"""Largest text of a track."""
MAX_SPACES: Final = 64 * 1024
"""Longest description of spaces (characters)."""
MAX_VECTOR: Final = 65536
"""Most numbers in the observation or action of a text client's transition."""
MAX_PLACE: Final = 50_000.0
"""m along a centreline."""
MAX_GAP: Final = 10_000.0
"""m from it, to either side."""
MAX_SPEED: Final = 1000.0
"""m/s."""
MAX_GEAR: Final = 20
MAX_OFF_TRACKS: Final = 8
"""Most places of one Telemetry where cars left the track."""
MAX_FRAMES: Final = 128
"""Most frames in a TelemetryBatch."""
MAX_CHUNK: Final = 256
"""Most actions in a ControlChunk."""

# Integers stay below 2**53, so that JavaScript and SQLite read them exactly too.
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
BatchNumber = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=2000)]
StreamId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Environments = Annotated[tuple[Name, ...], Meta(max_length=64)]
Vector = Annotated[list[float], Meta(min_length=1, max_length=MAX_VECTOR)]
# A bound refuses NaN, too.
Share = Annotated[float, Meta(ge=0, le=1)]
Place = Annotated[float, Meta(ge=0, le=MAX_PLACE)]
Gap = Annotated[float, Meta(ge=-MAX_GAP, le=MAX_GAP)]
Within1 = Annotated[float, Meta(ge=-1, le=1)]
Time = Annotated[float, Meta(ge=0, le=1e9)]
_Number = Annotated[float, Meta(ge=-1e7, le=1e7)]
_Speed = Annotated[float, Meta(ge=-MAX_SPEED, le=MAX_SPEED)]
_Few = Annotated[int, Meta(ge=0, le=4)]
_Wheels = tuple[_Number, _Number, _Number, _Number]


def _said(unit: str, meaning: str) -> Meta:
    """What a field of Telemetry holds, and in what unit, for the protocol's page."""
    return Meta(description=meaning, extra_json_schema={"unit": unit})


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of all messages."""


class Hello(_Message, frozen=True, tag="hello"):
    """First message of a bridge: who it is, what it is here for, what it drives and how far its spool has come.

    `role` is one of Role (a receiver refuses others by name), `signature` names the environment, `spaces` is the
    canonical JSON of what its observations and actions hold (`experience.spaces`). `bridge` names the PC and stays the
    same over restarts; `stream` names one spool. `last_number` is the newest batch in the spool and `weights_version`
    the newest policy the bridge holds (0: none). `real_time` false means that the car waits for the trainer when told
    so by FlowControl. `track` is the hash of racing's track. Who serves environments names them in `environments`, says
    in `cars` how many it steps at the same time, and has no signature and no spaces: those are told by "make". Who
    streams says who it is, and its signature where a driver in the cloud is to drive its car.
    """

    bridge: Name
    stream: StreamId
    role: Annotated[str, Meta(min_length=1, max_length=32)]
    signature: Annotated[str, Meta(max_length=4096)] = ""
    spaces: Annotated[str, Meta(max_length=MAX_SPACES)] = ""
    real_time: bool = True
    cars: Annotated[int, Meta(ge=1, le=4096)] = 1
    last_number: Count = 0
    weights_version: Count = 0
    software: Annotated[str, Meta(max_length=128)] = ""
    track: Sha256 | None = None
    environments: Environments = ()


class Report(_Message, frozen=True, tag="report"):
    """How a bridge stands, said about once a second, for whoever watches the run.

    `policy_version` drives now (0: none), `steps_per_second` are driven, `unsent_steps` wait in the spool,
    `off_period_steps` of this drive took another time than a control period. `action_age` is the mean time from an
    observation to its action, `round_trip` of the newest Ping (both s; None before the first).
    """

    policy_version: Count
    steps_per_second: Annotated[float, Meta(ge=0, le=1e9)]
    unsent_steps: Count
    off_period_steps: Count
    action_age: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    round_trip: Annotated[float, Meta(ge=0, le=1e9)] | None = None


class Telemetry(_Message, frozen=True, omit_defaults=True, kw_only=True, tag="telemetry"):
    """What a car is and does at one moment.

    Slim from a bridge that drives: of its first car, at most five times a second, only where Welcome takes it, and of
    all of them only the newest counts. Whole from one that streams. What a sender does not know it leaves out. Left
    is positive, and headings turn counter-clockwise, seen from above; wheels are in the order front left, front right,
    rear left, rear right.
    """

    place: Annotated[Place | None, _said("m", "along the track's centreline")] = None
    gap: Annotated[Gap | None, _said("m", "left of the centreline")] = None
    speed: Annotated[float, Meta(ge=0, le=MAX_SPEED), _said("m/s", "over the ground")]
    gear: Annotated[int, Meta(ge=-1, le=MAX_GEAR), _said("", "-1 reverse, 0 neutral, 1 and up forward")]
    throttle: Annotated[Share, _said("", "as applied, of its whole way")]
    brake: Annotated[Share, _said("", "as applied, of its whole way")]
    steer: Annotated[Within1, _said("", "as applied, of full lock")]
    laps: Annotated[Count, _said("laps", "completed in this drive")]
    lap_time: Annotated[Time, _said("s", "since the line, or the start before it")]
    delta: Annotated[_Number | None, _said("s", "against this drive's best lap at this place")] = None
    off_tracks: Annotated[
        tuple[tuple[Place, Gap], ...],
        Meta(max_length=MAX_OFF_TRACKS),
        _said("m", "place and gap where episodes of any of its cars ended off the track since the last one"),
    ] = ()
    valid: Annotated[bool, _said("", "whether never more than two wheels were off the track in this lap")] = True
    time: Annotated[Time | None, _said("s", "on the sender's session clock, which never goes back")] = None
    position: Annotated[tuple[_Number, _Number] | None, _said("m", "in the ground plane, x and y")] = None
    heading: Annotated[_Number | None, _said("rad", "from +x; may lie outside -pi to pi")] = None
    velocity: Annotated[tuple[_Speed, _Speed] | None, _said("m/s", "forward and left, of the car")] = None
    acceleration: Annotated[tuple[_Number, _Number] | None, _said("m/s^2", "forward and left, as felt")] = None
    yaw_rate: Annotated[_Number | None, _said("rad/s", "of the heading")] = None
    engine_rpm: Annotated[_Number | None, _said("1/min", "of the engine")] = None
    wheel_slip: Annotated[_Wheels | None, _said("", "of each tyre, 1 where its force peaks")] = None
    wheel_load: Annotated[_Wheels | None, _said("N", "on each tyre")] = None
    wheel_angular_speed: Annotated[_Wheels | None, _said("rad/s", "positive when a wheel rolls forward")] = None
    wheels_out: Annotated[_Few | None, _said("wheels", "beyond the edge of the track and its kerb")] = None
    collided: Annotated[bool | None, _said("", "whether the car has hit something in this episode")] = None
    episode: Annotated[Count | None, _said("", "number of the present episode in this drive")] = None
    ended: Annotated[Name | None, _said("", "why the episode ended with this frame")] = None
    action: Annotated[
        tuple[Within1, Within1] | None,
        _said("", "steer and pedals (throttle less brake) applied since the frame before, on the task's grid"),
    ] = None
    action_age: Annotated[Time | None, _said("s", "from the observation to when its action was applied")] = None
    chunk: Annotated[Count | None, _said("", "number of the ControlChunk that the action came from")] = None
    chunk_delay: Annotated[
        Time | None, _said("s", "from an observation to the arrival of its ControlChunk, of the newest that arrived")
    ] = None
    settled: Annotated[
        Time | None,
        _said("s", "`time` of the episode's newest frame whose action was surely applied; left out: of this one"),
    ] = None


class TelemetryBatch(_Message, frozen=True, tag="telemetry_batch"):
    """Frames of one car, oldest first; `number` counts 1, 2, 3 in a stream as that of a TransitionBatch."""

    number: BatchNumber
    frames: Annotated[tuple[Telemetry, ...], Meta(min_length=1, max_length=MAX_FRAMES)]


class TrackAnnouncement(_Message, frozen=True, tag="track"):
    """The track that Hello names by its hash, where Welcome asked for it; `content` is `racing.track_text`'s."""

    content: Annotated[bytes, Meta(max_length=MAX_TRACK_BYTES)]


class TransitionBatch(_Message, frozen=True, tag="transition_batch"):
    """One numbered batch of experience; `blob` is what `experience.codec.encode_batch` returned."""

    number: BatchNumber
    blob: Annotated[bytes, Meta(max_length=MAX_BLOB_BYTES)]


class Transition(_Message, frozen=True, tag="transition"):
    """One step in plain, finite numbers, for text clients; `number` counts like that of a batch."""

    number: BatchNumber
    observation: Vector
    action: Vector
    reward: float
    next_observation: Vector
    terminated: bool
    truncated: bool

    def __post_init__(self) -> None:
        """Refuse what JSON cannot say but MessagePack can: NaN and infinities."""
        for vector in (self.observation, self.action, (self.reward,), self.next_observation):
            if not all(map(math.isfinite, vector)):
                raise ValueError("a transition holds NaN or an infinite number")


class EnvCall(_Message, frozen=True, tag="env_call"):
    """Asks for something of one client's environment; see `experience.remote_calls` for what `body` holds.

    `client` names who steps one environment, or one vector of them; its calls are numbered 1, 2, 3. The one before was
    answered, or its deadline is over. A call that is asked again is answered again, and not done again. `seconds` is
    how long the answer is waited for.
    """

    client: StreamId
    number: BatchNumber
    what: EnvAction
    seconds: Annotated[float, Meta(gt=0, le=86_400)]
    body: Annotated[bytes, Meta(max_length=MAX_BLOB_BYTES)] = b""


class EnvResult(_Message, frozen=True, tag="env_result"):
    """The answer to the call of the same `client` and `number`.

    `seconds` were spent in the environment. An `error` (see EnvErrorCode) is told in the body's text.
    """

    client: StreamId
    number: BatchNumber
    seconds: Annotated[float, Meta(ge=0, le=1e9)]
    body: Annotated[bytes, Meta(max_length=MAX_BLOB_BYTES)] = b""
    error: Annotated[str, Meta(max_length=64)] | None = None


class Ping(_Message, frozen=True, tag="ping"):
    """Asks for a Pong with the same `time` (seconds on the sender's own clock)."""

    time: float


class Welcome(_Message, frozen=True, tag="welcome"):
    """Answer to Hello: where to resume, and how far the run is.

    `stored_through`: newest batch of this stream committed on the instance; `safe_through`: newest one in S3.
    `stored_steps` and `trained_steps` count the whole run; `max_lead_steps` is how far the first may run ahead. `done`:
    the run has all its training. `wants_track`: nobody has announced the track that Hello named. `takes_telemetry`:
    Telemetry is welcome.
    """

    run_id: Name
    stored_through: Count
    safe_through: Count
    stored_steps: Count
    trained_steps: Count
    max_lead_steps: Count
    done: bool = False
    wants_track: bool = False
    takes_telemetry: bool = False


class Ack(_Message, frozen=True, tag="ack"):
    """Batches up to `stored_through` are committed on the instance, up to `safe_through` in S3.

    Of a stream of telemetry both say the same: batches through it are taken, and on the instance's disk where telemetry
    is written.
    """

    stored_through: Count
    safe_through: Count


class FlowControl(_Message, frozen=True, tag="flow_control"):
    """How far the run is; a bridge that is not in real time waits when it would lead by more.

    `done`: the run has all its training. Nobody trains any more, so a bridge that waited would wait for ever.
    """

    stored_steps: Count
    trained_steps: Count
    max_lead_steps: Count
    done: bool = False


class WeightsUpdate(_Message, frozen=True, tag="weights_update"):
    """A new policy: a safetensors file and its SHA-256 (hex)."""

    version: BatchNumber
    sha256: Sha256
    blob: Annotated[bytes, Meta(max_length=MAX_WEIGHTS_BYTES)]


class ControlChunk(_Message, frozen=True, tag="control_chunk"):
    """What a driver on the instance wants done: actions with their times, on the bridge's session clock (s).

    It answers the frame whose `time` is `observed`, by the policy of this `version`. The first of the `actions` (steer
    and pedals) is to be applied at `first`, each further one a `period` after the one before; none from `expires` on.
    Each chunk has a higher number than those before.
    """

    number: BatchNumber
    observed: Time
    first: Time
    period: Annotated[float, Meta(gt=0, le=1)]
    actions: Annotated[tuple[tuple[Within1, Within1], ...], Meta(min_length=1, max_length=MAX_CHUNK)]
    expires: Time
    version: Count


class DriverState(_Message, frozen=True, tag="driver_state"):
    """Whether a driver in the cloud is `ready` to answer this bridge's frames; `text` says why not, for people."""

    ready: bool
    text: Text = ""


class Drain(_Message, frozen=True, tag="drain"):
    """The instance is about to go, or will for want of driving: keep driving, keep the spool, dial again."""

    reason: Text


class Error(_Message, frozen=True, tag="error"):
    """A refusal: `code` for programs (see ErrorCode; unknown codes of newer peers are allowed), `text` for people."""

    code: Annotated[str, Meta(max_length=64)]
    text: Text


class Pong(_Message, frozen=True, tag="pong"):
    """Answer to Ping, with its `time`."""

    time: float


UpMessage: TypeAlias = (
    Hello | TransitionBatch | Transition | Report | Telemetry | TelemetryBatch | TrackAnnouncement | EnvResult | Ping
)
"""What a bridge may say."""
DownMessage: TypeAlias = (
    Welcome | Ack | FlowControl | WeightsUpdate | ControlChunk | DriverState | EnvCall | Drain | Error | Pong
)
"""What a receiver may say."""
Message: TypeAlias = UpMessage | DownMessage
