"""A running link over a spool, and batches to send that nobody needs to decode."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from experience.environment import Environment
from tests.support.runs import boxes
from wire.pairing import Pairing

INTRODUCTION = Introduction(Environment("test", boxes(3, 2)), False, 1, "test")


@contextmanager
def running(pairing: Pairing, spool: Spool, introduction: Introduction = INTRODUCTION) -> Iterator[Link]:
    """A link that dials `pairing` until the block ends."""
    link = Link(pairing, spool, introduction)
    link.start()
    try:
        yield link
    finally:
        link.close(timeout=0.0)


def append(spool: Spool, link: Link | None, count: int) -> list[bytes]:
    """Spool `count` batches of 10 steps each, which are no real ones, and tell the link; returns them."""
    blobs = [f"{spool.last_number + 1}:".encode() + os.urandom(200) for _ in range(count)]
    for blob in blobs:
        spool.append(blob, 10)
        if link is not None:
            link.notify()
    return blobs
