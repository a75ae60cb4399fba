"""CSP's Custom AI as the controls see it: Car0 appears once there are controls, and counts. Offsets are CSP's."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import need_page_files

CONTROLS = "AcTools.CSP.NewBehaviour.CustomAI.CarControls0.v0"
CAR = "AcTools.CSP.NewBehaviour.CustomAI.Car0.v0"


@contextmanager
def answering(memory: Path, first_packet: int = 1) -> Iterator[None]:
    """Answer whoever makes controls in this folder."""
    need_page_files()
    stop = threading.Event()

    def answer() -> None:
        packet = first_packet
        while not stop.wait(0.003):
            if (memory / CONTROLS).exists():
                (memory / "new").write_bytes(struct.pack("<i668x", packet))
                (memory / "new").rename(memory / CAR)
                packet += 1

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def pedals(memory: Path) -> tuple[float, ...]:
    """gas, brake, clutch, steer, handbrake, as CSP reads them."""
    return struct.unpack("<5f", (memory / CONTROLS).read_bytes()[:20])
