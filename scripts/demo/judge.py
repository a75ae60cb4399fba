"""Judges the learned policy while it is being learned: three laps in a row from each of three starts, alone, without
exploration, on the newest weights that were sent to the bridge. It reads the store and changes nothing.
"""

import logging
import threading
import time
from dataclasses import dataclass

from experience import environment
from racing.evaluation import Evaluation, Judgement, drive_laps, judge, policy_actions, reference_actions
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import Track
from runtime.logs import fields
from train_cloud.store import Store

STARTS = 3
LAPS_IN_A_ROW = 3
VERSIONS_IN_A_ROW = 2
"""So many versions that are judged one after the other have to pass: one alone may have been lucky."""
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
    policy: Policy
    found: Judgement

    @property
    def clean(self) -> int:
        """Clean laps in a row from the worst start."""
        return min(self.found.clean)

    @property
    def passed(self) -> bool:
        """Whether it drove as many clean laps in a row as the demo asks for, from every start."""
        return self.clean >= LAPS_IN_A_ROW


class Judge(threading.Thread):
    """Fills `reference`, `latest` and, once enough versions in a row have, `passed`; `error` holds what went wrong.

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
        self._in_a_row = 0
        self._told: dict[str, object] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        """Drive the yardstick, then the newest version again and again, until enough pass or for good."""
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
                # Whether it was luck is to be known at once.
                if not self._in_a_row or self.passed is not None:
                    time.sleep(max(LEAST_SECONDS, (time.thread_time() - began) / SHARE_OF_A_CORE))
        except Exception as error:
            self.error = error

    def drive(self, judged: PolicyJudgement) -> Evaluation:
        """Its laps from the line, for the picture."""
        return drive_laps(policy_actions(judged.policy), self._track, LAPS_IN_A_ROW, self._config)

    def _judge(self, blob: bytes, version: int) -> None:
        policy = environment.racing(self._config).policy(blob)
        judgement = judge(policy_actions(policy), self._track, STARTS, LAPS_IN_A_ROW, self._config)
        found = self.latest = PolicyJudgement(version, policy, judgement)
        self.judged += 1
        self._in_a_row = self._in_a_row + 1 if found.passed else 0
        outcome: dict[str, object] = {
            "clean": "+".join(map(str, judgement.clean)),
            "ends": ", ".join(filter(None, judgement.ends)),
        }
        if outcome != self._told:
            self._told = outcome
            _log.info("policy judged", extra=fields(version=version, **outcome))
        best = None if self.passed is None else self.passed.found.rank
        if self._in_a_row >= VERSIONS_IN_A_ROW and (best is None or judgement.rank > best):
            self.passed = found
            _log.info("best so far", extra=fields(version=version, best_lap_s=judgement.best))
