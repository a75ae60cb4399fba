"""What a run is trained in: the one place where the run's settings become an environment.

Receiver and trainer both ask here, so that they refuse the same things. It decides nothing itself.
"""

from collections.abc import Iterable

import msgspec

from experience.environment import Environment, racing
from experience.spaces import Spaces, canonical
from racing.link_model import LinkModel
from racing.task import TaskConfig
from train_cloud.run_config import RunConfig, TaskSettings


def task_config(config: RunConfig) -> TaskConfig:
    """Racing's settings, as the run chose them."""
    return TaskConfig(**msgspec.structs.asdict(config.task))


def link_of(config: RunConfig) -> LinkModel | None:
    """The link over which the run's simulated cars are driven; None for none."""
    return None if config.link is None else config.link.model()


def environment_of(config: RunConfig, spaces: Iterable[str] = ()) -> Environment | None:
    """The run's environment; None while nobody knows its spaces.

    Racing's are known. Another environment's are those of the first bridge, or of the first that was made, which
    `spaces` (of streams, canonical JSON) remember. Raises SpacesError when a text is none.
    """
    if config.environment.id is None:
        return racing(task_config(config), link_of(config))
    known = next(filter(None, spaces), None)
    if known is None:
        return None
    settings = {"kwargs": canonical(config.environment.kwargs)} if config.environment.kwargs else {}
    return Environment(config.environment.id, Spaces.parse(known), settings)


def bridge_options(config: RunConfig) -> str:
    """The options with which a bridge drives this run's task: `--rate 25 --task progress_scale=0.2`.

    FILE of `--link FILE` stands for one that holds the run's `link`.
    """
    settings, usual = msgspec.structs.asdict(config.task), msgspec.structs.asdict(TaskSettings())
    options = [f"--rate {_short(settings.pop('control_hz'))}"]
    options += [f"--task {name}={_short(value)}" for name, value in settings.items() if value != usual[name]]
    if config.link is not None:
        options.append("--link FILE")
    return " ".join(options)


def _short(value: float) -> str:
    """The shortest text that is read as exactly this number: one that differs would be another task."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)
