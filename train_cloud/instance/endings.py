"""Why an instance ends, and the file by which that is decided: DIR/ending, a reason and a sentence, a line each.

The file appears at once and completely, and the first decision wins. A path unit waits for it; what follows
(stopping, saving, desired capacity 0) is lifeline.sh's work.
"""

import enum
import os
import tempfile
from pathlib import Path

ENDING = "ending"


class Reason(enum.StrEnum):
    """Every reason for which an instance's life ends."""

    FINISHED = "finished"
    FAILED = "failed"
    IDLE = "idle"
    OVER_BUDGET = "over_budget"
    OVER_HOURS = "over_hours"
    OVER_LAUNCHES = "over_launches"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


def decide(run_folder: Path, reason: Reason, text: str) -> bool:
    """Decide that the instance ends for `reason`; False when it was decided already. Raises OSError."""
    number, name = tempfile.mkstemp(prefix=f".{ENDING}.", dir=run_folder)
    draft = Path(name)
    with os.fdopen(number, "w", encoding="utf-8") as out:
        out.write(f"{reason}\n{' '.join(text.split())}\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        # Unlike a rename, a link does not replace what is there.
        os.link(draft, run_folder / ENDING)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def decided(run_folder: Path) -> bool:
    """Whether an ending was decided."""
    return (run_folder / ENDING).exists()
