"""Tells systemd how a service is: that it starts, that it is ready, that it is alive (sd_notify(3) by hand).

Without NOTIFY_SOCKET, so anywhere but in a unit of Type=notify, every call does nothing. No call ever raises or waits
for longer than SEND_SECONDS: a message that systemd could not take is dropped, and the next one comes soon.
"""

import os
import socket
from contextlib import suppress

SEND_SECONDS = 1.0
START_SECONDS = 90.0
"""How long after starting() the next one, or ready(), may come before systemd takes the start for failed."""


def starting(text: str) -> None:
    """The start takes longer and goes on: `text` says with what. Until ready() there is a deadline, no watchdog."""
    _send(f"EXTEND_TIMEOUT_USEC={round(START_SECONDS * 1e6)}", "WATCHDOG=1", f"STATUS={text}")


def ready(text: str) -> None:
    """The service does its work from now on; an orderly end before that would count as a failed start."""
    _send("READY=1", "WATCHDOG=1", f"STATUS={text}")


def alive() -> None:
    """Put off the watchdog; call it where work was really done, and never from a thread that only keeps time."""
    _send("WATCHDOG=1")


def status(text: str) -> None:
    """One line that `systemctl status` shows."""
    _send(f"STATUS={text}")


def _send(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A leading @ stands for the zero byte of Linux's abstract names.
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(SEND_SECONDS)
        out.sendto("\n".join(" ".join(line.split()) for line in lines).encode(), name)
