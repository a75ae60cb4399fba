"""A real small file system that a test can fill up and empty again; needs root on Linux, else the test is skipped."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest

_BLOCK = 4096


class SmallDisk:
    """A tmpfs of `mebibytes` at `folder`, which is made, while the context is open."""

    def __init__(self, folder: Path, mebibytes: int = 8) -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("needs root on Linux to mount a small file system")
        self.folder, self._size = folder, mebibytes
        self._filler = folder / "filler"

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={self._size}m", "tmpfs", str(self.folder)]
        if subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
            pytest.skip("this machine does not let us mount a file system")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self) -> None:
        """Take every free block, as another program's file would."""
        with self._filler.open("ab") as filler:
            while (free := os.statvfs(self.folder).f_bavail) > 0:
                try:
                    os.write(filler.fileno(), bytes(free * _BLOCK))
                except OSError:
                    return

    def empty(self) -> None:
        """Give it all back."""
        self._filler.unlink()
