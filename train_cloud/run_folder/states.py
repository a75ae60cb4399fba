"""Words by which processes, and records in the bucket, tell what something is or why it happened."""

import enum
from typing import Final

UNSET: Final = "unset"
"""Value of a parameter that Terraform made and nobody has filled."""

FIGURES_PREFIX: Final = "ac_training_"
"""Of every figure that the receiver tells in Prometheus' text format."""
BRIDGES: Final = "bridges"
STORED_STEPS: Final = "stored_steps"
UPDATES: Final = "updates"


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


class TrainerState(enum.StrEnum):
    """What a trainer is at, as the store and metrics.json say it."""

    STARTING = "starting"
    REBUILDING = "rebuilding the replay buffer"
    TRAINING = "training"
    STOPPED = "stopped"
    DONE = "done"
    """All of the run is trained."""
