"""What the experience of a run looks like: the one place where the run's settings become the task's.

Receiver and trainer both ask here, so that they refuse the same things. It decides nothing itself.
"""

import msgspec

from experience.codec import Column, Layout
from racing.task import ACTION_SIZE, ACTION_STEP, OBSERVATION_SIZE, OBSERVATION_STEP, TaskConfig, task_signature
from train_cloud.run_config import RunConfig, TaskSettings


def task_config(config: RunConfig) -> TaskConfig:
    """The task's own settings, as the run chose them."""
    return TaskConfig(**msgspec.structs.asdict(config.task))


def expected_signature(config: RunConfig) -> str:
    """The signature that a bridge's Hello and a policy's metadata must carry to belong to this run."""
    return task_signature(task_config(config))


def layout() -> Layout:
    """The columns of this run's experience: observations and actions on their fixed-point grids."""
    return Layout(Column(OBSERVATION_SIZE, step=OBSERVATION_STEP), Column(ACTION_SIZE, step=ACTION_STEP))


def bridge_options(config: RunConfig) -> str:
    """The options with which a bridge drives this run's task: `--rate 25 --task progress_scale=0.2`."""
    settings, usual = msgspec.structs.asdict(config.task), msgspec.structs.asdict(TaskSettings())
    options = [f"--rate {_short(settings.pop('control_hz'))}"]
    options += [f"--task {name}={_short(value)}" for name, value in settings.items() if value != usual[name]]
    return " ".join(options)


def _short(value: float) -> str:
    """The shortest text that is read as exactly this number: one that differs would be another task."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)
