"""A fault proxy that reads the WebSocket frames of the newest connection: what went, and inside of what it was cut."""

import struct
from collections import Counter
from typing import Any

from tests.support.fault_proxy import FaultProxy

_KINDS = (b"env_call", b"env_result")


class _Frames:
    """The frames in the bytes of one direction, after the handshake."""

    def __init__(self) -> None:
        self._bytes, self._begun = b"", False

    def read(self, data: bytes, cut_at: int | None) -> tuple[list[str], str | None]:
        """The kinds of the messages that `data` completes, and of the one that a cut at `cut_at` tears apart."""
        before = len(self._bytes)
        self._bytes += data
        where = None if cut_at is None else before + cut_at
        if not self._begun:
            head, end, rest = self._bytes.partition(b"\r\n\r\n")
            if not end:
                return [], None
            self._bytes, self._begun = rest, True
            where = None if where is None else where - len(head) - len(end)
        kinds, torn = [], None
        while (frame := self._frame()) is not None:
            length, content = frame
            kind = next((kind.decode() for kind in _KINDS if kind in content[:64]), "other")
            if where is not None and 0 < where < length:
                torn = kind
            elif where is None or where >= length:
                kinds.append(kind)
            where = None if where is None else where - length
            self._bytes = self._bytes[length:]
        return kinds, torn

    def _frame(self) -> tuple[int, bytes] | None:
        """Length and content of the first frame; None while it is not all there."""
        if len(self._bytes) < 2:
            return None
        size, head = self._bytes[1] & 127, 2
        if size > 125:
            form, head = (">H", 4) if size == 126 else (">Q", 10)
            if len(self._bytes) < head:
                return None
            (size,) = struct.unpack(form, self._bytes[2:head])
        mask, end = b"", head + size
        if self._bytes[1] & 128:
            mask, end = self._bytes[head : head + 4], end + 4
        content = self._bytes[end - size : end]
        if len(self._bytes) < end:
            return None
        return end, bytes(byte ^ mask[at % 4] for at, byte in enumerate(content[:64])) if mask else content


class CountingProxy(FaultProxy):
    """Attributes: passed: messages that went, by kind; torn: those that a cut tore apart, of which a part went."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.passed, self.torn = Counter[str](), Counter[str]()
        self._directions = {True: _Frames(), False: _Frames()}

    async def _accept(self, *streams: Any) -> None:
        self._directions = {True: _Frames(), False: _Frames()}
        await super()._accept(*streams)

    def _allowed(self, data: bytes, upwards: bool) -> tuple[bytes, bool]:
        passing, cut = super()._allowed(data, upwards)
        kinds, torn = self._directions[upwards].read(data, len(passing) if cut else None)
        self.passed.update(kinds)
        if torn is not None:
            self.torn[torn] += 1
        return passing, cut
