"""A policy of every method does in an ONNX runtime what it does on a PC."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from experience.environment import Environment, racing
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Policy
from scripts.onnx_policy import main, onnx_policy
from tests.support.runs import boxes, run_config
from train_cloud.trainer.learning.learners import make_learner

runtime = pytest.importorskip("onnxruntime", reason="needs the dev extra, as it is since ONNX is in it")

WIDE = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 300.0], np.float32))
CHOICE = spaces.Discrete(4, start=-1)


def environment(action: spaces.Space[Any]) -> Environment:
    return Environment("toy", Spaces(boxes(12, 2).observation, SpaceSpec(action)))


def made(method: str, where: Environment) -> Policy:
    remote = {"kind": "gymnasium", "id": "toy", "source": "remote"}
    settings: dict[str, Any] = {} if where.name == racing().name else {"environment": remote}
    learner = make_learner(run_config(method=method, network=[32, 16], buffer_size=10, **settings), where)
    policy = where.policy(learner.policy(7))
    assert isinstance(policy, Policy)
    return policy


@pytest.mark.parametrize(
    ("method", "where"),
    [
        *((method, racing()) for method in ("sac", "tqc", "crossq", "xqc", "ppo")),
        *((method, environment(WIDE)) for method in ("sac", "xqc", "ppo")),
        *((method, environment(CHOICE)) for method in ("dqn", "ppo")),
    ],
)
def test_a_runtime_acts_as_the_pc_does(method: str, where: Environment) -> None:
    policy = made(method, where)
    session = runtime.InferenceSession(onnx_policy(policy), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told == {"version": "7", "signature": where.signature}
    rows = np.random.default_rng(1).uniform(-8.0, 8.0, (500, policy.observation_size)).astype(np.float32)
    for count in (500, 1):
        (theirs,) = session.run(None, {"observation": rows[:count]})
        ours = policy.act(rows[:count])
        assert (theirs.shape, theirs.dtype.str) == (ours.shape, ours.dtype.str)
        if policy.action_step:
            # Sums are rounded in another order, so that few may fall on the next step of the grid.
            assert np.abs(theirs - ours).max() <= policy.action_step
            assert (theirs == ours).mean() > 0.95
        elif ours.dtype == np.int64:
            assert (theirs == ours).mean() > 0.99
        else:
            assert (np.abs(theirs - ours) / (WIDE.high - WIDE.low)).max() < 1e-5


def test_a_file_becomes_a_file_and_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learner = make_learner(run_config(network=[8], buffer_size=10), racing())
    source, target = tmp_path / "policy.safetensors", tmp_path / "policy.onnx"
    source.write_bytes(learner.policy(1))
    assert main([str(source), str(target)]) == 0
    assert runtime.InferenceSession(target.read_bytes()).get_inputs()[0].name == "observation"
    assert main([str(source)]) == main([str(target), str(source)]) == main([str(tmp_path / "none"), str(target)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Give two files")
    assert "not a safetensors file" in said[1]
    assert said[2] == f"The file {tmp_path / 'none'} cannot be used (No such file or directory). Give another path."
