"""A running link over a spool, and batches to send that nobody needs to decode."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from experience.environment import Environment
from tests.support.runs import boxes
from tests.support.waiting import wait_until
from wire.pairing import Pairing

ENVIRONMENT = Environment("test", boxes(3, 2))
INTRODUCTION = Introduction(ENVIRONMENT, False, 1, "test")


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


def check_back_within(seconds: float, link: Link, pairing: Pairing, folder: Path, introduction: Introduction) -> None:
    """AssertionError unless `link` has everything stored within `seconds` from now, on a machine that is not busy.

    On this one it has as much longer as another bridge, which begins to call `pairing` now, takes to be connected: once
    for the call, and once for what is stored after it.
    """
    began, moments = time.monotonic(), dict[str, float]()
    with Spool(folder) as spool, running(pairing, spool, introduction) as other:

        def both() -> bool:
            for name, there in (("link", link.all_stored), ("other", other.state.connected)):
                if there:
                    moments.setdefault(name, time.monotonic() - began)
            return len(moments) == 2

        wait_until(both, "what was spooled in the outage is stored")
    assert moments["link"] < seconds + 2.0 * moments["other"]
