"""An environment of a third party's package, MiniGrid, made fit to travel: a PC offers `examples.grids:empty_room`.

Its observations hold a text of a space of its own, which nobody else can read; the wrappers leave the picture of what
the agent sees, as one row of numbers.
"""

from typing import Any

import gymnasium
from gymnasium.wrappers import FlattenObservation
from minigrid.wrappers import ImgObsWrapper


def empty_room(size: int = 5, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """A room of 5, 6, 8 or 16 squares a side, whose far corner is to be found."""
    return FlattenObservation(ImgObsWrapper(gymnasium.make(f"MiniGrid-Empty-{size}x{size}-v0", **kwargs)))
