"""What of the task a run may choose: each setting's name, default, unit, bounds and meaning, said here alone.

From this come run.json's `task` (train_cloud/run_config.py), the bridge's `--rate` and `--task`, what Terraform lets
pass and docs/settings.md (`make settings` writes the last two). It needs only the standard library, so that a command
line can name the settings before anything else is loaded.
"""

from dataclasses import dataclass, field, fields


def _setting(default: float, unit: str, least: float, most: float, meaning: str) -> float:
    """A field of TaskConfig that says all this of itself in its metadata."""
    about = {"unit": unit, "least": least, "most": most, "meaning": meaning}
    declared: float = field(default=default, metadata=about)
    return declared


def _weight(default: float, unit: str, meaning: str) -> float:
    """A weight of the reward."""
    return _setting(default, unit, 0, 1_000_000, meaning)


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """The task's settings; ValueError for one that is out of its bounds."""

    control_hz: float = _setting(20.0, "Hz", 10, 60, "Control steps a second.")
    max_episode_seconds: float = _setting(300.0, "s", 1, 86_400, "An episode is truncated after this time.")
    progress_scale: float = _weight(0.1, "rewards/m", "Reward for one metre along the centreline.")
    pace_scale: float = _weight(
        0.2, "rewards*s/m", "Reward for each m/s won towards the speed of the fast line; taken back when it is lost."
    )
    off_track_penalty: float = _weight(2.0, "rewards", "Taken once when an episode terminates.")
    impact_penalty: float = _weight(
        10.0, "rewards", "Taken once when an episode terminates at 50 m/s; grows with the square of the speed."
    )
    wheels_out_penalty: float = _weight(4.0, "rewards/s", "Taken for each wheel beyond two that is out.")
    smoothness_penalty: float = _weight(
        0.0005, "rewards*s", "Taken each second, times the squared speed (1/s) at which the action changes."
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            least, most, unit = (one.metadata[key] for key in ("least", "most", "unit"))
            if not least <= (value := getattr(self, one.name)) <= most:
                raise ValueError(f"{one.name} is {value}: expected {least:,} to {most:,} {unit}")
