"""Drives without torch: runs a policy, as `racing.policy_file` reads it, in numpy.

A policy that does not fit the caller's signature and spaces is refused whole with a `PolicyError`. One that could be
read never fails later: no observation within the bounds can lead to a number that float32 does not hold. It does not
train, and it knows nothing of where the bytes come from.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from racing.exploration import Exploration
from racing.policy_file import (
    ACTIVATIONS,
    CATEGORICAL,
    EPSILON_GREEDY,
    SQUASHED_GAUSSIAN,
    Float32Array,
    Layer,
    Linear,
    PolicyError,
    read_policy,
)

if TYPE_CHECKING:
    from gymnasium.spaces import Space

_CHOICES = (CATEGORICAL, EPSILON_GREEDY)
"""What acts in a Discrete space; the others act in a Box."""
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""Limits of a squashed Gaussian's log standard deviation: those of stable-baselines3 and sb3-contrib."""
MAX_MAGNITUDE = 1e30
"""No layer may give more, on no observation: far beyond any that learned, and far enough within float32."""
_UNBOUNDED = 1e6
"""What an observation without bounds is taken to reach."""

Actions = npt.NDArray[Any]
"""Numbers of a Box, float32, or choices of a Discrete, int64."""


@dataclass(eq=False, kw_only=True)
class Policy:
    """A deterministic and an exploring driver over (N, observation_size) observations.

    Built by `from_bytes`, which has checked everything; log_std (A,) is None but in a clipped Gaussian.
    Not thread-safe: the layers' outputs are kept between calls, so that a step allocates only its result.

    Attributes: action_size: A, numbers of an action, or how many choices there are; action_step: the actions' grid, 0
    for none; reach: what is possible; epsilon: how often an epsilon-greedy driver explores; correlation: of its noise
    with that of the step before, in an `Exploration`; to_judge: it is to drive without exploration, so that its laps
    tell how good it is.
    """

    version: int
    signature: str
    observation_size: int
    action_size: int
    action_step: float
    distribution: str
    reach: "_Reach" = field(repr=False)
    layers: list[Layer] = field(repr=False)
    log_std: Float32Array | None = field(repr=False)
    epsilon: float = 0.0
    correlation: float = 0.0
    to_judge: bool = False

    def __post_init__(self) -> None:
        self._std = None if self.log_std is None else np.exp(self.log_std)
        self._outputs: list[Float32Array] = []

    @classmethod
    def from_bytes(
        cls, data: bytes, signature: str | None = None, spaces: "tuple[Space[Any], Space[Any]] | None" = None
    ) -> Self:
        """Read a safetensors file; a `signature` of None accepts any (to look at a policy, not to drive).

        `spaces` are the driver's, observations and actions; None takes what the file says, with bounds that no
        observation of ours reaches. Raises PolicyError: damaged file, unknown format, made for another signature or
        other sizes, or a policy that could give something else than an action.
        """
        file = read_policy(data, signature)
        low, high = _bounds(file.observation_size, file.action_size, spaces)
        actions = None if spaces is None else spaces[1]
        reach = _reach(file.distribution, file.action_size, file.action_step, actions)
        policy = cls(**file._asdict(), reach=reach)
        policy._check(low, high)
        return policy

    def act(self, observation: Float32Array, rng: np.random.Generator | None = None) -> Actions:
        """Choose actions, by a generator an exploring sample, without one the deterministic action.

        (N, observation_size) or (observation_size,) float32 gives (N, A) or (A,). In a Box that is float32 within its
        bounds, -1 and 1 where the driver's spaces are not known; on a grid they are multiples of action_step below the
        upper bound. In a Discrete space A is 1: the choice, int64. Raises ValueError for an observation of another
        size. Only an `Exploration` holds its noise over several steps, where the policy asks for that.
        """
        rows = observation if observation.ndim == 2 else observation[None, :]
        if rows.ndim != 2 or rows.shape[1] != self.observation_size:
            raise ValueError(f"the observation's shape is {observation.shape}; (N, {self.observation_size}) expected")
        output = self._forward(rows)
        actions = self._choices(output, rng) if self.distribution in _CHOICES else self._numbers(output, rng)
        return actions if observation.ndim == 2 else actions[0]

    def _choices(self, output: Float32Array, rng: np.random.Generator | None) -> npt.NDArray[np.int64]:
        # The greatest of logits with noise like this is a sample of their softmax, whose numbers float32 may not hold.
        noise = rng.gumbel(size=output.shape) if rng is not None and self.distribution == CATEGORICAL else 0.0
        best: npt.NDArray[np.int64] = (output + noise).argmax(axis=1, keepdims=True).astype(np.int64)
        if rng is not None and self.epsilon:
            aside = rng.random(best.shape) < self.epsilon
            best[aside] = rng.integers(self.action_size, size=np.count_nonzero(aside))
        best += self.reach.first
        return best

    def _numbers(self, output: Float32Array, rng: np.random.Generator | None) -> Float32Array:
        mean = output[:, : self.action_size]
        if rng is None:
            raw = mean.copy()
        else:
            if self._std is None:
                std = np.exp(np.clip(output[:, self.action_size :], LOG_STD_MIN, LOG_STD_MAX))
            else:
                std = self._std
            if isinstance(rng, Exploration):
                raw = rng.held(mean.shape, self.correlation)
            else:
                raw = rng.standard_normal(mean.shape, dtype=np.float32)
            raw *= std
            raw += mean
        if self._std is None:
            np.tanh(raw, out=raw)
            if self.reach.half is not None:
                raw *= self.reach.half
                raw += self.reach.middle
        if self.action_step:
            raw /= np.float32(self.action_step)
            np.rint(raw, out=raw)
            raw *= np.float32(self.action_step)
        return np.clip(raw, self.reach.low, self.reach.high, out=raw)

    def _check(self, low: Float32Array, high: Float32Array) -> None:
        """PolicyError unless every observation (D,) from `low` to `high` leads to finite numbers.

        The magnitude that each layer can reach is carried through all of them, and the ends are driven on as well.
        """
        most = np.maximum(np.abs(low), np.abs(high))
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in self.layers:
                if isinstance(layer, Linear):
                    most = most @ np.abs(layer.weight) + np.abs(layer.bias)
                elif layer is ACTIVATIONS["tanh"]:
                    most = np.minimum(most, 1.0)
                if not most.max() <= MAX_MAGNITUDE:
                    raise PolicyError("The policy's numbers grow beyond all bounds: its training has diverged.")
        ends = np.stack([low, high, np.clip(np.zeros_like(low), low, high)])
        if not np.isfinite(self.act(ends, np.random.default_rng(0))).all():
            raise PolicyError("The policy gives numbers that are no action.")

    def _forward(self, x: Float32Array) -> Float32Array:
        if not self._outputs or self._outputs[0].shape[0] != x.shape[0]:
            self._outputs = [
                np.empty((x.shape[0], layer.weight.shape[1]), np.float32)
                for layer in self.layers
                if isinstance(layer, Linear)
            ]
        outputs = iter(self._outputs)
        for layer in self.layers:
            if isinstance(layer, Linear):
                x = np.matmul(x, layer.weight, out=next(outputs))
                x += layer.bias
            else:
                layer(x)
        return x


class _Reach(NamedTuple):
    """What an action can be: in a Box from `low` to `high`, (A,) each; in a Discrete space from `first` on.

    tanh's -1 to 1 become `middle` plus `half` of it, (A,) each; `half` is None where they are the action's own.
    """

    low: Float32Array
    high: Float32Array
    middle: Float32Array
    half: Float32Array | None
    first: int = 0


def _reach(distribution: str, size: int, step: float, space: "Space[Any] | None") -> _Reach:
    """What an action can be in `space`, by this many numbers; PolicyError where the distribution is not of its kind."""
    if space is not None and type(space).__name__ != ("Discrete" if distribution in _CHOICES else "Box"):
        raise PolicyError(
            f"The policy's distribution is {distribution!r}, which gives no action of {str(space)[:200]}: it was "
            "trained for another environment."
        )
    low, high = _ends(space, size, 1.0)
    middle, half = ((low + high) / 2.0).astype(np.float32), ((high - low) / 2.0).astype(np.float32)
    if distribution == SQUASHED_GAUSSIAN and not np.isfinite(half + middle).all():
        raise PolicyError(
            f"The policy gives actions between two bounds, and {str(space)[:200]} lacks one. Bound the actions."
        )
    if step:
        low, high = np.ceil(low / step) * step, (np.ceil(high / step) - 1.0) * step
    own = (half == 1.0).all() and (middle == 0.0).all()
    ends = low.astype(np.float32), high.astype(np.float32)
    return _Reach(*ends, middle, None if own else half, int(getattr(space, "start", 0)))


def _ends(space: "Space[Any] | None", size: int, most: float) -> tuple[npt.NDArray[np.float64], ...]:
    """Least and greatest numbers of a space, (size,) each, or `most` either way where it does not say."""
    ends = getattr(space, "low", -most), getattr(space, "high", most)
    return tuple(np.broadcast_to(np.ravel(np.asarray(end, np.float64)), size) for end in ends)


def _bounds(
    observation_size: int, action_size: int, spaces: "tuple[Space[Any], Space[Any]] | None"
) -> tuple[Float32Array, Float32Array]:
    """Least and greatest observation, (D,) each, of a driver with these spaces; PolicyError where sizes differ."""
    if spaces is not None:
        # Whoever has spaces has paid for the import.
        from gymnasium.spaces import flatdim

        wanted = tuple(flatdim(space) for space in spaces)
        if wanted != (observation_size, action_size):
            raise PolicyError(
                f"The policy takes {observation_size} numbers and gives {action_size} for an action; this driver has "
                f"{wanted[0]} and {wanted[1]}. Bring both sides to one version."
            )
    ends = np.clip(_ends(spaces and spaces[0], observation_size, _UNBOUNDED), -_UNBOUNDED, _UNBOUNDED)
    low, high = ends.astype(np.float32)
    return low, high
