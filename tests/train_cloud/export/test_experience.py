"""Reading the bucket: no more of it than is needed at a time, each batch once, and any environment's."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from experience.codec import encode_batch
from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec
from tests.support.moto_s3 import MotoS3, s3
from tests.support.run_in_bucket import RunInBucket, column, toy_batch
from tests.support.runs import boxes, run_config
from train_cloud.export.errors import ExportError
from train_cloud.export.experience import READ_AHEAD, Experience
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.receiver.segments import SegmentKey, decode_segment, encode_segment, make_segment, parse_key
from train_cloud.run_config import RunConfig
from train_cloud.store import StoredBatch, StreamState

__all__ = ["s3"]

STREAM = "a" * 32


def test_segments_that_overlap_count_once(tmp_path: Path, s3: MotoS3) -> None:
    run = RunInBucket(tmp_path, s3)
    stream = run.drive_policy(cars=1)
    keys = [key for name in run.segments(stream) if (key := parse_key(name)) is not None]
    first, second = (decode_segment(run.objects.get(str(key))[0], key) for key in keys[:2])
    both = msgspec.structs.replace(first, records=[*first.records, *second.records[:1]])
    assert both.key == SegmentKey(stream, 1, 3)
    run.objects.put(str(both.key), encode_segment(both))
    run.objects.put(f"experience/{stream}/not-a-segment", b"")
    experience = Experience(run.config, run.objects)
    driven = list(experience.driven())
    assert [one.number for one in driven] == list(range(1, keys[-1].last + 1))
    rewards = np.concatenate([one.batch.rewards for one in driven])
    np.testing.assert_array_equal(rewards, column(run.driven[stream][0], "reward").astype(np.float32))
    assert not experience.left_out


def put_toys(objects: ObjectStore, environment: Environment, blob: bytes, steps: int, number: int = 1) -> None:
    """A segment of one batch."""
    done = number - 1
    state = StreamState(
        "pc", environment.signature, number, done, steps * number, steps * done, environment.spaces.text
    )
    segment = make_segment(STREAM, state, [StoredBatch(number, STREAM, number, steps, blob)])
    objects.put(str(segment.key), encode_segment(segment))


def gymnasium_run(s3: MotoS3, name: str) -> tuple[RunConfig, ObjectStore]:
    config = run_config(
        bucket=msgspec.to_builtins(s3.bucket), network=[16], environment={"kind": "gymnasium", "id": name}
    )
    return config, open_store(config.bucket, "runs/test-run/")


def test_a_run_is_read_no_further_than_a_few_segments_ahead(s3: MotoS3) -> None:
    environment, batch, _, _ = toy_batch("vector", "box")
    config, objects = gymnasium_run(s3, environment.name)
    for number in range(1, 4 * READ_AHEAD):
        put_toys(objects, environment, encode_batch(batch), batch.steps, number)
    experience = Experience(config, objects)
    before = s3.requests
    driven = experience.driven()
    first = next(driven)
    assert first.number == 1
    assert s3.requests - before <= READ_AHEAD + 1


def test_another_environment_is_known_by_what_was_driven_in_it(s3: MotoS3) -> None:
    environment, batch, _, _ = toy_batch("dict", "discrete")
    config, objects = gymnasium_run(s3, environment.name)
    put_toys(objects, environment, encode_batch(batch), batch.steps)
    (one,) = (experience := Experience(config, objects)).driven()
    assert experience.environment.signature == environment.signature
    np.testing.assert_array_equal(one.batch.observations, batch.observations)
    (name,) = objects.list("experience/")
    objects.put(name, b"damaged")
    with pytest.raises(ExportError, match="No segment of the run test-run tells what"):
        Experience(config, objects)


def test_onnx_of_another_environment_has_that_one_s_bounds(tmp_path: Path, s3: MotoS3) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the dev extra, as it is since ONNX is in it")
    from gymnasium.spaces import Box

    from train_cloud.export.__main__ import main
    from train_cloud.trainer.learning.learners import make_learner

    wide: Any = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 300.0], np.float32))
    environment = Environment("toys/Wide-v0", Spaces(boxes(12, 2).observation, SpaceSpec(wide)))
    config, objects = gymnasium_run(s3, environment.name)
    files = [tmp_path / name for name in ("run.json", "policy.safetensors", "wide.onnx")]
    files[0].write_bytes(msgspec.json.encode(config))
    files[1].write_bytes(make_learner(config, environment).policy(3))
    # Only its spaces are asked for.
    put_toys(objects, environment, b"no batch", 20)
    command = ["onnx", "--config", str(files[0]), "--output", str(files[2]), "--policy", str(files[1])]
    assert main(command) == 0
    rows = np.random.default_rng(1).uniform(-8.0, 8.0, (500, 12)).astype(np.float32)
    (theirs,) = runtime.InferenceSession(files[2].read_bytes()).run(None, {"observation": rows})
    assert theirs[:, 1].min() > 1.0
    np.testing.assert_allclose(theirs, environment.policy(files[1].read_bytes()).act(rows), rtol=1e-4, atol=1e-3)
    card = files[2].with_suffix(".md").read_text(encoding="utf-8")
    assert "# test-run: a policy for toys/Wide-v0" in card
    assert '"high":[2.0,300.0]' in card
    assert "It was not judged" in card
