"""What only a folder has: killed writers, other processes, the order of what reaches the disk, disks in trouble."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.files import locked
from tests.support.moto_s3 import MotoS3, s3
from tests.support.small_disk import SmallDisk
from tests.support.unprivileged import locked_out
from train_cloud import folder_store
from train_cloud.folder_store import DRAFT, DRAFT_SECONDS, HIDDEN, LOCK, FolderStore
from train_cloud.object_store import (
    ObjectNotFound,
    ObjectStoreAbsent,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    ObjectStoreUnfit,
)
from train_cloud.open_store import open_store

__all__ = ["s3"]

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="its signals, rights and file systems are POSIX")
BEGIN = "import sys; from train_cloud.folder_store import *; objects = FolderStore(sys.argv[1], 'runs/one/')\n"
OVERWRITES = """
for number in range(10**9):
    objects.put(f"model-{number % 3}", bytes([number % 256]) * 300_000)
    print(number, flush=True)
"""
COUNTS = """
sys.stdin.readline()
try:
    objects.put("FIRST", sys.argv[2].encode(), if_none_match=True)
    print("first", flush=True)
except PreconditionFailed:
    pass
done = 0
while done < 25:
    count, etag = objects.get("COUNT")
    try:
        objects.put("COUNT", str(int(count) + 1).encode(), if_match=etag)
        done += 1
    except PreconditionFailed:
        pass
"""


def begun(folder: Path) -> FolderStore:
    objects = FolderStore(folder, "runs/one/")
    objects.prepare()
    return objects


def writer(objects: FolderStore, code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BEGIN + code, str(objects.folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def drafts(objects: FolderStore) -> list[Path]:
    return sorted((objects.folder / HIDDEN).glob(f"*{DRAFT}"))


@posix
@pytest.mark.slow
def test_no_reader_ever_sees_a_half_object_however_often_its_writer_is_killed(tmp_path: Path) -> None:
    objects, seen = begun(tmp_path / "kept"), set()
    for life in range(12):
        process = writer(objects, OVERWRITES)
        assert process.stdout is not None
        assert process.stdout.readline()
        # The kill comes at another place of its loop each time.
        for read in range(3 + 5 * life):
            data = objects.find(f"model-{read % 3}") or bytes(300_000)
            assert (len(data), len(set(data))) == (300_000, 1)
            seen.add(data[0])
        process.kill()
        told = [0, *map(int, process.stdout.read().split())][-1]
        assert process.wait(60) == -signal.SIGKILL
        process.stdout.close()
        assert objects.get(f"model-{told % 3}")[0] == bytes([told % 256]) * 300_000, "what put returned for is there"
        assert set(objects.sizes().values()) == {300_000}
    assert len(seen) > 3, "it was read while it was written"
    assert len(drafts(objects)) <= 12


def test_the_drafts_of_killed_writers_are_swept_once_they_are_old(tmp_path: Path) -> None:
    objects = begun(tmp_path / "kept")
    old, young = (objects.folder / HIDDEN / f"{name}{DRAFT}" for name in ("old", "young"))
    for draft, age in ((old, DRAFT_SECONDS + 60), (young, DRAFT_SECONDS - 60)):
        draft.write_bytes(b"half")
        os.utime(draft, (draft.stat().st_mtime - age,) * 2)
    objects.put("a", b"1")
    assert drafts(objects) == [young]
    assert FolderStore(objects.folder, "").list() == ["runs/one/a"]


@pytest.mark.slow
def test_conditions_hold_between_processes(tmp_path: Path) -> None:
    objects = begun(tmp_path / "kept")
    objects.put("COUNT", b"0")
    processes = [writer(objects, COUNTS, str(number)) for number in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert sorted(told) == ["", "", "", "first\n"]
    assert objects.get("FIRST")[0] == str(told.index("first\n")).encode()
    assert objects.get("COUNT")[0] == b"100"


def test_a_writer_that_keeps_the_lock_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_store, "CALL_SECONDS", 0.1)
    objects = begun(tmp_path / "kept")
    held = locked(objects.folder / HIDDEN / LOCK)
    assert held is not None
    with pytest.raises(ObjectStoreUnavailable, match="another process has held its lock"):
        objects.put("a", b"1")
    held.close()
    objects.put("a", b"1")


@pytest.mark.skipif(sys.platform != "linux", reason="reads in /proc which file was brought to the disk")
def test_content_and_names_reach_the_disk_in_an_order_that_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = begun(tmp_path / "kept")
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(objects.folder)}")

    def replaced(draft: Path, target: Path) -> Path:
        steps.append(f"rename {draft.relative_to(objects.folder)} {target.relative_to(objects.folder)}")
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    objects.put("checkpoints/5/model", b"1")
    draft = steps[0].split()[1]
    assert draft.endswith(DRAFT)
    assert steps == [
        f"sync {draft}",
        f"rename {draft} runs/one/checkpoints/5/model",
        *(f"sync {folder}" for folder in ("runs/one/checkpoints/5", "runs/one/checkpoints", "runs/one", "runs", ".")),
    ]
    steps.clear()
    objects.delete("checkpoints/5/model")
    assert steps == ["sync ."], "the folders that were empty without it are gone, too"
    assert list(objects.folder.iterdir()) == [objects.folder / HIDDEN]


@posix
def test_a_full_disk_harms_nothing_that_is_there_and_passes(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        objects = begun(disk.folder / "kept")
        etag = objects.put("LATEST", b"1")
        objects.put("old", bytes(100_000))
        disk.fill()
        for refused in (
            lambda: objects.put("LATEST", bytes(100_000), if_match=etag),
            lambda: objects.put_file("model", Path(sys.executable)),
        ):
            with pytest.raises(ObjectStoreDenied, match=r"its disk is full \(ENOSPC\)"):
                refused()
        assert drafts(objects) == []
        assert objects.get("LATEST") == (b"1", etag)
        assert objects.list() == ["LATEST", "old"]
        objects.delete("old")
        objects.put("LATEST", bytes(50_000), if_match=etag)
        disk.empty()
        objects.put("model", bytes(100_000))


@posix
def test_a_disk_that_went_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk")
    with disk:
        objects = begun(disk.folder)
        objects.put("checkpoints/LATEST", b"1")
    for call in calls(objects):
        with pytest.raises(ObjectStoreUnavailable, match="Mount its disk"):
            call()
    assert list(disk.folder.iterdir()) == [], "nothing is written to the disk below"
    disk.folder.rmdir()
    for call in calls(objects):
        with pytest.raises(ObjectStoreUnavailable, match="Mount its disk"):
            call()
    assert not disk.folder.exists()
    objects.prepare()
    with pytest.raises(ObjectNotFound):
        objects.get("checkpoints/LATEST")


def calls(objects: FolderStore) -> list[Callable[[], object]]:
    return [
        lambda: objects.put("checkpoints/LATEST", b"2"),
        lambda: objects.put("new/key", b"2", if_none_match=True),
        lambda: objects.get("checkpoints/LATEST"),
        lambda: objects.find("DONE"),
        lambda: objects.list(),
        lambda: objects.written_at("checkpoints/LATEST"),
        lambda: objects.delete("checkpoints/LATEST"),
    ]


@posix
def test_a_disk_that_is_read_only_is_read(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        objects = begun(disk.folder / "kept")
        objects.put("a", b"1")
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        for change in (lambda: objects.put("a", b"2"), lambda: objects.delete("a")):
            with pytest.raises(ObjectStoreDenied, match=r"mounted read-only \(EROFS\)"):
                change()
        assert objects.get("a")[0] == b"1"
        assert objects.list() == ["a"]


@posix
def test_a_user_without_rights_is_told_whose_they_are(tmp_path: Path) -> None:
    objects = begun(tmp_path / "kept")
    objects.put("a", b"1")
    with locked_out(objects.folder):
        for call in (*calls(objects), objects.prepare):
            with pytest.raises(ObjectStoreDenied, match=r"this process's user may not do that \(EACCES\)"):
                call()
    assert objects.get("a")[0] == b"1"


def test_a_folder_is_made_where_only_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectStoreAbsent, match=r"deep does not exist\. Mount its disk"):
        FolderStore(tmp_path / "deep" / "kept", "").prepare()
    (tmp_path / "file").write_bytes(b"x")
    in_the_way = FolderStore(tmp_path / "file", "")
    for call in (in_the_way.prepare, lambda: in_the_way.put("a", b"1"), lambda: in_the_way.get("a")):
        with pytest.raises(ObjectStoreUnfit, match="is no folder"):
            call()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    begun(tmp_path / "kept").put("a", b"1")
    assert begun(tmp_path / "kept").get("a")[0] == b"1", "made ready once more, all is as it was"


@pytest.mark.parametrize(
    "key",
    ["", "..", "../two/x", "a/../../x", "/etc/x", "a//b", "a/", "a\\..\\x", "C:x", "a\0b", "a/.. ", "./a", "a/b."],
)
def test_no_key_leads_out_of_the_folder_on_any_system(tmp_path: Path, key: str) -> None:
    objects = begun(tmp_path / "kept")
    objects.put("a", b"1")
    for change in (lambda: objects.put(key, b"x"), lambda: objects.delete(key)):
        with pytest.raises(ObjectStoreUnfit, match="is no key"):
            change()
    with pytest.raises(ObjectNotFound):
        objects.get(key)
    assert objects.list() == ["a"]
    assert list(tmp_path.iterdir()) == [objects.folder]


def test_what_writers_need_is_no_object(tmp_path: Path) -> None:
    objects = begun(tmp_path / "kept")
    everything = FolderStore(objects.folder, "")
    assert everything.list() == everything.list(HIDDEN) == everything.list(f"{HIDDEN}/") == []
    for name in (HIDDEN, HIDDEN.upper()):
        with pytest.raises(ObjectStoreUnfit):
            everything.put(f"{name}/{LOCK}", b"x")
    with pytest.raises(ObjectStoreError):
        objects.put("x" * 300, b"1")


def test_what_is_deleted_while_it_is_listed_is_left_out(tmp_path: Path) -> None:
    objects = begun(tmp_path / "kept")
    stop = writer(objects, "while True:\n    objects.put('come/go', b'x'); objects.delete('come/go'); print()\n")
    assert stop.stdout is not None
    assert stop.stdout.readline()
    objects.put("stays", b"1")
    found = {tuple(objects.list()) for _ in range(300)}
    stop.kill()
    stop.communicate()
    assert found <= {("stays",), ("come/go", "stays")}


def test_a_run_that_was_copied_from_a_bucket_goes_on_in_a_folder(tmp_path: Path, s3: MotoS3) -> None:
    bucket = open_store(s3.bucket, "runs/one/")
    etags = {key: bucket.put(key, key.encode()) for key in ("DONE", "checkpoints/5/model.zip", "checkpoints/LATEST")}
    for key in bucket.list():
        file = tmp_path / "kept" / "runs" / "one" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bucket.get(key)[0])
    objects = FolderStore(tmp_path / "kept", "runs/one/")
    for call in (objects.list, lambda: objects.find("absent"), lambda: objects.put("DONE", b"x")):
        with pytest.raises(ObjectStoreUnavailable, match=HIDDEN):
            call()
    (tmp_path / "kept" / HIDDEN).mkdir()
    assert {key: objects.get(key) for key in objects.list()} == {key: (key.encode(), etags[key]) for key in etags}
    objects.put("checkpoints/LATEST", b"2", if_match=etags["checkpoints/LATEST"])
