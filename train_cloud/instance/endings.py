"""Decides that an instance ends: DIR/ending holds a reason and a sentence, a line each.

The file appears at once and completely, and the first decision wins. A path unit waits for it; what follows
(stopping, saving, desired capacity 0) is lifeline.sh's work.
"""

import logging
from pathlib import Path

from runtime.files import create_private
from runtime.retry import retry
from train_cloud.instance.config import Deployment
from train_cloud.object_store import SILENT_OR_DENIED
from train_cloud.run_folder.done import is_done
from train_cloud.run_folder.files import ENDING
from train_cloud.run_folder.keys import DONE
from train_cloud.run_folder.states import Reason

_log = logging.getLogger(__name__)


def decide(run_folder: Path, reason: Reason, text: str) -> bool:
    """Decide that the instance ends for `reason`; False when it was decided already. Raises OSError."""
    return create_private(run_folder / ENDING, f"{reason}\n{' '.join(text.split())}\n".encode())


def decided(run_folder: Path) -> bool:
    """Whether an ending was decided."""
    return (run_folder / ENDING).exists()


def end_when_done(deployment: Deployment, patience_seconds: float) -> bool:
    """After the trainer's orderly end: decide `finished` when the run is done; whether it is.

    Raises ObjectStoreError, OSError.
    """
    finished = retry(lambda: deployment.objects.find(DONE), SILENT_OR_DENIED, patience_seconds)
    if not is_done(finished, deployment.run.total_timesteps):
        _log.info("the trainer ended in order before the run was done; nothing is decided")
        return False
    text = f"The run {deployment.run.run_id} is finished: all of its steps are trained and DONE is in the bucket."
    decide(deployment.run_folder, Reason.FINISHED, text)
    _log.info("the run is finished; the instance ends")
    return True
