"""One logger set-up for every process: standard error carries one line per event, in words or as `key=value`.

On a terminal it speaks to a person; elsewhere (a file, a journal, a pipe) every line is `key=value`, for programs.
FORMAT_VARIABLE, and `--log-format` of the commands, choose one of the two everywhere.

A terminal's progress line (`runtime.progress`) never mixes with them: while it stands, what is written to `sys.stderr`
appears above it. What a peer says reaches the terminal as text alone: nothing in it steers a terminal or breaks a line,
and an event that comes again and again is counted, not repeated.
"""

import copy
import logging
import logging.handlers
import os
import queue
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

_MOST_WAITING_LINES = 10_000
LINES_AT_ONCE = 60
"""So many lines an event may write at once; then one in SECONDS_A_LINE, as often as a progress line comes."""
SECONDS_A_LINE = 10.0
WORDS, KEY_VALUE = "words", "key-value"
FORMATS = (WORDS, KEY_VALUE)
FORMAT_VARIABLE = "AC_LOG_FORMAT"
SAYS = "says"
"""Field of an event that tells all of it in words, for people."""
_TOLD_BESIDE = ("done", "left")
"""What a person wants beside that; the rest is for programs."""
_MOST_EVENTS = 1_000
_NEEDS_QUOTES = re.compile(r'[\s"=\\]|^$')
_log = logging.getLogger(__name__)


def fields(**values: object) -> dict[str, Any]:
    """The `extra=` of a log call: `log.info("batch stored", extra=fields(stream=s, number=n))`."""
    return {"fields": values}


def key_values(values: Mapping[str, object]) -> str:
    """`a=1 b="two words"`: values quoted where they would break the line apart, floats in 6 digits."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: object) -> str:
    text = _rounded(value)
    if text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    escaped = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def printable(text: str, keep: str = "") -> str:
    """`text` without what could steer a terminal, reorder a line or break it: each such character as its escape.

    That is every control, format, separator and surrogate character of Unicode, other than those in `keep`.
    """
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(shown)


class KeyValueFormatter(logging.Formatter):
    """One line an event: `time=… level=… process=… event="…"`, the event's own fields, an error if any."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return key_values(line)


class WordsFormatter(logging.Formatter):
    """One line an event for people: `14:03:07 bridge: the event: in words`, or its fields in brackets, local time."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        urgent = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
        line = f"{moment} {self._process}: {urgent}{record.getMessage()}"
        values: dict[str, object] = dict(getattr(record, "fields", {}))
        if (says := values.get(SAYS)) is not None:
            line += f": {says}"
            values = {name: values[name] for name in _TOLD_BESIDE if name in values}
        if values:
            told = (f"{name.replace('_', ' ')} {_rounded(value)}" for name, value in values.items())
            line += f" ({', '.join(told)})"
        # An error's lines stay lines; each of them is text alone all the same.
        error = "\n" + printable(self.formatException(record.exc_info), keep="\n") if record.exc_info else ""
        return printable(line) + error


def _rounded(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class _StandardError(logging.Handler):
    """Writes to what `sys.stderr` is at that moment; a progress line takes its place while it stands."""

    def __init__(self) -> None:
        super().__init__()
        self._events: OrderedDict[tuple[str, int, str], _Allowance] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            allowance = self._allowance_of(record)
            if allowance.take():
                self._write(record, allowance.left_out)
                allowance.left_out = 0
            else:
                allowance.left_out += 1
                allowance.newest = record
        except Exception:
            # As logging's own handlers do: a line that cannot be written must not end who writes the next one.
            self.handleError(record)

    def _write(self, record: logging.LogRecord, left_out: int) -> None:
        sys.stderr.write(self.format(record) + (f" left_out={left_out}" if left_out else "") + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Tell of each event that was left out how often, with its newest line."""
        for allowance in self._events.values():
            if allowance.left_out and allowance.newest is not None:
                with suppress(Exception):
                    self._write(allowance.newest, allowance.left_out - 1)
        self._events.clear()
        super().close()

    def _allowance_of(self, record: logging.LogRecord) -> "_Allowance":
        """By the event, whatever its fields: those may be a peer's own words, new each time."""
        event = record.name, record.levelno, record.getMessage()
        allowance = self._events.pop(event, None) or _Allowance()
        self._events[event] = allowance
        if len(self._events) > _MOST_EVENTS:
            self._events.popitem(last=False)
        return allowance


class _Allowance:
    """How many lines an event may write now, and how many were left out since its last one."""

    def __init__(self) -> None:
        self._lines, self._at = float(LINES_AT_ONCE), time.monotonic()
        self.left_out = 0
        self.newest: logging.LogRecord | None = None

    def take(self) -> bool:
        now = time.monotonic()
        self._lines = min(float(LINES_AT_ONCE), self._lines + (now - self._at) / SECONDS_A_LINE)
        self._at = now
        if may := self._lines >= 1.0:
            self._lines -= 1.0
        return may


def formatter(name: str, format: str | None = None) -> logging.Formatter:
    """What makes the lines of the process `name`: in one of FORMATS, else as FORMAT_VARIABLE or the terminal says."""
    chosen = format or os.environ.get(FORMAT_VARIABLE)
    if chosen not in FORMATS:
        chosen = WORDS if sys.stderr is not None and sys.stderr.isatty() else KEY_VALUE
    return WordsFormatter(name) if chosen == WORDS else KeyValueFormatter(name)


def configure_logging(name: str, level: int | str = logging.INFO, format: str | None = None) -> None:
    """Send every logger's lines to standard error; `name` says which process speaks, `format` is one of FORMATS.

    A second call replaces the first. Modules log with `logging.getLogger(__name__)`. Exceptions that nobody caught,
    in any thread, become such lines too.
    """
    handler = _StandardError()
    handler.setFormatter(formatter(name, format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("websockets", "botocore", "boto3", "urllib3", "asyncio", "werkzeug", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class _Aside(logging.handlers.QueueHandler):
    """Hands records on as they are; where too many wait already, the newest are lost, and nobody waits."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # What is logged may change until it is written; the text may not. An error is written out later.
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


@contextmanager
def logging_aside() -> Iterator[None]:
    """Let a thread of its own write the log, so that who logs never waits for a terminal that stands still.

    A terminal does so while text is selected in a Windows console, after Ctrl-S, or when its ssh stalls. At the end,
    also by an exception, everything is written before this returns.
    """
    root = logging.getLogger()
    handlers = root.handlers[:]
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_WAITING_LINES)
    listener = logging.handlers.QueueListener(lines, *handlers, respect_handler_level=True)
    listener.start()
    root.handlers[:] = [_Aside(lines)]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        # The listener's end is a line as well, and must find room.
        lines.join()
        listener.stop()


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        _log.error("interrupted before everything was in order")
    else:
        _log.critical("ended by an unexpected error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread is not None else "unknown"
        _log.critical(
            "a thread ended by an unexpected error",
            exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
            extra=fields(thread=name),
        )
