"""The file of a policy: safetensors, whose metadata say the network's layers, what its numbers mean and for whom.

It holds only numbers and names, so reading one executes nothing. A file that is damaged, contradicts itself, was made
for another signature, or asks for more than any network of a run, is refused whole with a `PolicyError`. What its
numbers do, `racing.policy` knows.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load, save

POLICY_FORMAT = "ac-training.policy.v1"
TO_JUDGE_FORMAT = "ac-training.policy.v1.to-judge"
"""The same, of a policy that is sent to be judged: its laps count only where it drives without exploration, which who
does not know this format would not do."""
SQUASHED_GAUSSIAN = "squashed_gaussian"
GAUSSIAN_CLIPPED = "gaussian_clipped"
CATEGORICAL = "categorical"
EPSILON_GREEDY = "epsilon_greedy"
CORRELATION = "exploration_correlation"
"""Of the noise with that of the step before."""
_OUTPUTS = {SQUASHED_GAUSSIAN: 2, GAUSSIAN_CLIPPED: 1, CATEGORICAL: 1, EPSILON_GREEDY: 1}
"""What the last layer gives for each number of an action: mean and log standard deviation, or the mean; or for each
choice of a Discrete action: its logit, or its value."""

MAX_POLICY_BYTES = 64 * 1024 * 1024
MAX_LAYERS = 64
MAX_LAYERS_TEXT = 65_536
MAX_OBSERVATION_SIZE = 65_536
MAX_WIDTH = 8_192
"""Most numbers that a layer gives: the widest that a run may ask for."""
MAX_VERSION = 2**32 - 1
MIN_ACTION_STEP = 2.0**-24
_MAX_CLIPPED_LOG_STD = 20.0
_HEADER_LENGTH_BYTES = 8
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

Float32Array = npt.NDArray[np.float32]


class PolicyError(ValueError):
    """The bytes are not a policy that can drive here; the text says why in a sentence."""


ACTIVATIONS: dict[str, Callable[[Float32Array], object]] = {
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
    "elu": lambda x: np.maximum(x, np.expm1(np.minimum(x, 0.0)), out=x),
}
"""Activations a layer list may name; each works in place."""


class Linear(NamedTuple):
    """x @ weight + bias; weight (inputs, outputs) is contiguous: one row is one vector-matrix product."""

    weight: Float32Array
    bias: Float32Array


Layer = Linear | Callable[[Float32Array], object]


class PolicyFile(NamedTuple):
    """What a file says. log_std (A,) is None but in a clipped Gaussian, epsilon 0 but where that explores.

    `correlation` is that of a squashed Gaussian's noise with the noise of the step before; files without have none.
    """

    version: int
    signature: str
    observation_size: int
    action_size: int
    action_step: float
    distribution: str
    epsilon: float
    log_std: Float32Array | None
    layers: list[Layer]
    correlation: float = 0.0
    to_judge: bool = False


def to_judge(data: bytes, version: int) -> bytes:
    """The same policy under another version, marked as one that is to drive without exploration, to be judged."""
    length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
    return save(load(data), header["__metadata__"] | {"format": TO_JUDGE_FORMAT, "version": str(version)})


def is_to_judge(data: bytes) -> bool:
    """Whether a policy's file, which this program has made, is of one that was sent to be judged."""
    return TO_JUDGE_FORMAT.encode() in data[: int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")]


def read_policy(data: bytes, signature: str | None) -> PolicyFile:
    """What the file in `data` says; a `signature` of None accepts any. Raises PolicyError."""
    metadata, tensors = _read(data)
    if _text(metadata, "format") not in (POLICY_FORMAT, TO_JUDGE_FORMAT):
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
            f"The policy's distribution is {distribution[:40]!r}; known are {', '.join(_OUTPUTS)}: update this program."
        )
    return PolicyFile(
        version=_whole_number(metadata, "version", 0, MAX_VERSION),
        signature=theirs,
        observation_size=observation_size,
        action_size=action_size,
        action_step=_number(metadata, "action_step", MIN_ACTION_STEP),
        distribution=distribution,
        epsilon=_number(metadata, "epsilon", 0.0) if distribution == EPSILON_GREEDY else 0.0,
        log_std=_log_std(tensors, action_size) if distribution == GAUSSIAN_CLIPPED else None,
        layers=_layers(metadata, tensors, observation_size, _OUTPUTS[distribution] * action_size),
        correlation=_number(metadata, CORRELATION, 0.0) if CORRELATION in metadata else 0.0,
        to_judge=metadata["format"] == TO_JUDGE_FORMAT,
    )


def _read(data: bytes) -> tuple[dict[str, str], dict[str, Float32Array]]:
    """Return the metadata and the tensors as finite float32 arrays."""
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"The policy has {len(data)} bytes; at most {MAX_POLICY_BYTES} are read.")
    try:
        raw: Any = safetensors.deserialize(data)  # type: ignore[no-untyped-call]  # Rust
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
) -> list[Layer]:
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
    layers: list[Layer] = []
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
            layers.append(Linear(np.ascontiguousarray(weight.T), bias))
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


def _number(metadata: dict[str, str], key: str, least: float) -> float:
    """A number from `least` to 1, or 0."""
    text = _text(metadata, key)
    with suppress(ValueError):
        if (number := float(text)) == 0.0 or least <= number <= 1.0:
            return number
    raise PolicyError(f"The policy's metadata has {key}={text[:40]!r}; 0, or {least} to 1, expected.")
