"""Watches for the end of a spot instance: `python3 -m train_cloud.instance.spot_watch --run-folder DIR`.

Every five seconds it asks the metadata service for an interruption notice and for a rebalance recommendation, and
writes DIR/notice (action and time, a line each) or DIR/rebalance (its time) when there is one; units that wait for
these files do the rest. Each is written once. An unreachable service is said and asked again for ever. It runs on the
system's own Python, so that it guards the boot too: nothing outside the standard library is imported.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from train_cloud import notify
from train_cloud.instance.metadata import Metadata, MetadataError

POLL_SECONDS = 5.0
COMPLAIN_SECONDS = 60.0
"""While the metadata service is out of reach, the log says so this often."""
NOTICE, REBALANCE = "notice", "rebalance"


class SpotWatch:
    """What was seen so far; `poll` looks once and never raises because of the metadata service or its answers."""

    def __init__(self, metadata: Metadata, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._metadata, self._folder, self._clock = metadata, folder, clock
        self._rebalance_seen: str | None = None
        self._lost_at: float | None = None
        self._complained_at = float("-inf")

    def poll(self) -> None:
        """Ask for both kinds of news. Raises OSError when a file cannot be written."""
        try:
            notice = self._metadata.get("spot/instance-action")
            # The notice is what two minutes hang on: it is written before anything else is asked.
            if notice is not None:
                self._on_notice(notice)
            rebalance = self._metadata.get("events/recommendations/rebalance")
            if rebalance is not None:
                self._on_rebalance(rebalance)
        except MetadataError as error:
            self._complain(error)
        else:
            self._recovered()

    def _on_notice(self, body: str) -> None:
        if (self._folder / NOTICE).exists():
            return
        # An answer that cannot be read is a notice all the same: the path exists only when there is one.
        action, when = _field(body, "action") or "unknown", _field(body, "time") or "unknown"
        _write(self._folder / NOTICE, f"{action}\n{when}\n")
        _say("warning", "EC2 takes this instance back", action=action, at=when)

    def _on_rebalance(self, body: str) -> None:
        when = _field(body, "noticeTime") or "unknown"
        if when == self._rebalance_seen:
            return
        self._rebalance_seen = when
        _write(self._folder / REBALANCE, f"{when}\n")
        _say("info", "EC2 recommends to rebalance: saving a checkpoint and going on", at=when)

    def _complain(self, error: MetadataError) -> None:
        now = self._clock()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            _say("warning", f"no news of interruptions: {error}", seconds=round(now - self._lost_at))

    def _recovered(self) -> None:
        if self._lost_at is not None:
            _say("info", "the metadata service answers again", seconds=round(self._clock() - self._lost_at))
        self._lost_at, self._complained_at = None, float("-inf")


def main() -> int:
    """Watch until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m train_cloud.instance.spot_watch")
    parser.add_argument("--run-folder", type=Path, required=True, help="where the files `notice` and `rebalance` go")
    parser.add_argument("--poll-seconds", type=float, default=POLL_SECONDS)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch = SpotWatch(Metadata(), arguments.run_folder)
    _say("info", "watching for interruptions", poll_seconds=arguments.poll_seconds)
    notify.ready("watching for interruptions")
    while not stop.is_set():
        try:
            watch.poll()
        except OSError as error:
            # Room for two lines may be there the next time; a watcher that ended would see nothing at all.
            _say("error", f"the news could not be written ({error})")
        notify.alive()
        stop.wait(arguments.poll_seconds)
    return 0


def _field(body: str, name: str) -> str | None:
    """A text field of the JSON object `body`; None when it is not there. Never more than one line of it."""
    try:
        value = json.loads(body)[name]
    except (ValueError, LookupError, TypeError):
        return None
    return " ".join(str(value).split()) or None


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.new")
    with draft.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def _say(level: str, event: str, **values: object) -> None:
    """A line in the form of runtime.logs, which needs more than the standard library."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": moment, "level": level, "process": "spot-watch", "event": event, **values}
    text = " ".join(f"{key}={_quoted(str(value))}" for key, value in line.items())
    print(text, file=sys.stderr, flush=True)


def _quoted(text: str) -> str:
    plain = text and not any(character in text for character in ' \t\r\n"=\\')
    return text if plain else json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
