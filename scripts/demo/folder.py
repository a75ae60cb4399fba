"""The folder into which a demo's outcome goes.

Promises that only what a demo wrote is ever deleted, that one demo at a time works in it, and that there is room.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runtime.files import locked
from scripts.processes.folder import UnusableFolder, refuse_full_disk, unusable_in_words

MARKER = "made-by-the-demo.txt"
"""Only a folder with this file in it is emptied by the next demo."""
LOCK = "demo.lock"
LEAST_FREE_MIB = 200
"""A demo of 8 minutes writes some 50 MB, a fast and long one three times as much."""
_NAME_ANOTHER = "Name another folder with `make demo OUTPUT=folder` (--output)"


@contextmanager
def fresh_folder(folder: Path) -> Iterator[None]:
    """Make the folder, or empty that of an earlier demo, and keep other demos out of it while the context is open.

    Raises UnusableFolder, above all for a folder of somebody else.
    """
    with ExitStack() as closing_all:
        with unusable_in_words(f"The outcome cannot go into {folder}", _NAME_ANOTHER):
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
        yield


def _empty(folder: Path, held: list[Path]) -> None:
    # Written first and kept: a demo that is killed right here finds its own folder again.
    (folder / MARKER).write_text("The next `make demo` into this folder deletes everything in it.\n", "utf-8")
    for entry in held:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    refuse_full_disk(folder, LEAST_FREE_MIB, "a demo", _NAME_ANOTHER)
    (folder / "instance").mkdir()
