"""What every process of the house does the same way: one logger set-up, one meaning of the exit codes, one
answer to signals, one progress line. It promises that standard error carries one line per event, `key=value`
throughout, and that a terminal's progress line never mixes with them. It starts nothing and knows nothing of
the work itself.
"""

from __future__ import annotations

import copy
import enum
import logging
import logging.handlers
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_PROGRESS_SECONDS = 10.0
"""Without a terminal, a progress line is written at most this often."""

_CONSOLE = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
_MOST_WAITING_LINES = 10_000
_NEEDS_QUOTES = re.compile(r'[\s"=\\]|^$')
_log = logging.getLogger(__name__)


class ExitCode(enum.IntEnum):
    """How a process of the house ends; the README's table is this enum in words."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    """The peer, or another writer of the same run, refused us; a retry would be refused again."""
    DISK_FULL = 4
    STORAGE = 5
    """The S3 API was out of reach or denied us for good."""
    INTERRUPTED = 130


def fields(**values: object) -> dict[str, Any]:
    """The `extra=` of a log call: `log.info("batch stored", extra=fields(stream=s, number=n))`."""
    return {"fields": values}


def key_values(values: Mapping[str, object]) -> str:
    """`a=1 b="two words"`: values quoted where they would break the line apart, floats in 6 digits."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if not _NEEDS_QUOTES.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


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


class _ConsoleHandler(logging.Handler):
    """Writes through the console that draws the progress line, so that a log line appears above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if _CONSOLE.is_terminal:
                _CONSOLE.print(line)
            else:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except Exception:
            # As logging's own handlers do: a line that cannot be written must not end who writes the next one.
            self.handleError(record)


def configure_logging(name: str, level: int | str = logging.INFO) -> None:
    """Send every logger's lines to standard error as `key=value`; `name` becomes `process=`.

    A second call replaces the first. Modules log with `logging.getLogger(__name__)`. Exceptions that nobody caught,
    in any thread, become such lines too.
    """
    handler = _ConsoleHandler()
    handler.setFormatter(KeyValueFormatter(name))
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


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT (and SIGBREAK on Windows) set; call it in the main thread.

    The signal only sets the event: the process ends when its work is in order. A person who presses Ctrl-C a
    second time gets a KeyboardInterrupt; a repeated SIGTERM changes nothing: supervisors may send several.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        stop.set()

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, on_signal)
    return stop


class Progress:
    """How far a piece of work is, with rate and time left.

    On a terminal one live line at the bottom; without one a plain log line at most every 10 s and at the end.
    `total` is None when the end is not known. Rates count from the first update, so that a resumed run's head
    start is not taken for speed.
    """

    def __init__(self, label: str, total: float | None = None, stream: IO[str] | None = None) -> None:
        self._label, self._total = label, total
        console = _CONSOLE if stream is None else Console(file=stream, highlight=False, markup=False)
        self._live = Live("", console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._first: tuple[float, float] | None = None
        self._last_plain = float("-inf")
        self._last: dict[str, object] = {}

    def update(self, done: float, **values: object) -> None:
        """Say that `done` (of `total`, same unit) is reached; `values` are shown beside it."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
            if self._live is not None:
                self._live.start()
        self._last = self._shown(now, done) | values
        if self._live is not None:
            self._live.update(Text(f"{self._label}  {key_values(self._last)}", no_wrap=True, overflow="ellipsis"))
        elif now - self._last_plain >= PLAIN_PROGRESS_SECONDS:
            self._last_plain = now
            self._write()

    def _shown(self, now: float, done: float) -> dict[str, object]:
        assert self._first is not None
        start, head_start = self._first
        rate = (done - head_start) / (now - start) if now > start else 0.0
        shown: dict[str, object] = {"done": "/".join(_amount(part) for part in (done, self._total) if part is not None)}
        if rate > 0:
            shown["per_second"] = f"{rate:.3g}"
            if self._total is not None:
                shown["left"] = duration(max(0.0, self._total - done) / rate)
        return shown

    def close(self) -> None:
        """Take the live line away; the last state stays as a log line."""
        if self._live is not None:
            self._live.stop()
        self._write()

    def _write(self) -> None:
        if self._last:
            _log.info(self._label, extra=fields(**self._last))
        self._last = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _amount(value: float) -> str:
    """Counts in full, however large; other numbers in 6 digits."""
    return f"{value:.0f}" if value == round(value) else f"{value:g}"


def duration(seconds: float) -> str:
    """`42s`, `3m07s`, `2h05m`: seconds in the form a person reads."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
