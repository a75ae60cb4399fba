"""Watches for the end of a spot instance: `python3 -m train_cloud.instance.spot_watch --run-folder DIR`.

Every five seconds it asks the metadata service for an interruption notice and for a rebalance recommendation, and
writes DIR/notice (action and time, a line each) or DIR/rebalance (its time) when there is one; units that wait for
these files do the rest. Each is written once. An unreachable service is said and asked again for ever. It runs on the
system's own Python, so that it guards the boot too: nothing outside the standard library is imported.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runtime.files import write_private
from runtime.logs import configure_logging, fields
from runtime.signals import stop_on_signals
from train_cloud import notify
from train_cloud.instance.metadata import Metadata, MetadataError
from train_cloud.run_folder.files import NOTICE, REBALANCE

POLL_SECONDS = 5.0
COMPLAIN_SECONDS = 60.0
"""While the metadata service is out of reach, the log says so this often."""

_log = logging.getLogger(__name__)


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
            # The notice is what two minutes hang on: it is written before anything else is asked.
            if (notice := self._metadata.get("spot/instance-action")) is not None:
                self._on_notice(notice)
            if (rebalance := self._metadata.get("events/recommendations/rebalance")) is not None:
                self._on_rebalance(rebalance)
        except MetadataError as error:
            self._complain(error)
        else:
            if self._lost_at is not None:
                lost_s = round(self._clock() - self._lost_at)
                _log.info("the metadata service answers again", extra=fields(seconds=lost_s))
            self._lost_at, self._complained_at = None, float("-inf")

    def _on_notice(self, body: str) -> None:
        if (self._folder / NOTICE).exists():
            return
        # An answer that cannot be read is a notice all the same: the path exists only when there is one.
        action, when = _field(body, "action") or "unknown", _field(body, "time") or "unknown"
        write_private(self._folder / NOTICE, f"{action}\n{when}\n".encode())
        _log.warning("EC2 takes this instance back", extra=fields(action=action, at=when))

    def _on_rebalance(self, body: str) -> None:
        when = _field(body, "noticeTime") or "unknown"
        if when == self._rebalance_seen:
            return
        self._rebalance_seen = when
        write_private(self._folder / REBALANCE, f"{when}\n".encode())
        _log.info("EC2 recommends to rebalance: saving a checkpoint and going on", extra=fields(at=when))

    def _complain(self, error: MetadataError) -> None:
        now = self._clock()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            _log.warning(f"no news of interruptions: {error}", extra=fields(seconds=round(now - self._lost_at)))


def main() -> int:
    """Watch until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m train_cloud.instance.spot_watch")
    parser.add_argument("--run-folder", type=Path, required=True, help="where the files `notice` and `rebalance` go")
    parser.add_argument("--poll-seconds", type=float, default=POLL_SECONDS)
    arguments = parser.parse_args()
    configure_logging("spot-watch")
    stop = stop_on_signals()
    watch = SpotWatch(Metadata(), arguments.run_folder)
    _log.info("watching for interruptions", extra=fields(poll_seconds=arguments.poll_seconds))
    notify.ready("watching for interruptions")
    while not stop.is_set():
        try:
            watch.poll()
        except OSError as error:
            # Room for two lines may be there the next time; a watcher that ended would see nothing at all.
            _log.error(f"the news could not be written ({error})")
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


if __name__ == "__main__":
    sys.exit(main())
