"""A policy of every method does in an ONNX runtime what it does on a PC, and the file comes with what to know of it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces

from experience.environment import Environment, racing
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Policy
from racing.task import CHANNELS
from tests.support.judged import checkpoint, lapped
from tests.support.moto_s3 import MotoS3, s3
from tests.support.run_in_bucket import RunInBucket
from tests.support.runs import boxes, run_config
from train_cloud.run_folder.keys import BEST, LATEST, MANIFEST, METRICS, POLICY
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.saving.manifest import Best

runtime = pytest.importorskip("onnxruntime", reason="needs the dev extra, as it is since ONNX is in it")

from train_cloud.export import onnx_policy as module  # noqa: E402 - after what may skip
from train_cloud.export.__main__ import main  # noqa: E402 - after what may skip
from train_cloud.export.errors import ExportError  # noqa: E402 - after what may skip
from train_cloud.export.onnx_policy import OBSERVATIONS, agreement, checked, observations_of, onnx_policy  # noqa: E402 - after what may skip

__all__ = ["s3"]

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


@pytest.mark.slow
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
    data = onnx_policy(policy)
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told == {"version": "7", "signature": where.signature}
    rows = observations_of(where.spaces.observation.space, policy.observation_size)
    assert rows.shape == (OBSERVATIONS, policy.observation_size) == (10_000, policy.observation_size)
    (theirs,) = session.run(None, {"observation": rows})
    found = agreement(policy, theirs, rows)
    assert found.equal > (0.99 if policy.action_step or theirs.dtype == np.int64 else 0.0)
    assert checked(policy, data, rows).observations == OBSERVATIONS
    (alone,) = session.run(None, {"observation": rows[:1]})
    assert (alone.shape, alone.dtype.str) == (policy.act(rows[:1]).shape, policy.act(rows[:1]).dtype.str)


def test_a_file_that_does_something_else_is_refused() -> None:
    policy, other = made("sac", racing()), racing().policy(checkpoint(200, True).files[POLICY])
    rows = observations_of(racing().spaces.observation.space, policy.observation_size)
    with pytest.raises(ExportError, match="does not act as the policy does, so it is not kept"):
        checked(policy, onnx_policy(other), rows)
    choices = made("dqn", environment(CHOICE))
    with pytest.raises(ExportError, match="gives float32 of the shape"):
        agreement(choices, np.zeros((500, 4), np.float32), np.zeros((500, 12), np.float32))
    with pytest.raises(ExportError, match="does not act as"):
        agreement(choices, np.full((500, 1), 17), np.zeros((500, 12), np.float32))


def test_the_best_of_the_bucket_gets_a_card_that_says_what_is_true(
    tmp_path: Path, s3: MotoS3, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunInBucket(tmp_path, s3)
    best, newest = checkpoint(200, True), checkpoint(300, False)
    for made_then in (best, newest):
        for name, data in made_then.files.items():
            run.objects.put(made_then.manifest.folder + name, data)
        run.objects.put(made_then.manifest.folder + MANIFEST, made_then.manifest_bytes)
    run.objects.put(LATEST, newest.manifest_bytes)
    run.objects.put(BEST, msgspec.json.encode(Best(manifest=best.manifest, verdict=lapped(200))))
    metrics = {"steps": 300, "updates": 1234, "clean_laps": 12, "policy_lap_s": 61.5, "seconds": 90.0, "resumes": 2}
    run.objects.put(METRICS, msgspec.json.encode(metrics | {"versions": {"python": "3.11", "torch": None}}))
    file = tmp_path / "models" / "policy.onnx"
    command = ["onnx", "--config", str(run.file), "--output", str(file)]
    assert main(command) == 0
    said = capsys.readouterr().out
    card_file = file.with_suffix(".md")
    assert said.startswith(f"{file}: the best checkpoint of driven.run-1, with its model card {card_file}. ")
    assert "On 10,000 observations" in said
    policy = run.environment.policy(best.files[POLICY])
    rows = observations_of(run.environment.spaces.observation.space, policy.observation_size)
    (theirs,) = runtime.InferenceSession(file.read_bytes()).run(None, {"observation": rows})
    agreement(policy, theirs, rows)
    card = card_file.read_text(encoding="utf-8")
    for place, channel in enumerate(CHANNELS):
        assert f"| {place} | `{channel.name}` | {channel.unit} | {channel.scale:g} |" in card
    for told in (
        "20 actions a second",
        "after 200 steps, version 1.",
        "| gradient updates | 1,234 |",
        "| clean laps | 12 |",
        "| fastest clean lap of the policy | 1:01.500 |",
        "| interruptions survived | 2 |",
        "| software | python 3.11 |",
        "| track | ring, 157 m |",
        "Clean laps in a row, for each start: 3, 3, 3. Fastest clean lap: 0:30.000.",
        "MIT licence",
        "a real car, which it must not drive",
        run.environment.signature,
    ):
        assert told in card
    assert re.findall("^## (.*)$", card, re.M) == [
        "Input",
        "Output",
        "Control rate",
        "Training",
        "How good it is",
        "Is this file the policy?",
        "Limits",
        "Licence",
    ]
    assert main(command) == 2
    assert "which is taken" in capsys.readouterr().err


def test_a_fetched_file_needs_no_bucket_and_what_is_wrong_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, source, target = (tmp_path / name for name in ("run.json", POLICY, "policy.onnx"))
    config.write_bytes(msgspec.json.encode(run_config()))
    command = ["onnx", "--config", str(config), "--output", str(target), "--policy"]
    source.write_bytes(checkpoint(200, True).files[POLICY])
    (tmp_path / MANIFEST).write_bytes(checkpoint(200, True).manifest_bytes)
    (tmp_path / METRICS).write_bytes(msgspec.json.encode({"judged": {"best": lapped(200).figures()}}))
    assert main([*command, str(tmp_path / "none")]) == 2
    assert main([*command, str(config)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{tmp_path / 'none'} cannot be read (No such file or directory). Give the path of a file."
    assert "not a safetensors file" in said[1]
    ours = module.onnx_policy
    monkeypatch.setattr(module, "onnx_policy", lambda _: ours(made("tqc", racing())))
    assert main([*command, str(source)]) == 2
    assert "so it is not kept" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((MANIFEST, METRICS, POLICY, "run.json"))
    monkeypatch.undo()
    assert main([*command, str(source)]) == 0
    card = target.with_suffix(".md").read_text(encoding="utf-8")
    assert "the file policy.safetensors, after 200 steps" in card
    assert "Fastest clean lap: 0:30.000" in card
    assert "| track |" not in card
