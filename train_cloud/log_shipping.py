"""Brings a process's log to the run's bucket, a piece a minute, where no instance's journal is shipped.

So that `make logs` shows it from any PC, as it does an instance's. Nothing waits for it: what the bucket does not take
is tried again with what came since, and of that only the newest lines are kept.
"""

import atexit
import gzip
import logging
import re
import socket
import threading
from collections import deque
from datetime import UTC, datetime
from itertools import count

from runtime.logs import KeyValueFormatter, fields
from train_cloud.object_store import INSTANCE_FILE, ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import LOGS, run_prefix

SHIP_SECONDS = 60.0
END_SECONDS = 5.0
"""The last piece may hold up the process's end for so long."""
_MOST_LINES = 20_000
_log = logging.getLogger(__name__)


class _Shipper(logging.Handler):
    def __init__(self, config: RunConfig, process: str) -> None:
        super().__init__()
        self.setFormatter(KeyValueFormatter(process))
        self._config, self._process = config, process
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log shipping", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def begin(self) -> None:
        logging.getLogger().addHandler(self)
        self._thread.start()
        # Behind the hook that logs what nobody caught.
        atexit.register(self._end)

    def _end(self) -> None:
        self._ending.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        machine = re.sub("[^A-Za-z0-9.-]", "-", socket.gethostname()) or "machine"
        failing = False
        for number in count(1):
            last = self._ending.wait(SHIP_SECONDS)
            lines = self._taken(deque(maxlen=_MOST_LINES))
            key = f"{LOGS}{machine}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{self._process}-{number}.log.gz"
            try:
                if lines:
                    text = "".join(f"{line}\n" for line in lines)
                    open_store(self._config.bucket, run_prefix(self._config.run_id)).put(
                        key, gzip.compress(text.encode())
                    )
                failing = False
            except ObjectStoreError as error:
                lines.extend(self._taken(lines))
                if not failing:
                    _log.warning("the log is not in the bucket, trying again each minute", extra=fields(reason=error))
                failing = True
            if last:
                return

    def _taken(self, others: deque[str]) -> deque[str]:
        """The lines so far; what comes now goes behind the `others`."""
        self.acquire()
        try:
            lines, self._lines = self._lines, others
        finally:
            self.release()
        return lines


def ship_log(config: RunConfig, process: str) -> None:
    """Let what this process logs from here on come into the bucket, too; on an instance its journal does."""
    if not INSTANCE_FILE.exists():
        _Shipper(config, process).begin()
