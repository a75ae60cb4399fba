"""The folder into which a demo's outcome goes.

Promises that only what a demo wrote is ever deleted, that one demo at a time works in it, and that there is room.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.files import locked

MARKER = "made-by-the-demo.txt"
"""Only a folder with this file in it is emptied by the next demo."""
LOCK = "demo.lock"
LEAST_FREE_MIB = 200
"""A demo of 8 minutes writes some 50 MB, a fast and long one three times as much."""
_NAME_ANOTHER = "Name another folder with `make demo OUTPUT=folder` (--output)"


class UnusableFolder(Exception):
    """The outcome cannot go where it was told to; the text is a sentence, `exit_code` of what kind it is."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextmanager
def fresh_folder(folder: Path) -> Iterator[None]:
    """Make the folder, or empty that of an earlier demo, and keep other demos out of it while the context is open.

    Raises UnusableFolder, above all for a folder of somebody else.
    """
    with ExitStack() as closing_all:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = [entry for entry in folder.iterdir() if entry.name not in (MARKER, LOCK)]
            if held and not (folder / MARKER).is_file():
                raise UnusableFolder(
                    f"The folder {folder} holds something that no demo wrote. {_NAME_ANOTHER}, or delete it."
                )
            if (lock := locked(folder / LOCK)) is None:
                raise UnusableFolder(
                    f"Another demo works in {folder} now. Wait for its end, or end it (Ctrl-C in its terminal). "
                    f"{_NAME_ANOTHER} for two at once."
                )
            closing_all.callback(lock.close)
            _empty(folder, held)
        except (OSError, sqlite3.OperationalError) as error:
            said = getattr(error, "strerror", None) or error
            code = ExitCode.DISK_FULL if getattr(error, "errno", None) == errno.ENOSPC else ExitCode.USAGE
            raise UnusableFolder(f"The outcome cannot go into {folder}: {said}. {_NAME_ANOTHER}.", code) from error
        yield


def _empty(folder: Path, held: list[Path]) -> None:
    # Written first and kept: a demo that is killed right here finds its own folder again.
    (folder / MARKER).write_text("The next `make demo` into this folder deletes everything in it.\n", "utf-8")
    for entry in held:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    if (free := shutil.disk_usage(folder).free / 2**20) < LEAST_FREE_MIB:
        raise UnusableFolder(
            f"The disk of {folder} has {free:.0f} MiB free, and a demo may need {LEAST_FREE_MIB}. Free some. "
            f"{_NAME_ANOTHER} on another disk.",
            ExitCode.DISK_FULL,
        )
    (folder / "instance").mkdir()
