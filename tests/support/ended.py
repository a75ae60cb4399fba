"""Whether a process has ended, seen from outside, without a race between a look and its end."""

import os
from pathlib import Path


def has_ended(pid: int) -> bool:
    """Whether there is no such process any more, or only its remains, which nobody has waited for."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:
        # It may end between the two looks; a system without /proc knows no more than the first.
        return Path("/proc/self").exists()
