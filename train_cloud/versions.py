"""How far a policy's version may be from those that the trainer knows of: what lives that were lost can have published.

A life whose instance was lost takes with it what it published since the last checkpoint, while bridges still hold it.
Receiver and trainer both ask here, so that they believe the same.
"""

from typing import Final

LOST_VERSIONS: Final = 1_000_000
"""At the default pace 23 days of publishing without a checkpoint."""
MAX_VERSION: Final = 2**32 - 1
"""The highest that fits into a batch."""
