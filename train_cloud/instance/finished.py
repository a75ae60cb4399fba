"""What follows the trainer's orderly end: with DONE in the bucket the run is finished, without it nothing was meant."""

import logging

from runtime.retry import retry
from train_cloud.instance.deployment import Deployment
from train_cloud.instance.endings import decide
from train_cloud.object_store import SILENT_OR_DENIED
from train_cloud.run_folder.keys import DONE
from train_cloud.run_folder.states import Reason

_log = logging.getLogger(__name__)


def end_when_done(deployment: Deployment, patience_seconds: float) -> bool:
    """Decide the ending `finished` when the run is done; whether it is. Raises ObjectStoreError, OSError."""
    if retry(lambda: deployment.objects.find(DONE), SILENT_OR_DENIED, patience_seconds) is None:
        _log.info("the trainer ended in order before the run was done; nothing is decided")
        return False
    text = f"The run {deployment.run.run_id} is finished: all of its steps are trained and DONE is in the bucket."
    decide(deployment.run_folder, Reason.FINISHED, text)
    _log.info("the run is finished; the instance ends")
    return True
