"""Private files: whole or not at all, and never readable for others; by real writers, one of them killed."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.files import create_private, write_private
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from runtime.files import write_private
file = Path(sys.argv[1])
while True:
    for letter in (b"a", b"b"):
        write_private(file, letter * 200_000)
"""


def test_a_file_is_written_and_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_private(file, b"one")
    write_private(file, b"two")
    assert file.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


@pytest.mark.skipif(os.name == "nt", reason="file modes are of POSIX systems")
def test_nobody_else_can_read_it_at_any_moment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"for everybody")
    file.chmod(0o644)
    modes: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for entry in tmp_path.iterdir():
                # A draft may be gone again.
                with suppress(FileNotFoundError):
                    if entry.name != "secret":
                        modes.add(entry.stat().st_mode & 0o777)

    watcher = threading.Thread(target=look)
    before = os.umask(0)
    try:
        watcher.start()
        for _ in range(200):
            write_private(file, b"x" * 100_000)
        assert create_private(tmp_path / "another", b"y")
    finally:
        os.umask(before)
        done.set()
        watcher.join()
    assert file.stat().st_mode & 0o777 == (tmp_path / "another").stat().st_mode & 0o777 == 0o600
    assert modes == {0o600}


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    seen = set()
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-S", "-c", WRITER, str(file)], cwd=ROOT)
        try:
            wait_until(file.exists, "the writer writes", 30.0)
            for _ in range(50):
                content = file.read_bytes()
                seen.add((len(content), len(set(content))))
        finally:
            writer.kill()
            writer.wait()
        content = file.read_bytes()
        seen.add((len(content), len(set(content))))
        file.unlink()
    assert seen == {(200_000, 1)}


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_private(tmp_path / "folder", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_of_many_who_create_a_file_at_once_one_does(tmp_path: Path) -> None:
    file = tmp_path / "first"

    def create(number: int) -> bool:
        return create_private(file, b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert sum(won) == 1
    assert file.read_bytes() == b"%d" % won.index(True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]
