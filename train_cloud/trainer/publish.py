"""Publishes the policy: exports it under the next version and puts it into the store for the receiver to send."""

import hashlib
import logging

from runtime.logs import fields
from train_cloud.store import Store, StoreFull
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.export import export_policy
from train_cloud.trainer.learners import Learner

_log = logging.getLogger(__name__)


class Publisher:
    """Numbers versions on from the newest that the checkpoint, the store or any experience knows.

    Args:
        store: where weights go.
        counters: `weights_version` is kept there.
        signature: the task's signature, written into every policy.
    """

    def __init__(self, store: Store, counters: Counters, signature: str) -> None:
        self._store = store
        self._counters = counters
        self._signature = signature
        self._published_updates: int | None = None
        self.newest = b""
        """The policy file published last."""

    def publish(self, learner: Learner) -> None:
        """Publish the policy of `learner`, unless nothing was learned since the last time.

        Raises ExportError when the policy's weights are not finite. A full disk is logged: the next try comes soon.
        """
        if self._published_updates == self._counters.updates:
            return
        stored = self._store.latest_weights()
        known = (self._counters.weights_version, self._counters.seen_version, stored.version if stored else 0)
        version = max(known) + 1
        blob = export_policy(learner, version, self._signature)
        try:
            self._store.put_weights(version, blob, hashlib.sha256(blob).hexdigest())
        except StoreFull as error:
            _log.error("weights not published", extra=fields(version=version, reason=str(error)))
            return
        self._counters.weights_version = version
        self._published_updates = self._counters.updates
        self.newest = blob
