"""Makes one and the same update again and again: by plain calls on a CPU, as a replayed CUDA graph on a GPU.

An update of small networks is hundreds of small kernels, and a GPU waits for Python to launch each; a graph launches
them all at once. What is replayed are the kernels as they were recorded, on the memory that they had: so an update that
is repeated takes its inputs from tensors that stay where they are, writes what it learns into such tensors, reads no
number back, and has no shape and no branch that depends on one. Random numbers are drawn anew each time.

torch.compile's "reduce-overhead" would record by itself, with guards that cost more than they bring here.
"""

from collections.abc import Callable
from typing import Final, Protocol

import torch

WARM_UP: Final = 3
"""Plain updates before the recording: libraries set themselves up in the first."""

Update = Callable[[], None]


class Recorder(Protocol):
    """Turns an update into one that is replayed."""

    def warm_up(self, update: Update, /) -> None:
        """Make one plain update, in such a way that a recording may follow."""

    def record(self, update: Update, /) -> Update:
        """What makes the update from now on; recording itself makes none."""


class Repeated:
    """Call it for one `update`, any number of times; `recorder` is None for plain calls.

    Every call is one update, those that warm up too.
    """

    def __init__(self, update: Update, recorder: Recorder | None) -> None:
        self._update, self._recorder = update, recorder
        self._calls, self._replay = 0, update

    def __call__(self) -> None:
        """Make one update."""
        if self._recorder is not None and self._calls < WARM_UP:
            self._recorder.warm_up(self._update)
        else:
            if self._recorder is not None and self._calls == WARM_UP:
                self._replay = self._recorder.record(self._update)
            self._replay()
        self._calls += 1


class CudaGraphs:
    """Records CUDA graphs on `device`. torch's generator of the device is told of each replay, and so goes on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def warm_up(self, update: Update) -> None:
        """As torch asks for it: on a stream of its own."""
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                update()
            torch.cuda.current_stream().wait_stream(side)

    def record(self, update: Update) -> Update:
        """The replay of a graph, which also keeps the memory that its kernels use."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph):
            update()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """What repeats updates on `device`: graphs where it is a GPU of CUDA, plain calls elsewhere."""
    return CudaGraphs(device) if device.type == "cuda" else None
