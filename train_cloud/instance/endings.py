"""Decides that an instance ends: DIR/ending holds a reason and a sentence, a line each.

The file appears at once and completely, and the first decision wins. A path unit waits for it; what follows
(stopping, saving, desired capacity 0) is lifeline.sh's work.
"""

from pathlib import Path

from runtime.files import create_private
from train_cloud.run_folder.files import ENDING
from train_cloud.run_folder.states import Reason


def decide(run_folder: Path, reason: Reason, text: str) -> bool:
    """Decide that the instance ends for `reason`; False when it was decided already. Raises OSError."""
    return create_private(run_folder / ENDING, f"{reason}\n{' '.join(text.split())}\n".encode())


def decided(run_folder: Path) -> bool:
    """Whether an ending was decided."""
    return (run_folder / ENDING).exists()
