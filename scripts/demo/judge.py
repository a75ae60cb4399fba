"""Judges the learned policy while it is being learned: three laps in a row, alone, from the line, without
exploration, on the newest weights that were sent to the bridge. It reads the store and changes nothing.
"""

import logging
import threading
import time
from dataclasses import dataclass
from itertools import takewhile

from experience import environment
from racing.evaluation import Evaluation, drive_laps, policy_actions, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import Track
from runtime.logs import fields
from train_cloud.store import Store

LAPS_IN_A_ROW = 3
POLL_SECONDS = 1.0
LEAST_SECONDS = 4.0
"""Between two judgements."""
SHARE_OF_A_CORE = 0.2
"""Judging takes no more than this of a core: the learning needs it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PolicyJudgement:
    """What one version of the policy did."""

    version: int
    drive: Evaluation

    @property
    def clean(self) -> int:
        """Clean laps from the start of the drive up to the first that was not."""
        return sum(1 for _ in takewhile(lambda lap: lap.clean, self.drive.laps))

    @property
    def passed(self) -> bool:
        """Whether it drove as many clean laps in a row as the demo asks for."""
        return self.clean >= LAPS_IN_A_ROW

    @property
    def total_time(self) -> float:
        """Time of its laps in a row, s; only of use when it passed."""
        return sum(lap.time for lap in self.drive.laps)


class Judge(threading.Thread):
    """Fills `reference`, `latest` and, once a version has passed, `passed`; `error` holds what went wrong.

    With `whole_time` it judges on after that, and `passed` is the one with the fastest lap of those that passed.
    """

    def __init__(self, store: Store, track: Track, config: TaskConfig, whole_time: bool = False) -> None:
        super().__init__(name="judge", daemon=True)
        self._store, self._track, self._config = store, track, config
        self._whole_time = whole_time
        self.reference: Evaluation | None = None
        self.latest: PolicyJudgement | None = None
        self.passed: PolicyJudgement | None = None
        self.judged = 0
        self._told: dict[str, object] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        """Drive the yardstick, then the newest version again and again, until one passes or for good."""
        try:
            driver = reference_actions(ReferenceDriver(self._track))
            self.reference = drive_laps(driver, self._track, 2, self._config)
            newest = 0
            while self.passed is None or self._whole_time:
                row = self._store.latest_weights(newer_than=newest)
                if row is None:
                    time.sleep(POLL_SECONDS)
                    continue
                newest = row.serial
                began = time.thread_time()
                self._judge(row.blob, row.version)
                time.sleep(max(LEAST_SECONDS, (time.thread_time() - began) / SHARE_OF_A_CORE))
        except Exception as error:
            self.error = error

    def _judge(self, blob: bytes, version: int) -> None:
        policy = environment.racing(self._config).policy(blob)
        found = PolicyJudgement(version, drive_laps(policy_actions(policy), self._track, LAPS_IN_A_ROW, self._config))
        self.latest = found
        self.judged += 1
        outcome = {"laps": len(found.drive.laps), "clean": found.clean, "end": found.drive.end or "all laps driven"}
        if outcome != self._told:
            self._told = outcome
            _log.info("policy judged", extra=fields(version=version, **outcome))
        if found.passed and (self.passed is None or found.total_time < self.passed.total_time):
            self.passed = found
            _log.info("fastest so far", extra=fields(version=version, seconds=found.total_time))
