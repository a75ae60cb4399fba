"""The spool keeps what was appended through kills and full disks, in one gapless stream, for one process."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.spool import Spool, SpooledBatch, SpoolError, SpoolFull

APPEND_FOREVER = """
import sys
from pathlib import Path
from bridge.spool import Spool
spool = Spool(Path(sys.argv[1]))
while True:
    number = spool.append(str(spool.last_number + 1).encode() * 50, 7, {0: 4, 3: 3})
    print(number, flush=True)
"""


def numbers(spool: Spool) -> list[int]:
    return [n for n in range(spool.last_number + 2) if spool.read(n) is not None]


def append_many(spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.append(os.urandom(3000), 1)


def test_batches_are_numbered_from_one_and_read_back(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert [spool.append(b"a", 2), spool.append(b"b", 3)] == [1, 2]
        second = spool.read(2)
    assert second is not None
    assert (second.number, second.steps, second.blob) == (2, 3, b"b")


def test_stream_and_counters_survive_a_restart(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"a", 5, {0: 2, 1: 3})
        spool.append(b"b", 4, {1: 4})
        before = (spool.stream, spool.bridge)
    with Spool(tmp_path) as again:
        assert (again.stream, again.bridge) == before
        assert (again.last_number, again.total_steps) == (2, 9)
        assert [again.steps_of_car(car) for car in (0, 1, 2)] == [2, 7, 0]
        assert again.append(b"c", 1) == 3


def test_only_what_is_safe_is_forgotten(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for text in (b"a", b"b", b"c"):
            spool.append(text, 10)
        spool.forget_through(spool.stream, 2)
        spool.forget_through(spool.stream, 1)
        assert numbers(spool) == [3]
        assert (spool.safe_through, spool.total_steps) == (2, 30)


def test_unsent_steps_are_those_after_a_number(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for steps in (10, 20, 30):
            spool.append(b"x", steps)
        spool.forget_through(spool.stream, 1)
        assert [spool.steps_after(number) for number in (1, 2, 3)] == [50, 30, 0]


def test_a_killed_process_loses_nothing_it_had_appended(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", APPEND_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        promised = int(process.stdout.readline())
    process.kill()
    promised = max([promised, *(int(line) for line in process.stdout.read().split())])
    process.wait()
    with Spool(tmp_path) as spool:
        assert promised <= spool.last_number <= promised + 1
        assert numbers(spool) == list(range(1, spool.last_number + 1))
        assert spool.total_steps == 7 * spool.last_number
        assert spool.steps_of_car(3) == 3 * spool.last_number


def test_a_second_process_gets_a_sentence(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from bridge.spool import Spool; Spool(Path(sys.argv[1]))"
    with Spool(tmp_path):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "another bridge already uses the spool" in second.stderr


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", APPEND_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM) if sys.platform == "win32" else process.kill()
    process.wait()
    process.stdout.close()
    Spool(tmp_path).close()


def test_the_limit_stops_appending_and_room_lets_it_go_on(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=3000) as spool:
        spool.append(bytes(1000), 1)
        spool.append(bytes(1000), 1)
        with pytest.raises(SpoolFull, match="limit"):
            spool.append(bytes(1000), 1)
        assert (spool.last_number, spool.total_steps) == (2, 2)
        spool.forget_through(spool.stream, 1)
        assert spool.append(bytes(1000), 1) == 3


def test_the_used_bytes_are_known_after_a_restart(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(bytes(1000), 1)
        used = spool.used_bytes
    with Spool(tmp_path) as again:
        assert again.used_bytes == used > 1000


def test_a_full_disk_changes_nothing_and_is_survived(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        (pages,) = spool._writer.execute("PRAGMA page_count").fetchone()
        # SQLite itself then answers SQLITE_FULL, as it does on a disk without room.
        spool._writer.execute(f"PRAGMA max_page_count = {pages + 8}")
        with pytest.raises(SpoolFull, match="takes no more"):
            append_many(spool, 50)
        kept = spool.last_number
        assert numbers(spool) == list(range(1, kept + 1))
        spool.forget_through(spool.stream, kept)
        assert spool.append(b"again", 1) == kept + 1


def test_a_really_full_file_system_is_survived(tmp_path: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux to mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a file system")
    try:
        with Spool(tmp_path) as spool:
            with pytest.raises(SpoolFull, match="takes no more"):
                append_many(spool, 5000)
            kept = spool.last_number
            assert numbers(spool) == list(range(1, kept + 1))
            with contextlib.suppress(SpoolFull):
                spool.append(b"small", 1)
        with Spool(tmp_path) as again:
            assert again.last_number >= kept
            assert numbers(again) == list(range(1, again.last_number + 1))
            again.forget_through(again.stream, kept)
            assert again.append(b"room again", 1) > kept
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_fresh_stream_carries_what_is_not_safe(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for text in (b"a", b"b", b"c"):
            spool.append(text, 10, {0: 10})
        spool.forget_through(spool.stream, 1)
        old = spool.stream
        spool.start_fresh_stream("the receiver knows more than we do")
        assert spool.stream != old
        moved = [spool.read(1), spool.read(2)]
        assert [batch.blob for batch in moved if batch] == [b"b", b"c"]
        assert (spool.last_number, spool.safe_through) == (2, 0)
        assert (spool.total_steps, spool.steps_of_car(0)) == (30, 30)
        assert spool.steps_after(1) == 10
        stream = spool.stream
    with Spool(tmp_path) as again:
        assert (again.stream, again.last_number) == (stream, 2)


def test_a_late_word_about_the_old_stream_deletes_nothing_of_the_new(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"a", 10)
        old = spool.stream
        spool.start_fresh_stream("for the test")
        spool.forget_through(old, 1)
        assert numbers(spool) == [1]


def test_batches_of_another_task_are_not_mixed(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.bind_signature("task one")
        spool.append(b"a", 10)
        with pytest.raises(SpoolError, match="10 steps of another task"):
            spool.bind_signature("task two")
        spool.forget_through(spool.stream, 1)
        spool.bind_signature("task two")
        assert spool.signature == "task two"


def test_a_damaged_file_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(os.urandom(8192))
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(tmp_path)


OLD_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE cars (car INTEGER PRIMARY KEY, steps INTEGER NOT NULL);
CREATE TABLE batches (
    position INTEGER PRIMARY KEY, steps INTEGER NOT NULL, steps_through INTEGER NOT NULL, blob BLOB NOT NULL);
INSERT INTO facts (name, value) VALUES
    ('stream', 'old stream'), ('bridge', 'old bridge'), ('last_number', 2), ('safe_through', 1), ('total_steps', 30);
INSERT INTO cars (car, steps) VALUES (0, 30);
INSERT INTO batches (position, steps, steps_through, blob) VALUES (2, 20, 30, x'62');
"""


def version_of(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_a_spool_from_before_versions_is_taken_as_it_is(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as old:
        old.executescript(OLD_TABLES)
    with Spool(tmp_path) as spool:
        assert (spool.stream, spool.bridge) == ("old stream", "old bridge")
        assert (spool.last_number, spool.safe_through, spool.total_steps) == (2, 1, 30)
        assert spool.steps_of_car(0) == 30
        assert spool.read(2) == SpooledBatch(2, 20, b"b", 30)
        assert spool.append(b"c", 5) == 3
    assert version_of(tmp_path / "spool.db") == 1


def test_a_spool_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"a", 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as newer:
        newer.execute("PRAGMA user_version = 7")
    for _ in range(2):
        # The second time too: the folder is free again after a refusal.
        with pytest.raises(SpoolError, match=r"spool in .* newer version of this.*Bring this program up to date"):
            Spool(tmp_path)
    assert version_of(tmp_path / "spool.db") == 7
