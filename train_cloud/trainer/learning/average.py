"""The policy averaged over its latest updates: what drives, and what is kept, where a run asks for it.

From one update to the next a policy gains here and loses there; its average has the gains and few of the losses.
"""

import copy
import zipfile
from io import BytesIO
from typing import Final, Generic, TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

ENTRY: Final = "average.safetensors"
"""Its file in a saved model; stable-baselines3 passes it over."""
_Module = TypeVar("_Module", bound=nn.Module)


class Average(Generic[_Module]):
    """A copy of `module`, which follows it with a time constant of so many `updates`."""

    def __init__(self, module: _Module, updates: int) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._of, self._keep = module, 1.0 - 1.0 / updates

    def begin(self) -> None:
        """Be the module of now."""
        self.module.load_state_dict(self._of.state_dict())

    def follow(self, updates: float) -> None:
        """Move towards the module of now, of which the last so many updates were not seen."""
        pairs = [(mine, theirs) for mine, theirs in self._pairs() if mine.is_floating_point()]
        mine, theirs = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(mine, theirs, 1.0 - self._keep**updates)

    def add_to(self, model: BytesIO) -> None:
        """Put it into the zip file of a saved model."""
        with zipfile.ZipFile(model, "a") as file:
            file.writestr(ENTRY, save({name: tensor.clone() for name, tensor in self.module.state_dict().items()}))

    def take_from(self, model: BytesIO) -> None:
        """Go on from a saved model; from the module of now where none was saved."""
        with zipfile.ZipFile(model) as file:
            saved = load(file.read(ENTRY)) if ENTRY in file.namelist() else self._of.state_dict()
        self.module.load_state_dict(saved)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.module.state_dict().values(), self._of.state_dict().values(), strict=True))
