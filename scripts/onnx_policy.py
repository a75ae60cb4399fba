"""`python -m scripts.onnx_policy POLICY FILE.onnx`: a learned policy as ONNX, for runtimes that are not ours.

The graph computes what `racing.policy.Policy.act` does without exploration: its input `observation` is (N, D) float32,
its output `action` (N, A) float32 within the action's bounds and on its grid, or (N, 1) int64 for a choice. It needs
the extra `onnx`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from racing.policy import Policy
from racing.policy_file import ACTIVATIONS, CATEGORICAL, EPSILON_GREEDY, GAUSSIAN_CLIPPED, Linear, PolicyError
from runtime.exit_codes import ExitCode

OPSET = 17
IR_VERSION = 8
"""Both old enough for any runtime of the last years."""
_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}


class _Graph:
    """Nodes in order, each of which takes what the one before gives; `name` is the newest's output."""

    def __init__(self, onnx: Any, name: str) -> None:
        self._onnx, self.name = onnx, name
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, operator: str, *constants: Any, **attributes: Any) -> None:
        inputs = [self.name]
        for constant in constants:
            inputs.append(f"constant_{len(self.tensors)}")
            self.tensors.append(self._onnx.numpy_helper.from_array(np.asarray(constant), inputs[-1]))
        self.name = f"value_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [self.name], **attributes))


def onnx_policy(policy: Policy) -> bytes:
    """The policy without exploration as an ONNX model; its metadata hold version and signature."""
    import onnx

    helper, choice = onnx.helper, policy.distribution in (CATEGORICAL, EPSILON_GREEDY)
    graph = _Graph(onnx, "observation")
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


def main(arguments: list[str]) -> int:
    """Read the one file and write the other; the exit code."""
    if len(arguments) != 2:
        print("Give two files: python -m scripts.onnx_policy policy.safetensors policy.onnx", file=sys.stderr)
        return ExitCode.USAGE
    source, target = (Path(argument) for argument in arguments)
    try:
        target.write_bytes(onnx_policy(Policy.from_bytes(source.read_bytes())))
    except ImportError:
        print('ONNX is not installed. Install the extra: pip install -c constraints.txt -e ".[onnx]"', file=sys.stderr)
        return ExitCode.USAGE
    except PolicyError as error:
        print(str(error), file=sys.stderr)
        return ExitCode.USAGE
    except OSError as error:
        print(f"The file {error.filename} cannot be used ({error.strerror}). Give another path.", file=sys.stderr)
        return ExitCode.USAGE
    print(f"wrote {target}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
