"""Reads the systemd journal onwards from a cursor, entry by entry, in the form that `journalctl -o short-iso` prints.

The cursor is a file of the form that journalctl's --cursor-file has, so that lifeline.sh goes on where we stopped. It
is moved on by the caller alone, when the entries are safe; nothing here writes.
"""

import json
import logging
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.logs import fields

CURSOR = "journal.cursor"
READ_SECONDS = 20.0
MAX_MESSAGE_BYTES = 64 * 2**10
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID,_HOSTNAME"

_log = logging.getLogger(__name__)


class JournalError(Exception):
    """The journal cannot be read; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: the cursor behind it, its time (µs since 1970) and its line without the line's end."""

    cursor: str
    at_us: int
    line: str


def read_cursor(folder: Path) -> str | None:
    """Behind which entry the last reader stopped; None at the beginning."""
    with suppress(OSError, UnicodeDecodeError):
        return (folder / CURSOR).read_text(encoding="utf-8").strip() or None
    return None


def keep_cursor(folder: Path, cursor: str) -> None:
    """Say that everything up to `cursor` is safe. Raises OSError."""
    draft = folder / f".{CURSOR}.new"
    draft.write_text(cursor + "\n", encoding="utf-8")
    draft.replace(folder / CURSOR)


def entries_after(cursor: str | None) -> Iterator[Entry]:
    """The entries behind `cursor`, oldest first; a reader may stop at any. Raises JournalError.

    A cursor that journalctl does not understand is said, and everything is read again: twice is better than never.
    """
    if cursor is not None:
        try:
            yield from _entries(["--after-cursor", cursor])
            return
        except _CursorRefused as error:
            _log.error("the journal's cursor cannot be used; shipping from the beginning", extra=fields(problem=error))
    yield from _entries([])


class _CursorRefused(JournalError):
    """journalctl ended in failure before it gave anything."""


def _entries(options: list[str]) -> Iterator[Entry]:
    command = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--output-fields={_FIELDS}", *options]
    given = 0
    with _running(command) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            entry = _entry(raw)
            if entry is not None:
                given += 1
                yield entry
        problem = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
        # Killed by our own time limit: what came before is fine, and the next call goes on.
        if process.wait() > 0:
            kind = _CursorRefused if options and not given else JournalError
            raise kind(f"journalctl ended with {process.returncode}: {problem[-300:]}")


@contextmanager
def _running(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise JournalError(f"journalctl cannot be started ({error.strerror}).") from error
    limit = threading.Timer(READ_SECONDS, process.kill)
    limit.start()
    try:
        with process:
            yield process
            process.kill()
    finally:
        limit.cancel()
        process.kill()


def _entry(raw: bytes) -> Entry | None:
    """The entry in a line of JSON; None for a line that was cut off, or is not one of the journal's."""
    try:
        record = json.loads(raw)
        cursor, at_us = str(record["__CURSOR"]), int(record["__REALTIME_TIMESTAMP"])
    except (ValueError, LookupError, TypeError):
        return None
    moment = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds")
    name = _text(record.get("SYSLOG_IDENTIFIER")) or _text(record.get("_COMM")) or "unknown"
    process = f"[{_text(record['_PID'])}]" if record.get("_PID") else ""
    message = _text(record.get("MESSAGE")).encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")
    # As journalctl does, so that a line of the file that begins with a time begins an entry.
    message = message.rstrip("\n").replace("\n", "\n    ")
    return Entry(cursor, at_us, f"{moment} {_text(record.get('_HOSTNAME'))} {name}{process}: {message}")


def _text(value: Any) -> str:
    """A field as text: what is not UTF-8 comes as a list of bytes, a field that stands twice as a list of texts."""
    if value is None:
        return ""
    if isinstance(value, list):
        if all(isinstance(byte, int) for byte in value):
            return bytes(value).decode("utf-8", "replace")
        return " ".join(map(_text, value))
    return str(value)
