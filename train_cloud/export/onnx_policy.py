"""A learned policy as ONNX, for runtimes that are not ours, and whether the two act alike.

The graph computes what `racing.policy.Policy.act` does without exploration: its input `observation` is (N, D) float32,
its output `action` (N, A) float32 within the action's bounds and on its grid, or (N, 1) int64 for a choice.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from gymnasium.spaces import Space
from onnx.reference import ReferenceEvaluator

from racing.policy import Actions, Policy
from racing.policy_file import ACTIVATIONS, CATEGORICAL, EPSILON_GREEDY, GAUSSIAN_CLIPPED, Float32Array, Linear
from train_cloud.export.errors import ExportError

OPSET = 17
IR_VERSION = 8
"""Both old enough for any runtime of the last years."""
OBSERVATIONS = 10_000
"""On so many the file is compared with the policy before it is kept."""
_LEAST_EQUAL = 0.99
"""Sums are rounded in another order, so that few actions may fall on the next step of their grid, or on another of two
choices that are worth the same."""
_MOST_APART = 1e-5
"""Where there is no grid, as a share of what an action can be."""
_UNBOUNDED = 100.0
"""What an observation without bounds, or with far ones, is taken to reach here."""
_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}


class _Graph:
    """Nodes in order, each of which takes what the one before gives; `name` is the newest's output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, operator: str, *constants: Any, **attributes: Any) -> None:
        inputs = [self.name]
        for constant in constants:
            inputs.append(f"constant_{len(self.tensors)}")
            self.tensors.append(onnx.numpy_helper.from_array(np.asarray(constant), inputs[-1]))
        self.name = f"value_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [self.name], **attributes))


def onnx_policy(policy: Policy) -> bytes:
    """The policy without exploration as an ONNX model; its metadata hold version and signature."""
    helper, choice = onnx.helper, policy.distribution in (CATEGORICAL, EPSILON_GREEDY)
    graph = _Graph("observation")
    names = {activation: name for name, activation in ACTIVATIONS.items()}
    for layer in policy.layers:
        if isinstance(layer, Linear):
            graph.add("Gemm", layer.weight, layer.bias)
        else:
            graph.add(_OPERATORS[names[layer]])
    if choice:
        graph.add("ArgMax", axis=1, keepdims=1)
        graph.add("Add", np.int64(policy.reach.first))
    else:
        _add_numbers(graph, policy)
    graph.nodes[-1].output[0] = "action"
    kind, width = (onnx.TensorProto.INT64, 1) if choice else (onnx.TensorProto.FLOAT, policy.action_size)
    seen = helper.make_tensor_value_info("observation", onnx.TensorProto.FLOAT, ["N", policy.observation_size])
    done = helper.make_tensor_value_info("action", kind, ["N", width])
    made = helper.make_graph(graph.nodes, "policy", [seen], [done], graph.tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, {"version": str(policy.version), "signature": policy.signature})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def _add_numbers(graph: _Graph, policy: Policy) -> None:
    """From what the last layer gives to numbers of a Box."""
    reach = policy.reach
    if policy.distribution != GAUSSIAN_CLIPPED:
        # The means; the spread is for exploring.
        graph.add("Slice", np.array([0]), np.array([policy.action_size]), np.array([1]))
        graph.add("Tanh")
        if reach.half is not None:
            graph.add("Mul", reach.half)
            graph.add("Add", reach.middle)
    if policy.action_step:
        graph.add("Div", np.float32(policy.action_step))
        graph.add("Round")
        graph.add("Mul", np.float32(policy.action_step))
    graph.add("Max", reach.low)
    graph.add("Min", reach.high)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far another runtime's actions are from the policy's, over `observations` of them.

    Attributes: equal: share of the actions that are the same number; furthest: greatest difference of one.
    """

    observations: int
    equal: float
    furthest: float

    def told(self) -> str:
        """In a sentence."""
        return (
            f"On {self.observations:,} observations {100.0 * self.equal:.2f} % of the actions are the same number, and "
            f"none is further than {self.furthest:.3g} from it."
        )


def observations_of(space: Space[Any], size: int, count: int = OBSERVATIONS) -> Float32Array:
    """(count, size) observations within the bounds of a space, always the same ones.

    Half of them lie all over it, half near its middle, where most of a drive is.
    """
    random = np.random.default_rng(0)
    sides = getattr(space, "low", -_UNBOUNDED), getattr(space, "high", _UNBOUNDED)
    low, high = (np.broadcast_to(np.clip(np.ravel(side), -_UNBOUNDED, _UNBOUNDED), size) for side in sides)
    rows = random.uniform(low, high, (count, size))
    middle = 0.5 * (low + high)
    rows[::2] = np.clip(random.normal(middle, np.minimum(1.0, 0.25 * (high - low)), rows[::2].shape), low, high)
    return rows.astype(np.float32)


def agreement(policy: Policy, theirs: Actions, rows: Float32Array) -> Agreement:
    """Compare another runtime's actions for these observations (N, D) with the policy's.

    Raises ExportError where they are not the same policy.
    """
    ours = policy.act(rows)
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        raise ExportError(
            f"The ONNX file gives {theirs.dtype} of the shape {theirs.shape}, and the policy {ours.dtype} of "
            f"{ours.shape}: it is not kept. This is a fault of the export; please report it."
        )
    equal = (theirs == ours).mean()
    apart = np.abs(theirs.astype(np.float64) - ours)
    found = Agreement(len(rows), float(equal), float(apart.max()))
    if ours.dtype == np.int64:
        alike = equal >= _LEAST_EQUAL
    elif policy.action_step:
        alike = equal >= _LEAST_EQUAL and found.furthest <= policy.action_step
    else:
        # An action without bounds is compared with 1.
        span = np.minimum(policy.reach.high.astype(np.float64) - policy.reach.low, 1e6)
        alike = bool((apart <= _MOST_APART * np.maximum(span, 1.0)).all())
    if not alike:
        raise ExportError(
            f"The ONNX file does not act as the policy does, so it is not kept. {found.told()} This is a fault of the "
            "export; please report it."
        )
    return found


def checked(policy: Policy, data: bytes, rows: Float32Array) -> Agreement:
    """The file's actions, by ONNX's own reference of its operators, against the policy's. Raises ExportError."""
    (actions,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"observation": rows})
    return agreement(policy, np.asarray(actions), rows)
