"""Making an environment that is asked for, and what is told of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space

from bridge.serve_env.checked import Checked
from bridge.serve_env.offers import Maker
from experience.remote_calls import Made, Make, made
from experience.values import CannotTravel, pack


def make(maker: Maker, asked: Make) -> Checked:
    """A single environment; raises whatever its maker does."""
    rendered = {} if asked.render_mode is None else {"render_mode": asked.render_mode}
    return Checked(maker(**asked.kwargs | rendered), asked.name, asked.outside)


def told_of(observation_space: Space[Any], action_space: Space[Any], metadata: Mapping[str, Any]) -> Made:
    """What is told of it, less what cannot travel of its metadata. Raises SpacesError for a space of its own kind."""
    return made(observation_space, action_space, {key: item for key, item in metadata.items() if _travels(item)})


def _travels(value: Any) -> bool:
    try:
        pack(value)
    except CannotTravel:
        return False
    return isinstance(value, (str, int, float, bool, list, tuple, type(None), np.generic))
