"""One answer to signals: the process ends when its work is in order."""

import signal
import threading
from types import FrameType


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT (and SIGBREAK on Windows) set; call it in the main thread.

    The signal only sets the event: the process ends when its work is in order. A person who presses Ctrl-C a
    second time gets a KeyboardInterrupt; a repeated SIGTERM changes nothing: supervisors may send several.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        stop.set()

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, on_signal)
    return stop
