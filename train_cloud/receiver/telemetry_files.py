"""Streamed telemetry in the run's folder: JSON lines in files that rotate by size, whole ones as Parquet where chosen.

Promises that frames whose `write` returned are on the disk, and that each numbered batch is there once, whatever is
killed and when: after the lines, `position.json` is replaced, which says how long the newest file is and how far each
stream has come; what a file holds beyond that was never acknowledged, and is cut off at the next start. Without that
position, what lies there is left as it is, and a new file begun. The oldest files are deleted when all together grow
beyond the limit. For one thread at a time, and one process.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from runtime.files import sync_folder, write_private
from runtime.logs import fields
from wire.messages import Telemetry

Form = Literal["jsonl", "parquet"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
MOST_STREAMS: Final = 1000
"""Streams whose position is remembered; of more, those that were heard last."""
_FILE_BYTES: Final = 16 * 2**20
_FILES: Final = 8
"""So many fit into the limit, at least."""
_POSITION: Final = "position.json"

_log = logging.getLogger(__name__)


class NoParquet(RuntimeError):
    """Parquet is chosen, and what writes it cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a stream as they came at `at`, Unix time in s; `number` is their batch's, None for frames of none."""

    stream: str
    bridge: str
    number: int | None
    at: float
    frames: tuple[Telemetry, ...]


class _Position(msgspec.Struct):
    """What is committed: the first `size` bytes of file number `file`, and of each stream batches through a number."""

    file: int = 1
    size: int = 0
    streams: dict[str, int] = {}


class TelemetryFiles:
    """The files in `folder`, which is made; all together they keep to `limit_bytes`.

    Raises NoParquet, and OSError where the folder cannot be used.
    """

    def __init__(self, folder: Path, form: Form, limit_bytes: int) -> None:
        if form == "parquet":
            try:
                import pyarrow.parquet  # noqa: F401 - whether it works is known now, and not when a file is full
            except ImportError as error:
                raise NoParquet(
                    f"Telemetry cannot be written as Parquet: pyarrow cannot be imported here ({error}). Install the "
                    "extra that has it (pip install 'ac-training[export]'), or write JSON lines."
                ) from error
        self.folder, self._form, self._limit = folder, form, limit_bytes
        self._file_bytes = min(_FILE_BYTES, limit_bytes // _FILES)
        folder.mkdir(parents=True, exist_ok=True)
        self._at = self._position()
        self._recover()
        self._commit(self._at)

    def stored_through(self, stream: str) -> int:
        """The newest batch of the stream that is on the disk; 0 for none."""
        return self._at.streams.get(stream, 0)

    def write(self, heard: Iterable[Frames]) -> None:
        """Bring all of it to the disk. Raises OSError where that is not sure, and it can be tried again.

        A batch that does not follow on what is there of its stream is left out.
        """
        streams, lines = dict(self._at.streams), bytearray()
        for one in heard:
            if one.number is not None and one.number != streams.get(one.stream, 0) + 1:
                continue
            lines += _lines(one)
            if one.number is not None:
                # The newest last.
                streams.pop(one.stream, None)
                streams[one.stream] = one.number
        for oldest in list(streams)[: max(0, len(streams) - MOST_STREAMS)]:
            del streams[oldest]
        file, at = self._path(self._at.file), self._at
        # What an attempt that failed left there is written over.
        with file.open("r+b" if at.size else "wb") as out:
            out.truncate(at.size)
            out.seek(at.size)
            out.write(lines)
            out.flush()
            os.fsync(out.fileno())
        self._commit(_Position(at.file, at.size + len(lines), streams))
        if self._at.size >= self._file_bytes:
            self._commit(_Position(at.file + 1, 0, streams))
            self._finish(file)
            self._make_room()

    def _commit(self, position: _Position) -> None:
        write_private(self.folder / _POSITION, msgspec.json.encode(position), 0o644)
        # It holds from now on, also where a power cut might yet undo it.
        self._at = position
        sync_folder(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"telemetry-{number:06d}.jsonl"

    def _position(self) -> _Position:
        """What was committed; after files of which nothing is known a new one begins."""
        at, newest = _Position(), max(map(_number, self.folder.glob("telemetry-*")), default=0)
        try:
            at = msgspec.json.decode((self.folder / _POSITION).read_bytes(), type=_Position)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if newest:
                _log.warning(
                    "nothing says how far telemetry was written; a new file begins, and batches may come twice",
                    extra=fields(folder=self.folder, reason=type(error).__name__),
                )
                return _Position(newest + 1)
        return at if newest <= at.file else _Position(newest + 1, 0, at.streams)

    def _recover(self) -> None:
        """Cut off what was not committed, and finish what a kill has kept from being finished."""
        newest = self._path(self._at.file)
        if newest.exists() and newest.stat().st_size >= self._at.size:
            with newest.open("r+b") as out:
                out.truncate(self._at.size)
        elif self._at.size:
            # Somebody has taken the file away.
            self._commit(_Position(self._at.file + 1, 0, self._at.streams))
        for draft in self.folder.glob(".*.draft"):
            draft.unlink()
        for file in sorted(self.folder.glob("telemetry-*.jsonl")):
            if file < self._path(self._at.file):
                self._finish(file)
        self._make_room()

    def _finish(self, file: Path) -> None:
        """Make Parquet of a whole file, where that is chosen; what cannot be made now, the next start tries again."""
        if self._form != "parquet":
            return
        finished = file.with_suffix(".parquet")
        try:
            if not finished.exists():
                draft = file.with_name(f".{finished.name}.draft")
                _write_parquet(file, draft)
                draft.replace(finished)
            file.unlink()
        except (OSError, ValueError) as error:
            # What is wrong with the lines, msgspec and pyarrow say by a ValueError.
            _log.warning("telemetry stays as JSON lines", extra=fields(file=file, reason=error))

    def _make_room(self) -> None:
        newest = self._path(self._at.file)
        files = sorted(file for file in self.folder.glob("telemetry-*") if file != newest)
        sizes = {file: file.stat().st_size for file in files}
        # The newest one may yet grow.
        used = sum(sizes.values()) + self._file_bytes
        for file in files:
            if used <= self._limit:
                return
            file.unlink()
            used -= sizes[file]


def _number(file: Path) -> int:
    """That of a file of telemetry; 0 for what is none."""
    digits = file.stem.removeprefix("telemetry-")
    return int(digits) if digits.isdecimal() else 0


def _lines(heard: Frames) -> bytes:
    """A line for each frame: when it came, whose it is, and its fields."""
    head = {"at": heard.at, "stream": heard.stream, "bridge": heard.bridge}
    if heard.number is not None:
        head["batch"] = heard.number
    rows = [head | msgspec.to_builtins(frame) for frame in heard.frames]
    for row in rows:
        del row["type"]
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _write_parquet(lines: Path, file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    pair, wheels, spots = pa.list_(pa.float64()), pa.list_(pa.float64()), pa.list_(pa.list_(pa.float64()))
    kinds: dict[str, Any] = {"stream": pa.string(), "bridge": pa.string(), "ended": pa.string(), "off_tracks": spots}
    kinds |= dict.fromkeys(("valid", "collided"), pa.bool_())
    kinds |= dict.fromkeys(("batch", "gear", "laps", "wheels_out", "episode", "chunk"), pa.int64())
    kinds |= dict.fromkeys(("position", "velocity", "acceleration", "action"), pair)
    kinds |= dict.fromkeys(("wheel_slip", "wheel_load", "wheel_angular_speed"), wheels)
    names = ("at", "stream", "bridge", "batch", *Telemetry.__struct_fields__)
    schema = pa.schema([pa.field(name, kinds.get(name, pa.float64())) for name in names])
    rows = [msgspec.json.decode(line) for line in lines.read_bytes().splitlines()]
    for row in rows:
        # What equals its default was left out on the wire.
        row.setdefault("valid", True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")
    with file.open("r+b") as written:
        os.fsync(written.fileno())
