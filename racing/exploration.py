"""The noise that a driver explores with: one that remembers, so that a policy tries something for a while.

Noise that is new at each step of 50 ms cancels out before a car feels it: a pedal is never held long enough to find out
that one may brake later. Held over half a second, each single action is as likely as before, and a stretch of them
leads somewhere (the idea of Ornstein-Uhlenbeck and of coloured noise: arXiv 1509.02971, ICLR 2023 "Pink noise is all
you need").
"""

import math

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


class Exploration(np.random.Generator):
    """A generator that remembers the noise of each car from one step to the next. Not thread-safe."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(np.random.PCG64(seed))
        self._latest: Float32Array | None = None

    def held(self, shape: tuple[int, ...], correlation: float) -> Float32Array:
        """Standard normal noise (N, A), float32, whose numbers have this `correlation`, 0 to 1, with those before.

        The first of a shape has none.
        """
        noise = self.standard_normal(shape, dtype=np.float32)
        if self._latest is not None and self._latest.shape == shape and correlation:
            noise *= np.float32(math.sqrt(1.0 - correlation * correlation))
            noise += np.float32(correlation) * self._latest
        # The caller works in place on what it gets.
        self._latest = noise.copy()
        return noise
