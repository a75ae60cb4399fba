"""What waits to be told of several bridges: each one's in order, all of them in turn, so that none waits for another.

Of a bridge's frames only the newest are kept; what was dropped is counted. It holds no socket and waits for nothing.
"""

from collections import Counter, deque
from typing import Final

import msgspec

from train_cloud.driver_messages import Seen, ToDriver

MOST_FRAMES: Final = 64
"""Of one bridge that wait; three seconds' worth."""


class Turns:
    """Messages by their stream."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[ToDriver]] = {}
        """The one whose turn is next first; none is empty."""
        self._lost: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, message: ToDriver) -> None:
        """Take it in, in place of its stream's oldest frame where too many wait."""
        waiting = self._waiting.setdefault(message.stream, deque())
        waiting.append(message)
        frames = [place for place, one in enumerate(waiting) if isinstance(one, Seen)]
        if len(frames) > MOST_FRAMES:
            dropped = waiting[frames[0]]
            assert isinstance(dropped, Seen)
            del waiting[frames[0]]
            self._lost[message.stream] += 1 + dropped.lost

    def take(self) -> ToDriver:
        """The next one of the stream whose turn it is. Raises StopIteration where nothing waits."""
        stream = next(iter(self._waiting))
        waiting = self._waiting.pop(stream)
        message = waiting.popleft()
        if waiting:
            self._waiting[stream] = waiting
        if isinstance(message, Seen) and (lost := self._lost.pop(stream, 0)):
            message = msgspec.structs.replace(message, lost=message.lost + lost)
        return message

    def waits(self, stream: str) -> bool:
        """Whether more of this stream waits."""
        return stream in self._waiting
