"""The folder that processes of this machine work in: whether it can be had, and whether its disk has room."""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.exit_codes import ExitCode


class UnusableFolder(Exception):
    """The folder cannot be worked in; the text is a sentence, `exit_code` of what kind it is."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextmanager
def unusable_in_words(sentence: str, advice: str) -> Iterator[None]:
    """Errors of files within become UnusableFolder: `sentence`, the system's words, then the `advice`."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        said = getattr(error, "strerror", None) or error
        code = ExitCode.DISK_FULL if getattr(error, "errno", None) == errno.ENOSPC else ExitCode.USAGE
        raise UnusableFolder(f"{sentence}: {said}. {advice}.", code) from error


def refuse_full_disk(folder: Path, least_mib: int, who: str, advice: str) -> None:
    """Raise UnusableFolder unless the folder's disk has `least_mib` free, which `who` ("a demo") may need."""
    if (free := shutil.disk_usage(folder).free / 2**20) < least_mib:
        raise UnusableFolder(
            f"The disk of {folder} has {free:.0f} MiB free, and {who} may need {least_mib}. Free some. "
            f"{advice} on another disk.",
            ExitCode.DISK_FULL,
        )
