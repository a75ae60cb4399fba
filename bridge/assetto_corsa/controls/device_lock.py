"""Lets one process at a time have a pad or a joystick: a guard, `ac-bridge bind`, or the doctor while it tries them.

Promises that a lock ends with the process that has it, however it ends, and that what keeps it from being taken is a
sentence: InUse where somebody else has it, BackendUnavailable where the lock itself cannot be used. It imports no
numpy: the process that guards the controls uses it.
"""

import os
import sqlite3
import tempfile
from pathlib import Path

from bridge.assetto_corsa.controls.controls import BackendUnavailable


class InUse(BackendUnavailable):
    """Another process has this pad or joystick; the text says so."""


def take(name: str, seconds: float) -> sqlite3.Connection:
    """Wait so long for whoever has the device of this name, then keep the next one waiting, until this is closed.

    Raises InUse and BackendUnavailable.
    """
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    where = "in the temporary folder"
    lock: sqlite3.Connection | None = None
    try:
        path = Path(tempfile.gettempdir()) / f"ac-bridge-{name}{user}.lock"
        where = str(path)
        lock = sqlite3.connect(path, timeout=seconds, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        # Of a file that may only be read SQLite takes a lock that keeps nobody out, and says nothing.
        if not os.access(path, os.W_OK):
            raise PermissionError("it may only be read")
    except (sqlite3.Error, OSError) as error:
        if lock is not None:
            lock.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise InUse(
                f"another bridge drives through {name}, or `ac-bridge bind` holds it ({error}: {where}). End that one, "
                "then start this one again."
            ) from error
        raise BackendUnavailable(
            f"the lock {where} cannot be used: {error}. Without it two bridges could drive through one {name}. Delete "
            "that file if there is one, and see that this user may write into its folder (the variable TMPDIR, on "
            "Windows TEMP, names another one), then start again."
        ) from error
    return lock
