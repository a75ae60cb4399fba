"""Drives without torch: runs a policy, one safetensors file whose metadata declares its layers, in numpy.

The file holds only numbers and names, so reading one executes nothing. A file that does not fit the caller's signature
and spaces, that is damaged, or that asks for more than any network of a run, is refused whole with a `PolicyError`. A
policy that could be read never fails later: no observation within the bounds can lead to a number that float32 does not
hold. It does not train, and it knows nothing of where the bytes come from.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import safetensors

if TYPE_CHECKING:
    from gymnasium.spaces import Space

POLICY_FORMAT = "ac-training.policy.v1"
SQUASHED_GAUSSIAN = "squashed_gaussian"
GAUSSIAN_CLIPPED = "gaussian_clipped"
CATEGORICAL = "categorical"
EPSILON_GREEDY = "epsilon_greedy"
_OUTPUTS = {SQUASHED_GAUSSIAN: 2, GAUSSIAN_CLIPPED: 1, CATEGORICAL: 1, EPSILON_GREEDY: 1}
"""What the last layer gives for each number of an action: mean and log standard deviation, or the mean; or for each
choice of a Discrete action: its logit, or its value."""
_CHOICES = (CATEGORICAL, EPSILON_GREEDY)
"""What acts in a Discrete space; the others act in a Box."""
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""Limits of a squashed Gaussian's log standard deviation: those of stable-baselines3 and sb3-contrib."""

MAX_POLICY_BYTES = 64 * 1024 * 1024
MAX_LAYERS = 64
MAX_LAYERS_TEXT = 65_536
MAX_OBSERVATION_SIZE = 65_536
MAX_WIDTH = 8_192
"""Most numbers that a layer gives: the widest that a run may ask for."""
MAX_VERSION = 2**32 - 1
MIN_ACTION_STEP = 2.0**-24
MAX_MAGNITUDE = 1e30
"""No layer may give more, on no observation: far beyond any that learned, and far enough within float32."""
_UNBOUNDED = 1e6
"""What an observation without bounds is taken to reach."""
_MAX_CLIPPED_LOG_STD = 20.0
_HEADER_LENGTH_BYTES = 8
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

Float32Array = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]
"""Numbers of a Box, float32, or choices of a Discrete, int64."""


class PolicyError(ValueError):
    """The bytes are not a policy that can drive here; the text says why in a sentence."""


ACTIVATIONS: dict[str, Callable[[Float32Array], object]] = {
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
    "elu": lambda x: np.maximum(x, np.expm1(np.minimum(x, 0.0)), out=x),
}
"""Activations a layer list may name; each works in place."""


class _Linear(NamedTuple):
    """x @ weight + bias; weight (inputs, outputs) is contiguous: one row is one vector-matrix product."""

    weight: Float32Array
    bias: Float32Array


_Layer = _Linear | Callable[[Float32Array], object]


@dataclass(eq=False, kw_only=True)
class Policy:
    """A deterministic and an exploring driver over (N, observation_size) observations.

    Built by `from_bytes`, which has checked everything; log_std (A,) is None but in a clipped Gaussian.
    Not thread-safe: the layers' outputs are kept between calls, so that a step allocates only its result.

    Attributes: action_size: A, numbers of an action, or how many choices there are; action_step: the actions' grid, 0
    for none; reach: what is possible; epsilon: how often an epsilon-greedy driver explores.
    """

    version: int
    signature: str
    observation_size: int
    action_size: int
    action_step: float
    distribution: str
    reach: "_Reach" = field(repr=False)
    layers: list[_Layer] = field(repr=False)
    log_std: Float32Array | None = field(repr=False)
    epsilon: float = 0.0

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
        metadata, tensors = _read(data)
        if _text(metadata, "format") != POLICY_FORMAT:
            raise PolicyError(
                f"The policy's format is {metadata['format']!r}, and this program reads {POLICY_FORMAT!r}: "
                "update the older of the two sides."
            )
        theirs = _text(metadata, "signature")
        if signature is not None and theirs != signature:
            raise PolicyError(
                f"The policy was trained for the signature {theirs!r}, but this driver has {signature!r}: "
                "observations and actions mean something else. Use the same task settings on both sides."
            )
        action_size = _whole_number(metadata, "action_size", 1, MAX_WIDTH)
        observation_size = _whole_number(metadata, "observation_size", 1, MAX_OBSERVATION_SIZE)
        distribution = _text(metadata, "distribution")
        if distribution not in _OUTPUTS:
            raise PolicyError(
                f"The policy's distribution is {distribution[:40]!r}; known are {', '.join(_OUTPUTS)}: update this "
                "program."
            )
        low, high = _bounds(observation_size, action_size, spaces)
        action_step = _number(metadata, "action_step", MIN_ACTION_STEP)
        policy = cls(
            version=_whole_number(metadata, "version", 0, MAX_VERSION),
            signature=theirs,
            observation_size=observation_size,
            action_size=action_size,
            action_step=action_step,
            distribution=distribution,
            reach=_reach(distribution, action_size, action_step, None if spaces is None else spaces[1]),
            epsilon=_number(metadata, "epsilon", 0.0) if distribution == EPSILON_GREEDY else 0.0,
            log_std=_log_std(tensors, action_size) if distribution == GAUSSIAN_CLIPPED else None,
            layers=_layers(metadata, tensors, observation_size, _OUTPUTS[distribution] * action_size),
        )
        policy._check(low, high)
        return policy

    def act(self, observation: Float32Array, rng: np.random.Generator | None = None) -> Actions:
        """Choose actions, by a generator an exploring sample, without one the deterministic action.

        (N, observation_size) or (observation_size,) float32 gives (N, A) or (A,). In a Box that is float32 within its
        bounds, -1 and 1 where the driver's spaces are not known; on a grid they are multiples of action_step below the
        upper bound. In a Discrete space A is 1: the choice, int64. Raises ValueError for an observation of another
        size.
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
                if isinstance(layer, _Linear):
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
                if isinstance(layer, _Linear)
            ]
        outputs = iter(self._outputs)
        for layer in self.layers:
            if isinstance(layer, _Linear):
                x = np.matmul(x, layer.weight, out=next(outputs))
                x += layer.bias
            else:
                layer(x)
        return x


def _read(data: bytes) -> tuple[dict[str, str], dict[str, Float32Array]]:
    """Return the metadata and the tensors as finite float32 arrays."""
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"The policy has {len(data)} bytes; at most {MAX_POLICY_BYTES} are read.")
    try:
        raw: Any = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
        length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
        header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise PolicyError(f"The policy is damaged: it is not a safetensors file ({error}). Fetch it again.") from error
    tensors: dict[str, Float32Array] = {}
    for name, entry in raw:
        dtype = _DTYPES.get(str(entry["dtype"]))
        if dtype is None:
            raise PolicyError(f"The policy's tensor {name!r} is {entry['dtype']}; float16 or float32 expected.")
        values: Float32Array = np.frombuffer(bytes(entry["data"]), dtype).astype(np.float32)
        values = values.reshape(entry["shape"])
        if not np.isfinite(values).all():
            raise PolicyError(f"The policy's tensor {name!r} holds NaN or infinite values: its training has diverged.")
        tensors[name] = values
    return header.get("__metadata__", {}), tensors


def _layers(
    metadata: dict[str, str], tensors: dict[str, Float32Array], observation_size: int, outputs: int
) -> list[_Layer]:
    """Build the declared layers and check that they lead from the observation to `outputs` numbers.

    Each tensor is used once, and taken out: what a policy holds is never more than its file.
    """
    text = _text(metadata, "layers")
    if len(text) > MAX_LAYERS_TEXT:
        raise PolicyError(f"The policy's layers have {len(text)} characters; at most {MAX_LAYERS_TEXT} are read.")
    try:
        declared: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"The policy's layers are not JSON ({error}). Fetch it again.") from error
    if not isinstance(declared, list) or not 1 <= len(declared) <= MAX_LAYERS:
        raise PolicyError(f"The policy's layers are not a list of 1 to {MAX_LAYERS} entries.")
    layers: list[_Layer] = []
    size = observation_size
    for number, entry in enumerate(declared):
        op = entry.get("op") if isinstance(entry, dict) else None
        if op == "linear":
            names = entry.get("weight"), entry.get("bias")
            if not all(isinstance(name, str) for name in names):
                raise PolicyError(f"The policy's layer {number} does not name its weight and bias.")
            weight = tensors.pop(names[0], None)
            if weight is None or weight.ndim != 2 or weight.shape[1] != size:
                raise PolicyError(f"The policy's layer {number} has no weight of shape (outputs, {size}) of its own.")
            if not 1 <= weight.shape[0] <= MAX_WIDTH:
                raise PolicyError(
                    f"The policy's layer {number} gives {weight.shape[0]} numbers; 1 to {MAX_WIDTH} expected."
                )
            bias = _tensor(tensors, names[1], (weight.shape[0],))
            layers.append(_Linear(np.ascontiguousarray(weight.T), bias))
            size = weight.shape[0]
        elif isinstance(op, str) and op in ACTIVATIONS and layers:
            layers.append(ACTIVATIONS[op])
        else:
            known = ", ".join(["linear", *ACTIVATIONS])
            said = repr(op[:40]) if isinstance(op, str) else "without a name"
            raise PolicyError(f"The policy's layer {number} is {said}; known are {known}, the first being linear.")
    if size != outputs:
        raise PolicyError(f"The policy's layers give {size} numbers; its distribution needs {outputs}.")
    return layers


def _tensor(tensors: dict[str, Float32Array], name: str, shape: tuple[int, ...]) -> Float32Array:
    values = tensors.pop(name, None)
    if values is None or values.shape != shape:
        found = "missing" if values is None else f"of shape {values.shape}"
        raise PolicyError(f"The policy's tensor {name!r} is {found}; {shape} expected.")
    return values


def _log_std(tensors: dict[str, Float32Array], action_size: int) -> Float32Array:
    values = _tensor(tensors, "log_std", (action_size,))
    if values.max() > _MAX_CLIPPED_LOG_STD:
        raise PolicyError("The policy explores beyond all bounds: its training has diverged.")
    return values


def _text(metadata: dict[str, str], key: str) -> str:
    value = metadata.get(key)
    if not isinstance(value, str):
        raise PolicyError(f"The policy's metadata lacks {key!r}: it was not written by ac-training.")
    return value


def _whole_number(metadata: dict[str, str], key: str, least: int, most: int) -> int:
    text = _text(metadata, key)
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or not least <= int(text) <= most:
        raise PolicyError(
            f"The policy's metadata has {key}={text[:40]!r}; a whole number, {least} to {most}, expected."
        )
    return int(text)


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


def _number(metadata: dict[str, str], key: str, least: float) -> float:
    """A number from `least` to 1, or 0."""
    text = _text(metadata, key)
    with suppress(ValueError):
        if (number := float(text)) == 0.0 or least <= number <= 1.0:
            return number
    raise PolicyError(f"The policy's metadata has {key}={text[:40]!r}; 0, or {least} to 1, expected.")
