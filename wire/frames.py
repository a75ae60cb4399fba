"""Messages to WebSocket frames and back: MessagePack in binary frames, JSON in text frames.

Decoding validates everything that `wire.messages` declares and raises nothing but FrameError, whatever
the bytes. Which kind of frame a peer uses is its own choice, frame by frame.
"""

from typing import Final, TypeVar

import msgspec

from wire.messages import MAX_DOWN_FRAME_BYTES, MAX_UP_FRAME_BYTES, DownMessage, Message, UpMessage

_M = TypeVar("_M")

_BINARY_ENCODER: Final = msgspec.msgpack.Encoder()
_TEXT_ENCODER: Final = msgspec.json.Encoder()
_BINARY_UP: Final[msgspec.msgpack.Decoder[UpMessage]] = msgspec.msgpack.Decoder(UpMessage)
_TEXT_UP: Final[msgspec.json.Decoder[UpMessage]] = msgspec.json.Decoder(UpMessage)
_BINARY_DOWN: Final[msgspec.msgpack.Decoder[DownMessage]] = msgspec.msgpack.Decoder(DownMessage)
_TEXT_DOWN: Final[msgspec.json.Decoder[DownMessage]] = msgspec.json.Decoder(DownMessage)


class FrameError(ValueError):
    """A frame is not a valid message; the text says in a sentence what is wrong with it."""


class FrameTooLarge(FrameError):
    """A frame is larger than any valid message."""


def encode_frame(message: Message) -> bytes:
    """The message as a binary (MessagePack) frame."""
    return _BINARY_ENCODER.encode(message)


def encode_text(message: Message) -> str:
    """The message as a text (JSON) frame; bytes travel as base64."""
    return _TEXT_ENCODER.encode(message).decode()


def decode_up(frame: bytes | str) -> UpMessage:
    """The message in a frame from a bridge. Raises FrameError (FrameTooLarge above MAX_UP_FRAME_BYTES)."""
    return _decode(frame, _BINARY_UP, _TEXT_UP, MAX_UP_FRAME_BYTES)


def decode_down(frame: bytes | str) -> DownMessage:
    """The message in a frame from a receiver. Raises FrameError (FrameTooLarge above MAX_DOWN_FRAME_BYTES)."""
    return _decode(frame, _BINARY_DOWN, _TEXT_DOWN, MAX_DOWN_FRAME_BYTES)


def _decode(frame: bytes | str, binary: msgspec.msgpack.Decoder[_M], text: msgspec.json.Decoder[_M], limit: int) -> _M:
    if len(frame) > limit:
        raise FrameTooLarge(f"The frame has {len(frame)} bytes; the protocol allows at most {limit}.")
    try:
        return text.decode(frame) if isinstance(frame, str) else binary.decode(frame)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise FrameError(f"The frame is not a valid message of this protocol: {error}.") from None
    except RecursionError:
        raise FrameError("The frame is nested too deeply to be a message of this protocol.") from None
