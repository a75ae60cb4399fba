"""What an environment of one's own says of itself, and whether a policy on this PC can act in it.

An environment may say more than its spaces in `metadata["ac_training"]`, a dictionary of:
    observation_step, action_step: powers of two; observations or actions lie on this grid, which halves what travels.
    self_paced: true where `step` itself lasts a control period, as a game's or a robot's often does.
"""

from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from experience.environment import Environment
from experience.spaces import Spaces, SpacesError, SpaceSpec
from racing.policy_file import MAX_OBSERVATION_SIZE, MAX_WIDTH

METADATA = "ac_training"
_GRID_STEPS = 2**15
"""So many steps of a grid lie on each side of 0."""
_INSTEAD = "Wrap the environment (gymnasium.wrappers), or let the cloud step it by `ac-bridge serve-env`."


class NotDrivable(ValueError):
    """No policy on this PC can act in this environment; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What `metadata["ac_training"]` says."""

    observation_step: float | None = None
    action_step: float | None = None
    self_paced: bool = False


def declared(env: gymnasium.Env[Any, Any]) -> Declared:
    """What the environment's metadata say. Raises NotDrivable for what cannot be meant."""
    said = env.metadata.get(METADATA, {})
    known = {field.name for field in fields(Declared)}
    numbers = isinstance(said, dict) and all(isinstance(value, int | float) for value in said.values())
    if not numbers or not said.keys() <= known:
        names = ", ".join(sorted(known))
        raise NotDrivable(f'metadata["{METADATA}"] is {said!r}; a dictionary of numbers expected: {names}.')
    return Declared(**said)


def driven_environment(name: str, env: gymnasium.Env[Any, Any]) -> Environment:
    """The environment as both sides must agree on it. Raises NotDrivable."""
    said, observation, action = declared(env), env.observation_space, env.action_space
    if not isinstance(observation, Box) or not 1 <= np.prod(observation.shape) <= MAX_OBSERVATION_SIZE:
        raise NotDrivable(
            f"Its observations are {_short(observation)}; a policy on this PC takes a Box of 1 to "
            f"{MAX_OBSERVATION_SIZE} numbers. {_INSTEAD}"
        )
    if observation.dtype == np.uint8 and len(observation.shape) == 3:
        raise NotDrivable(f"Its observations are images, which a policy on this PC does not take. {_INSTEAD}")
    continuous = isinstance(action, Box) and action.dtype.kind == "f"
    if not continuous and not (isinstance(action, Discrete) and action.n <= MAX_WIDTH):
        raise NotDrivable(
            f"Its actions are {_short(action)}; a policy on this PC gives a Box of floats, or one choice of at most "
            f"{MAX_WIDTH}. {_INSTEAD}"
        )
    spaces = Spaces(SpaceSpec(observation, said.observation_step), SpaceSpec(action, said.action_step))
    try:
        _ = spaces.layout
    except SpacesError as error:
        raise NotDrivable(str(error)) from None
    if said.action_step is not None and isinstance(action, Box):
        low, high = action.low / said.action_step, action.high / said.action_step
        if (low < -_GRID_STEPS).any() or (high > _GRID_STEPS).any() or (np.ceil(low) >= np.ceil(high) - 1).any():
            raise NotDrivable(
                f"Its actions are {_short(action)}, which a grid of {said.action_step} does not cover: each bound must "
                f"lie within {_GRID_STEPS} steps of 0, with some steps between them."
            )
    return Environment(name, spaces)


def _short(space: object) -> str:
    return str(space)[:200]
