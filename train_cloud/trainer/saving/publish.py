"""Publishes the policy: exports it under the next version and puts it into the store for the receiver to send."""

import hashlib
import logging
from dataclasses import dataclass

from racing.policy_file import is_to_judge, to_judge
from runtime.logs import fields
from train_cloud.store import Store, StoreFull
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.versions import LOST_VERSIONS, MAX_VERSION

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Publisher:
    """Numbers versions on from the newest that the checkpoint or the store knows.

    Bridges may hold newer ones of a life that was lost. Where experience shows that, all that such a life can have
    published is passed over, once: a number that a bridge names never becomes a version.
    """

    store: Store
    counters: Counters
    newest: bytes = b""
    """The policy file published last, under `_version`; empty before the first."""
    _published_updates: int | None = None
    _version: int = 0
    _sent_to_judge: int = 0
    _hidden: bool = False
    """Whether what was sent to be judged is newer in the store than `newest`."""

    def __post_init__(self) -> None:
        self._passed_over = 0
        self._believed = self._newest_known() + LOST_VERSIONS
        self._warned = False

    def saw(self, version: int) -> None:
        """Experience came from `version`."""
        if version > self._believed:
            if not self._warned:
                _log.warning("a bridge names a policy that was never published", extra=fields(version=version))
            self._warned = True
            return
        self.counters.seen_version = max(self.counters.seen_version, version)
        # The versions of 4,000 lost lives fit; if ever they do not, two policies may share one.
        known = max(self.counters.weights_version, self._sent_to_judge)
        if version > known and not self._passed_over and self._believed < MAX_VERSION // 2:
            self._passed_over = self._believed
            _log.info(
                "bridges hold policies of a life that was lost: its versions are passed over",
                extra=fields(seen=version, published=self.counters.weights_version, passed_over=self._passed_over),
            )

    def publish(self, learner: Learner) -> None:
        """Publish the policy of `learner`, unless nothing was learned since the last time.

        Raises ExportError when the policy's weights are not finite. A full disk is logged: the next try comes soon.
        """
        if self._published_updates == self.counters.updates:
            if self._hidden and self._put(self._version, self.newest):
                self._hidden = False
            return
        version = self._next_version()
        blob = learner.policy(version)
        if not self._put(version, blob):
            return
        self.counters.weights_version = self._version = version
        self._published_updates = self.counters.updates
        self.newest, self._hidden = blob, False

    def publish_to_judge(self, policy: bytes) -> int | None:
        """Publish a policy that was published before, to be judged under the version that is returned.

        What was published last comes again with the next call of `publish`, for who has not got it yet. None where the
        disk is full.
        """
        version = self._next_version()
        if not self._put(version, to_judge(policy, version)):
            return None
        self._sent_to_judge, self._hidden = version, True
        return version

    def pass_over(self) -> None:
        """The policy of now is another than what was published last: it is published next, and under a new version."""
        self.counters.weights_version = self._next_version()
        self._published_updates, self.newest = None, b""

    def _put(self, version: int, blob: bytes) -> bool:
        try:
            self.store.put_weights(version, blob, hashlib.sha256(blob).hexdigest())
        except StoreFull as error:
            _log.error("weights not published", extra=fields(version=version, reason=str(error)))
            return False
        return True

    def in_force(self, learner: Learner) -> bytes:
        """The policy to keep in a checkpoint: what was learned is published, so that file and version name one policy.

        While the store is full it is the one published before, if need be by an earlier process. Where there is none
        either, the policy goes by a number of its own, which is used up with it: no two policies share a version.
        """
        self.publish(learner)
        if self.newest:
            return self.newest
        stored = self.store.latest_weights()
        if stored is not None and stored.version >= self.counters.weights_version and not is_to_judge(stored.blob):
            self.counters.weights_version, self.newest = stored.version, stored.blob
            return self.newest
        version = self._next_version()
        policy = learner.policy(version)
        self.counters.weights_version = version
        return policy

    def _next_version(self) -> int:
        return max(self._newest_known(), self._passed_over) + 1

    def _newest_known(self) -> int:
        return max(self.counters.weights_version, self.store.newest_version())
