"""The objects of a run as files in a plain folder, of this machine or of a network's server, with S3's guarantees.

A put writes a draft in HIDDEN, a folder inside, brings it to the disk, renames it to its key and brings the name to the
disk: whenever a process is killed or the power fails, an object is the old one or the new one. Writers take turns by a
lock in HIDDEN, which a dead one lets go, so that conditions hold between processes. Readers wait for nobody. A call
ends in time as long as the disk answers: a network's that is mounted "hard" and silent holds it up.

HIDDEN is made by `prepare` alone, when a run begins. A folder without it is taken for one whose disk is not mounted:
nothing is written there, and nothing is said to be missing.
"""

import errno
import hashlib
import logging
import os
import re
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from runtime.files import locked, sync_folder
from runtime.logs import fields
from train_cloud.object_store import (
    CALL_SECONDS,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreAbsent,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    ObjectStoreUnfit,
    PreconditionFailed,
)

HIDDEN: Final = ".ac-training"
"""In the folder, beside the objects: what writers need."""
LOCK: Final = "lock"
DRAFT: Final = ".draft"
DRAFT_SECONDS: Final = 3600.0
"""A draft that has not grown for so long is of a writer that was killed."""
_CHUNK_BYTES: Final = 2**20
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\\:]|[. ]$")
"""Also what only Windows takes for a path: the folder may be copied to any system."""
_NO_FILE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

_log = logging.getLogger(__name__)


class FolderStore(ObjectStore):
    """Objects of one run in `folder`; a key is the path of its file there."""

    def __init__(self, folder: str | Path, prefix: str) -> None:
        self.folder, self.prefix = Path(folder), prefix
        self.place = f"{self.folder / prefix}{os.sep}"
        self._hidden = self.folder / HIDDEN

    def prepare(self) -> None:
        """Make the folder, where only it is missing, and HIDDEN. Raises what `put` raises."""
        with self._typed_errors("prepare", ""):
            if not self.folder.is_dir():
                self._make_folder()
            # So that its name survives, too; who may not look above it has not made it.
            with suppress(PermissionError):
                sync_folder(self.folder.parent)
            if not self._hidden.is_dir():
                _log.warning(
                    "the run's folder is new, so all begins anew in it; if it has kept runs before, its disk is not "
                    "mounted: end this run now, mount the disk and start again",
                    extra=fields(folder=self.folder),
                )
                self._hidden.mkdir(exist_ok=True)
            sync_folder(self.folder)
            with self._lock():
                pass

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            # Not made as well: it may be where a disk belongs.
            raise ObjectStoreAbsent(
                f"The run's folder {self.folder} cannot be made, as {self.folder.parent} does not exist. Mount its "
                "disk, make that folder, or name another one as bucket.folder in run.json."
            ) from None

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        with self._typed_errors("write", key):
            self._write(key, [data], if_match, if_none_match)
        return _etag(data)

    def put_file(self, key: str, file: Path) -> None:
        with file.open("rb") as content, self._typed_errors("write", key):
            self._write(key, iter(lambda: content.read(_CHUNK_BYTES), b""))

    def get(self, key: str) -> tuple[bytes, str]:
        with self._typed_errors("read", key), self._not_found(key):
            data = self._file(key).read_bytes()
            return data, _etag(data)

    def written_at(self, key: str) -> datetime:
        with self._typed_errors("look at", key), self._not_found(key):
            return datetime.fromtimestamp(self._file(key).stat().st_mtime, UTC)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        above = (self.prefix + prefix).rpartition("/")[0]
        found: dict[str, int] = {}
        with self._typed_errors("list", prefix):
            if not above or _is_key(above):
                found = dict(_files(self.folder / above, f"{above}/" if above else ""))
            # Only now: a disk that went meanwhile looks like one that is empty.
            self._check_mounted()
        keys = sorted(key for key in found if key.startswith(self.prefix + prefix))
        return {key.removeprefix(self.prefix): found[key] for key in keys}

    def delete(self, key: str) -> None:
        """Delete the object, if it is there, and the folders that are empty without it. Raises what `put` raises."""
        with self._typed_errors("delete", key):
            file = self._file(key)
            with self._lock():
                try:
                    file.unlink()
                except _NO_FILE:
                    return
                above = file.parent
                with suppress(OSError):
                    while above != self.folder:
                        above.rmdir()
                        above = above.parent
            self._sync(above)

    def _write(
        self, key: str, chunks: Iterable[bytes], if_match: str | None = None, if_none_match: bool = False
    ) -> None:
        file = self._file(key)
        with self._draft(chunks) as draft:
            with self._lock():
                if if_none_match and file.exists():
                    raise PreconditionFailed(f"{self.place}{key} was not written: there is one already.")
                if if_match is not None and self.get(key)[1] != if_match:
                    raise PreconditionFailed(f"{self.place}{key} was not written: it was changed by another writer.")
                self._make(file.parent)
                draft.replace(file)
            # Also the names of folders that are not new: who made them may have been killed before.
            for folder in (file.parent, *file.parent.parents):
                self._sync(folder)
                if folder == self.folder:
                    break

    @contextmanager
    def _draft(self, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A file with this content in HIDDEN, on the disk; gone at the end unless it was renamed."""
        draft = self._hidden / f"{uuid.uuid4().hex}{DRAFT}"
        try:
            with draft.open("xb") as out:
                for chunk in chunks:
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            # Times of the same clock, which may be a server's.
            self._sweep(draft.stat().st_mtime - DRAFT_SECONDS)
            yield draft
        finally:
            with suppress(OSError):
                draft.unlink()

    def _sweep(self, before: float) -> None:
        """Delete the drafts that were last written before that time; their writer, if it lives, is told so."""
        for entry in os.scandir(self._hidden):
            with suppress(FileNotFoundError):
                if entry.name.endswith(DRAFT) and entry.stat().st_mtime < before:
                    Path(entry).unlink()

    def _make(self, folder: Path) -> None:
        """Make `folder` and what is missing above it; never the run's folder itself, whose disk may be gone."""
        missing = [one for one in (folder, *folder.parents) if self.folder in one.parents and not one.is_dir()]
        for one in reversed(missing):
            one.mkdir()

    def _sync(self, folder: Path) -> None:
        try:
            sync_folder(folder)
        except FileNotFoundError:
            # Another process has deleted it with what was in it, unless its disk is gone.
            self._check_mounted()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        file = self._hidden / LOCK
        try:
            lock = locked(file, CALL_SECONDS)
        except sqlite3.OperationalError as error:
            # Says by its errno what SQLite does not.
            os.utime(file)
            raise OSError(errno.ENOLCK, str(error)) from error
        if lock is None:
            raise ObjectStoreUnavailable(
                f"Could not write to {self.folder}: another process has held its lock for {CALL_SECONDS:.0f} s. Is one "
                "of this run's stopped, or its disk very slow?"
            )
        with closing(lock):
            yield

    def _file(self, key: str) -> Path:
        """Where the object lies. Raises ObjectStoreUnfit when that would be elsewhere than in the folder."""
        if not _is_key(self.prefix + key):
            raise ObjectStoreUnfit(f"{self.prefix + key!r} is no key of an object in the folder {self.folder}.")
        return self.folder / self.prefix / key

    @contextmanager
    def _not_found(self, key: str) -> Iterator[None]:
        try:
            yield
        except (*_NO_FILE, ObjectStoreUnfit) as error:
            self._check_mounted()
            raise ObjectNotFound(f"Could not read {self.place}{key}: there is no such object.") from error

    def _check_mounted(self) -> None:
        if not self._hidden.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._hidden))

    @contextmanager
    def _typed_errors(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind, problem = _PROBLEMS.get(error.errno or 0, _UNKNOWN)
            if isinstance(error, (*_NO_FILE, FileExistsError)):
                kind, problem = self._absence()
            elif isinstance(error, PermissionError) and os.name == "nt":
                kind, problem = _IN_USE
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            raise kind(f"Could not {doing} {self.place}{key}: {problem.format(name)}") from error

    def _absence(self) -> tuple[type[ObjectStoreError], str]:
        """What it means that a file or folder is not there, or is the other one."""
        if self.folder.exists() and not self.folder.is_dir():
            return ObjectStoreUnfit, f"{self.folder} is no folder. Name one as bucket.folder in run.json."
        if not self._hidden.is_dir():
            return (
                ObjectStoreUnavailable,
                f"{self.folder} is not there, or no run was ever kept in it ({HIDDEN} is missing in it). Mount its "
                "disk, or check bucket.folder in run.json; for a run that begins, the receiver makes it.",
            )
        return ObjectStoreUnavailable, "something else changed the folder at the same time, or lies in the way ({})."


def _is_key(key: str) -> bool:
    """Whether the key names a file inside, on every system, that is not ours."""
    parts = key.split("/")
    return parts[0].lower() != HIDDEN and all(part and not _NOT_IN_NAMES.search(part) for part in parts)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Key and size of every file below `folder`, whose keys begin with `prefix`, but not of one that vanishes."""
    try:
        entries = list(os.scandir(folder))
    except _NO_FILE:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if prefix or entry.name.lower() != HIDDEN:
                yield from _files(Path(entry), f"{prefix}{entry.name}/")
        else:
            with suppress(FileNotFoundError):
                yield prefix + entry.name, entry.stat().st_size


def _etag(data: bytes) -> str:
    """As S3 has it: the MD5 of the content, in quotes."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


_FULL = (
    ObjectStoreDenied,
    "its disk is full ({}), or this user's share of it. Free some space; what is there is unharmed.",
)
_NO_RIGHTS = (
    ObjectStoreDenied,
    "this process's user may not do that ({}). Give the folder and all in it to that user (chown -R), or start the "
    "process as the folder's.",
)
_NO_HANDLE = (
    ObjectStoreUnavailable,
    "this process has no file handle left ({}). Raise the limit of open files (LimitNOFILE, ulimit -n).",
)
_UNFIT = (
    ObjectStoreUnfit,
    "its file system cannot do that ({}). Keep the run on one local disk, or on NFS or SMB with locks.",
)
_UNKNOWN = (ObjectStoreUnavailable, "its disk failed ({}). Look after it: cable, network, the system's log.")
_IN_USE = (ObjectStoreUnavailable, "another program has the file open, or this user may not do that ({}).")
_PROBLEMS: dict[int, tuple[type[ObjectStoreError], str]] = {
    errno.ENOSPC: _FULL,
    getattr(errno, "EDQUOT", errno.ENOSPC): _FULL,
    errno.EACCES: _NO_RIGHTS,
    errno.EPERM: _NO_RIGHTS,
    errno.EROFS: (
        ObjectStoreDenied,
        "its disk is mounted read-only ({}), as also happens after an error of the disk. Look at the system's log.",
    ),
    errno.EMFILE: _NO_HANDLE,
    errno.ENFILE: _NO_HANDLE,
    errno.EXDEV: _UNFIT,
    errno.EFBIG: _UNFIT,
    errno.EINVAL: _UNFIT,
    errno.ENAMETOOLONG: _UNFIT,
    errno.ENOLCK: _UNFIT,
    errno.ENOSYS: _UNFIT,
    errno.EOPNOTSUPP: _UNFIT,
}
"""What an error of the system means; all others may pass."""
