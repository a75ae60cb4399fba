"""Exactly-once, in-order delivery of numbered batches, as two state machines without any I/O.

The sender (Outbox) numbers its batches 1, 2, 3, ... in a spool that survives it, sends them in order within a window,
and forgets only what the receiver calls safe. The receiver (Inbox) stores number n+1 only after n, and recognises what
it has already. After a cut, the receiver's Welcome says where to go on. Nothing is lost, doubled or reordered, whatever
is cut and whenever either side dies, as long as both keep what they committed. Neither class reads a clock.
"""

from enum import Enum
from typing import Final

DEFAULT_WINDOW: Final = 64
"""Batches that may be on their way without an acknowledgement."""


class StreamConflict(Exception):
    """Sender and receiver remember different histories of a stream; the text says which and what to do."""


class Outbox:
    """The sending side of one stream; starts disconnected.

    Attributes, for reading: `last_number`: newest batch in the spool (0: none yet); `stored_through`: newest batch that
    the receiver, as it last said, has committed; `safe_through`: newest batch that is safe in S3, which the spool may
    have forgotten; `connected`: a Welcome was heard on the present connection.
    """

    def __init__(self, last_number: int = 0, safe_through: int = 0, window: int = DEFAULT_WINDOW) -> None:
        if not 0 <= safe_through <= last_number:
            raise ValueError(f"safe_through {safe_through} must lie within 0..last_number {last_number}")
        if window < 1:
            raise ValueError(f"the window must hold at least one batch, not {window}")
        self.last_number, self.stored_through, self.safe_through = last_number, safe_through, safe_through
        self.connected = False
        self._sent, self._window = safe_through, window

    @property
    def in_flight(self) -> int:
        """Batches sent on this connection and not acknowledged yet."""
        return self._sent - self.stored_through

    def welcome(self, stored_through: int, safe_through: int) -> int:
        """Start (again) after what the receiver has; returns the number through which the spool may forget.

        The receiver may have less than it once acknowledged (a new instance restored from S3), but never less than what
        was safe. Raises StreamConflict when it has less, or has batches that this spool never made.
        """
        self._check_history(stored_through, safe_through)
        if stored_through < self.safe_through:
            raise StreamConflict(
                f"The receiver has batches through {stored_through} of this stream, but batches through "
                f"{self.safe_through} were already reported safe and are no longer in the spool. It serves another "
                "run or lost its bucket: check the run's name, or start with a new spool folder."
            )
        self.stored_through = self._sent = stored_through
        self.safe_through = max(self.safe_through, safe_through)
        self.connected = True
        return self.safe_through

    def appended(self, number: int) -> None:
        """The spool committed batch `number`, the one after the last."""
        if number != self.last_number + 1:
            raise ValueError(f"batch {number} does not follow batch {self.last_number}")
        self.last_number = number

    def next_number(self) -> int | None:
        """The batch to send now; None when disconnected, when the window is full or when everything was sent."""
        if not self.connected or self._sent >= self.last_number or self.in_flight >= self._window:
            return None
        return self._sent + 1

    def sent(self, number: int) -> None:
        """Batch `number`, as given by next_number(), was handed to the connection."""
        if number != self.next_number():
            raise ValueError(f"batch {number} is not the next to send ({self.next_number()})")
        self._sent = number

    def ack(self, stored_through: int, safe_through: int) -> int:
        """Take an acknowledgement; returns the number through which the spool may forget.

        An older one than the newest changes nothing. One beyond what this connection sent is fine (the receiver was
        still committing what an earlier connection brought); beyond the spool's newest it raises StreamConflict.
        """
        self._check_history(stored_through, safe_through)
        if self.connected:
            self.stored_through = max(self.stored_through, stored_through)
            self._sent = max(self._sent, self.stored_through)
        self.safe_through = max(self.safe_through, safe_through)
        return self.safe_through

    def disconnected(self) -> None:
        """The connection is gone: send nothing until the next welcome."""
        self.connected = False
        self._sent = self.stored_through

    def _check_history(self, stored_through: int, safe_through: int) -> None:
        if safe_through > stored_through:
            raise StreamConflict(
                f"The receiver says that batches through {safe_through} are safe, but only batches through "
                f"{stored_through} are stored. That cannot be: bring both sides to one version."
            )
        if stored_through > self.last_number:
            raise StreamConflict(
                f"The receiver has batches through {stored_through} of this stream, but this spool only made "
                f"{self.last_number}. The spool was restored from an older copy: start with a new spool folder."
            )


class Verdict(Enum):
    """What to do with an arriving batch."""

    STORE = "store"
    DUPLICATE = "duplicate"
    """Already stored or accepted: acknowledge again, store nothing."""
    OUT_OF_ORDER = "out_of_order"
    """A batch before it is missing: refuse it; the sender goes on after what is acknowledged."""


class Inbox:
    """The receiving side of one stream on one connection, after `stored_through`, what the store holds.

    A batch counts as accepted (the newest one is `accepted_through`) once it is queued for the store; when the store
    then fails, drop the Inbox and begin a new one from what the store holds.
    """

    def __init__(self, stored_through: int = 0) -> None:
        if stored_through < 0:
            raise ValueError(f"stored_through must not be negative: {stored_through}")
        self.accepted_through = stored_through

    def judge(self, number: int) -> Verdict:
        """What to do with batch `number`; changes nothing."""
        if number <= self.accepted_through:
            return Verdict.DUPLICATE
        return Verdict.STORE if number == self.accepted_through + 1 else Verdict.OUT_OF_ORDER

    def accepted(self, number: int) -> None:
        """Batch `number`, judged STORE, was taken."""
        if self.judge(number) is not Verdict.STORE:
            raise ValueError(f"batch {number} does not follow batch {self.accepted_through}")
        self.accepted_through = number
