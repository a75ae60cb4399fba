"""An environment's spaces as stable-baselines3 learns over them, and the values on their way there and back.

The library knows vectors, images with the channels first, choices counted from 0, and dictionaries of these that are
not nested. Everything else of fixed size becomes one of them here; a vector of float32 stays as it is.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces as gym
from torch import nn

from experience.batches import MAX_COLUMNS, MAX_NUMBER, AnyArray, within
from experience.rows import from_rows, leaf_values, to_rows
from experience.spaces import Spaces, SpaceSpec, leaves
from train_cloud.run_config import ConfigError

SMALLEST_CNN: Final = 36
"""Pixels that an image has at least, either way, for the convolutions of stable-baselines3's NatureCNN."""

Convert = Callable[[AnyArray], AnyArray]


class View:
    """What a learner sees of `spaces`.

    Attributes:
        spaces: what stable-baselines3 learns over.
        policy: the name of its policy for such observations.
        action_step: the grid of the environment's actions; None for none.

    Raises ConfigError for spaces that it cannot learn over, SpacesError for those without rows.
    """

    def __init__(self, spaces: Spaces) -> None:
        self._observation, self._action = spaces.observation.space, spaces.action.space
        self.action_step = spaces.action.step
        self._to_action: Convert
        _check_action(self._action)
        for what, leaf in [("action", self._action), *(("observation", one) for one in leaves(self._observation))]:
            _check_choices(what, leaf)
        parts = dict(zip(_names(self._observation), map(_seen, leaves(self._observation)), strict=True))
        self._converts = {name: convert for name, (_, convert) in parts.items()}
        seen = {name: space for name, (space, _) in parts.items()}
        nested = isinstance(self._observation, (gym.Dict, gym.Tuple))
        observation = gym.Dict(seen, sort_keys=False) if nested else next(iter(seen.values()))
        continuous = isinstance(self._action, gym.Box)
        action, self._to_action = (self._action, _same) if continuous else _seen(self._action)
        self.spaces = Spaces(SpaceSpec(observation), SpaceSpec(action))
        self.policy = "MultiInputPolicy" if nested else "CnnPolicy" if is_image(observation) else "MlpPolicy"

    @property
    def is_plain(self) -> bool:
        """Whether observations are learned from as the numbers that they are: local weights can act on such."""
        return isinstance(self._observation, gym.Box) and not _is_shades(self._observation)

    def observed(self, values: Any) -> Any:
        """Batched values of the environment as stable-baselines3 takes them: an array (N, ...), or a dict of them."""
        parts = zip(self._converts.items(), leaf_values(self._observation, values), strict=True)
        seen = {name: convert(np.asarray(part)) for (name, convert), part in parts}
        return seen if isinstance(self.spaces.observation.space, gym.Dict) else next(iter(seen.values()))

    def observed_rows(self, rows: AnyArray) -> Any:
        """The same of rows (N, D) of a batch."""
        return self.observed(from_rows(self._observation, rows))

    def chosen(self, rows: AnyArray) -> AnyArray:
        """Rows of actions (N, A) as stable-baselines3 counts them."""
        return to_rows(self.spaces.action.space, self._to_action(from_rows(self._action, rows)))

    def done(self, actions: npt.NDArray[Any]) -> AnyArray:
        """Actions that stable-baselines3 chose (N, ...) as the environment takes them: its shape and dtype."""
        if isinstance(self._action, gym.Box):
            whole = np.rint(actions) if np.dtype(self._action.dtype).kind in "iu" else actions
            return whole.reshape(len(actions), *self._action.shape).astype(self._action.dtype)
        shaped: AnyArray = actions.reshape(len(actions), *(self._action.shape or ())) + getattr(
            self._action, "start", 0
        )
        return shaped.astype(self._action.dtype)

    def sound(self, observations: Any, actions: AnyArray) -> bool:
        """Whether these (see `observed`, `chosen`) are such that networks can take them, whoever sent them."""
        space = self.spaces.observation.space
        if isinstance(space, gym.Dict):
            parts = [(space[name], values) for name, values in observations.items()]
        else:
            parts = [(space, observations)]
        return all(_inside(part, values) for part, values in [*parts, (self.spaces.action.space, actions)])


def is_image(space: gym.Space[Any]) -> bool:
    """Whether the space is of images for convolutions, the channels first."""
    return isinstance(space, gym.Box) and len(space.shape) == 3 and space.dtype == np.uint8


def local_weights_can_act(view: View) -> bool:
    """Whether a PC can act by itself, by a policy that `racing.policy` runs there; else the trainer has to step."""
    return view.is_plain and isinstance(view.spaces.action.space, (gym.Box, gym.Discrete))


def _check_action(space: gym.Space[Any]) -> None:
    if isinstance(space, (gym.Dict, gym.Tuple)) or len(leaves(space)) != 1:
        raise ConfigError(
            f"The environment's actions are a {type(space).__name__}, and no method here chooses several things at "
            "once. Wrap the environment so that an action is one Box, Discrete, MultiDiscrete or MultiBinary."
        )
    if isinstance(space, gym.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ConfigError(
            f"The environment's actions are {space}, without bounds, and learning needs to know how far it may go. "
            "Wrap the environment, with gymnasium.wrappers.RescaleAction for example."
        )


def _check_choices(what: str, space: gym.Space[Any]) -> None:
    """Networks have a number for each choice: a space of 30 characters could ask for any memory."""
    counts = {gym.Discrete: "n", gym.MultiDiscrete: "nvec"}.get(type(space))
    choices = int(np.sum(getattr(space, counts), dtype=np.float64)) if counts else 0
    if choices > MAX_COLUMNS:
        raise ConfigError(
            f"An {what} of the environment is one of {choices} choices ({str(space)[:200]}), and a network here has at "
            f"most {MAX_COLUMNS} numbers for them. Wrap the environment so that it is a Box."
        )


def _seen(space: gym.Space[Any]) -> tuple[gym.Space[Any], Convert]:
    """What is seen of a row of numbers, and how its values (N, ...) become that."""
    match space:
        case gym.Discrete():
            start = int(space.start)
            return gym.Discrete(int(space.n)), lambda values: values.reshape(len(values)) - start
        case gym.MultiDiscrete():
            starts = space.start.ravel()
            return gym.MultiDiscrete(
                space.nvec.ravel()
            ), lambda values: values.reshape(len(values), len(starts)) - starts
        case gym.MultiBinary():
            count = int(np.prod(space.shape))
            return gym.MultiBinary(count), lambda values: values.reshape(len(values), count)
        case gym.Box() if _is_shades(space):
            return _seen_image(space)
        case gym.Box() if space.dtype == np.float32 and space.shape:
            return space, _same
    assert isinstance(space, gym.Box)
    shape = space.shape or (1,)
    with np.errstate(over="ignore"):
        low, high = (end.astype(np.float32).reshape(shape) for end in (space.low, space.high))
    return gym.Box(low, high, shape, np.float32), lambda values: values.astype(np.float32).reshape(len(values), *shape)


def _is_shades(space: gym.Box) -> bool:
    """Whether its numbers are from 0 to 255, as images have them."""
    return bool(space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all())


def _seen_image(space: gym.Box) -> tuple[gym.Space[Any], Convert]:
    """An image for convolutions where it is large enough, else numbers from 0 to 1."""
    shape = (*space.shape, 1) if len(space.shape) == 2 else space.shape
    if len(shape) == 3:
        # As stable-baselines3 tells them apart: the channels are the fewest.
        last = int(np.argmin(shape)) != 0
        channels, *size = (shape[2], *shape[:2]) if last else shape
        if min(size) >= SMALLEST_CNN:
            order = (0, 3, 1, 2) if last else (0, 1, 2, 3)
            seen = gym.Box(0, 255, (channels, *size), np.uint8)
            return seen, lambda values: values.reshape(len(values), *shape).transpose(order)
    count = int(np.prod(shape))

    def scaled(values: AnyArray) -> AnyArray:
        return values.reshape(len(values), count).astype(np.float32) / np.float32(255)

    return gym.Box(0.0, 1.0, (count,), np.float32), scaled


def _same(values: AnyArray) -> AnyArray:
    return values


def _paths(space: gym.Space[Any], path: str = "") -> list[str]:
    if not isinstance(space, (gym.Dict, gym.Tuple)):
        return [path]
    items = space.spaces.items() if isinstance(space, gym.Dict) else enumerate(space.spaces)
    return [inner for key, part in items for inner in _paths(part, f"{path}/{key}" if path else str(key))]


def _names(space: gym.Space[Any]) -> list[str]:
    """A name for each leaf: its keys, unless torch has no place for them."""
    paths, taken = _paths(space), nn.ModuleDict()
    return [
        path if path and "." not in path and not hasattr(taken, path) and paths.count(path) == 1 else f"part {index}"
        for index, path in enumerate(paths)
    ]


def _inside(space: gym.Space[Any], values: AnyArray) -> bool:
    if isinstance(space, gym.Box):
        return bool(within(values, MAX_NUMBER).all())
    counts = {gym.Discrete: "n", gym.MultiDiscrete: "nvec"}.get(type(space))
    return bool((values >= 0).all() and (values < (getattr(space, counts) if counts else 2)).all())
