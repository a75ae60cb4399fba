"""A stand-in for CUDA graphs where there is no GPU: it records an update's kernels and replays them without Python.

As a graph does, it runs the same kernels on the same memory, draws random numbers anew, and refuses what a graph cannot
hold: a number that is read back, or a shape that depends on one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique")


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is untyped
    """Notes the kernels that run within it; fails where a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.calls: list[tuple[Callable[..., Any], Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).partition(".")[2]
        assert not name.startswith(FORBIDDEN), func
        masks = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool]
        assert not (name.startswith("index") and masks), "how many a mask lets through is a number that is read back"
        result = func(*args, **kwargs or {})
        self.calls.append((func, args, kwargs or {}, tree_leaves(result)))
        return result

    @torch.no_grad()
    def run(self) -> None:
        """Run them again, on the memory that they had."""
        for func, args, kwargs, results in self.calls:
            again = tree_leaves(func(*args, **kwargs))
            for result, new in zip(results, again, strict=True):
                if isinstance(result, Tensor) and result.data_ptr() != new.data_ptr():
                    result.copy_(new)


class StandIn:
    """A Recorder of `repeated.py` on the CPU."""

    def __init__(self) -> None:
        self.plain = self.recordings = self.replays = 0

    def warm_up(self, update: Callable[[], None]) -> None:
        """A plain update."""
        self.plain += 1
        update()

    def record(self, update: Callable[[], None]) -> Callable[[], None]:
        """What runs the kernels of `update` again, but for the first time: a CPU has run them to record them."""
        self.recordings += 1
        with Kernels() as kernels:
            update()
        ran = [True]

        def replay() -> None:
            self.replays += 1
            if not ran:
                kernels.run()
            ran.clear()

        return replay
