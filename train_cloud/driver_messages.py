"""What the receiver and a driver on the same machine say to each other, over a socket in the run's folder."""

from typing import Final, TypeAlias

import msgspec

from wire.messages import ControlChunk, DriverState, Telemetry

MAX_BYTES: Final = 2**20
"""Of a message."""


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """A bridge whose car is to be driven has come; `track` is the hash of racing's track."""

    stream: str
    bridge: str
    track: str


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """A frame of it; `lost` frames before it were dropped, because the driver did not take them in time."""

    stream: str
    frame: Telemetry
    lost: int = 0


class Left(msgspec.Struct, frozen=True, tag="left"):
    """Its connection has ended."""

    stream: str


class Say(msgspec.Struct, frozen=True, tag="say"):
    """The driver says this to the bridge of this stream."""

    stream: str
    message: ControlChunk | DriverState


ToDriver: TypeAlias = Joined | Seen | Left
encode: Final = msgspec.msgpack.Encoder().encode
_TO_DRIVER: Final[msgspec.msgpack.Decoder[ToDriver]] = msgspec.msgpack.Decoder(ToDriver)
to_driver: Final = _TO_DRIVER.decode
from_driver: Final = msgspec.msgpack.Decoder(Say).decode
