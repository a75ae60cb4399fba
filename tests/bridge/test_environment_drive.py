"""`drive --env` as a process, against the real receiver: an environment's own steps are what is stored, to the bit."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from bridge.driving.environments import driven_environment
from bridge.spool import Spool
from experience.codec import Batch, decode_batch
from experience.environment import Environment
from racing.policy import CATEGORICAL, POLICY_FORMAT, SQUASHED_GAUSSIAN
from runtime.exit_codes import ExitCode
from tests.support import toy_environments as toys
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.store import Store

__all__ = ["s3"]

ROOT = Path(__file__).parents[2]


def named(kind: type[toys.Reach]) -> str:
    return f"tests.support.toy_environments:{kind.__name__}"


def policy_of(environment: Environment) -> bytes:
    """A policy that explores; version 1."""
    discrete = environment.spaces.action.column.dtype == "int64"
    outputs = 3 if discrete else 2
    metadata = {
        "format": POLICY_FORMAT,
        "version": "1",
        "signature": environment.signature,
        "observation_size": "3",
        "action_size": "3" if discrete else "1",
        "action_step": repr(environment.spaces.action.step or 0.0),
        "distribution": CATEGORICAL if discrete else SQUASHED_GAUSSIAN,
        "layers": json.dumps([{"op": "linear", "weight": "w", "bias": "b"}]),
    }
    weight = np.random.default_rng(1).normal(0.0, 0.5, (outputs, 3)).astype(np.float16)
    return save({"w": weight, "b": np.zeros(outputs, np.float32)}, metadata)


class Site:
    """A receiver process for one environment, with a policy in its store, and bridge processes on one spool."""

    def __init__(self, receiver: ReceiverProcess, environment: Environment, folder: Path) -> None:
        self.receiver, self.environment, self.folder = receiver, environment, folder
        self.log, self.lived = folder / "bridge.log", folder / "lived.jsonl"

    @contextmanager
    def drive(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A bridge process that does not outlive the block."""
        self.receiver.pairing()
        uri = (self.receiver.folder / "pairing.txt").read_text().strip()
        spool = ["--spool", str(self.folder / "spool")]
        command = [sys.executable, "-m", "bridge", "drive", "--env", self.environment.name, *spool, *arguments]
        environment = os.environ | {"AC_BRIDGE_URI": uri, "TOY_LOG": str(self.lived)} | variables
        with self.log.open("ab") as log:
            bridge = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        try:
            yield bridge
        finally:
            bridge.kill()
            bridge.wait()

    def batches(self) -> list[Batch]:
        """What is stored."""
        store = Store(self.receiver.store_file)
        try:
            return [decode_batch(row.blob, self.environment.spaces.layout) for row in store.read_batches(0, 10**6)]
        finally:
            store.close()

    def steps(self) -> int:
        """How many steps are stored."""
        return sum(batch.steps for batch in self.batches())

    def rows(self) -> list[list[Any]]:
        """Stored steps as the environment writes them down."""
        return [
            [seen.tolist(), action.tolist(), float(reward), then.tolist(), bool(there), bool(late)]
            for batch in self.batches()
            for seen, action, reward, then, there, late in zip(
                batch.current_observations(),
                batch.actions,
                batch.rewards,
                batch.next_observations(),
                batch.terminated,
                batch.truncated,
                strict=True,
            )
        ]

    def written(self) -> list[list[Any]]:
        """What the environments have written down, with rewards as float32 holds them."""
        lines = [json.loads(line) for line in self.lived.read_text().splitlines()]
        for line in lines:
            line[1] = line[1] if isinstance(line[1], list) else [line[1]]
            line[2] = float(np.float32(line[2]))
        return lines


@contextmanager
def site(kind: type[toys.Reach], folder: Path, s3: MotoS3) -> Iterator[Site]:
    environment = driven_environment(named(kind), kind())
    config = run_config(
        bucket={"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url},
        listen_host="127.0.0.1",
        listen_port=0,
        environment={"kind": "gymnasium", "id": environment.name},
        segment_seconds=0.5,
        # No trainer takes part.
        max_lead_steps=10**9,
    )
    with receiver_process(config, folder / "instance") as receiver:
        receiver.pairing()
        blob, store = policy_of(environment), Store(receiver.store_file)
        store.put_weights(1, blob, hashlib.sha256(blob).hexdigest())
        store.close()
        yield Site(receiver, environment, folder)


def ended(rows: list[list[Any]]) -> list[list[Any]]:
    """With the last step truncated, unless it ended by itself, as the end of a drive leaves it."""
    *steps, there, late = rows[-1]
    return [*rows[:-1], [*steps, there, late or not there]]


@pytest.mark.parametrize("kind", [toys.Reach, toys.Picking])
def test_an_environments_own_steps_are_what_is_stored(kind: type[toys.Reach], tmp_path: Path, s3: MotoS3) -> None:
    with site(kind, tmp_path, s3) as place:
        with place.drive("--steps", "500", "--seed", "3") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        rows, batches = place.rows(), place.batches()
    assert rows == ended(place.written())
    assert len(rows) == 500
    actions = np.concatenate([batch.actions for batch in batches])[:, 0]
    if kind is toys.Picking:
        assert set(actions.tolist()) == {-2, -1, 0}
    else:
        assert not np.array_equal(actions * 2**15, np.rint(actions * 2**15)), "racing's grid is racing's"
        assert -0.5 <= actions.min() < 0.0 < 1.0 < actions.max() <= 2.0
    ends = [end for batch in batches for end in batch.episodes]
    assert {end.reason for end in ends} == {"terminated", "truncated", "stopped"}
    assert sum(end.steps for end in ends) == 500
    assert all((batch.policy_versions == 1).all() and not batch.off_period.any() for batch in batches)
    assert "mean_return=" in place.log.read_text()
    assert "laps" not in place.log.read_text()


def test_several_environments_are_cars_of_one_stream(tmp_path: Path, s3: MotoS3) -> None:
    with site(toys.Gridded, tmp_path, s3) as place:
        with place.drive("--steps", "600", "--num-envs", "3") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches = place.batches()
    assert place.environment.spaces.observation.step == 2.0**-8
    for car in range(3):
        firsts = [first for batch in batches for first in batch.run_first_steps[batch.run_cars == car].tolist()]
        lengths = [length for batch in batches for length in batch.run_lengths[batch.run_cars == car].tolist()]
        assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]
        assert sum(lengths) == 200
    places = np.concatenate([batch.observations for batch in batches])[:, 0] * 2**8
    assert np.array_equal(places, np.rint(places))
    # What was done is what is stored, on the actions' grid as well.
    done = sorted(line[1][0] for line in place.written())
    assert done == sorted(float(value) for batch in batches for value in batch.actions[:, 0])
    assert np.array_equal(np.multiply(done, 2**4), np.rint(np.multiply(done, 2**4)))


def test_a_killed_bridge_goes_on_where_its_spool_stands(tmp_path: Path, s3: MotoS3) -> None:
    with site(toys.Reach, tmp_path, s3) as place:
        with place.drive() as bridge:
            wait_until(lambda: place.receiver.store_file.exists() and place.steps() > 300, "some is stored", 30.0)
            bridge.kill()
            bridge.wait()
        with Spool(tmp_path / "spool") as spool:
            before, stream = spool.total_steps, spool.stream
        first_life = place.written()
        with place.drive("--steps", "300") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        rows, batches = place.rows(), place.batches()
        with Spool(tmp_path / "spool") as spool:
            assert (spool.stream, spool.total_steps) == (stream, before + 300)
    # What the first life had committed, whole and once; then all of the second.
    assert rows == [*first_life[:before], *ended(place.written()[len(first_life) :])]
    firsts = [first for batch in batches for first in batch.run_first_steps.tolist()]
    lengths = [length for batch in batches for length in batch.run_lengths.tolist()]
    assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]


def test_an_environment_that_raises_ends_the_drive_and_loses_no_whole_step(tmp_path: Path, s3: MotoS3) -> None:
    with site(toys.Reach, tmp_path, s3) as place:
        with place.drive("--seed", "3", TOY_FAILS_AT="139") as bridge:
            assert bridge.wait(120) == ExitCode.FAILED
        rows, batches = place.rows(), place.batches()
    assert rows == ended(place.written())
    assert len(rows) == 138
    assert batches[-1].episodes[-1].reason == "interrupted"
    assert "RuntimeError: the wheel came off. So the drive ends" in place.log.read_text()


def test_what_paces_itself_is_not_paced_by_us(tmp_path: Path, s3: MotoS3) -> None:
    with site(toys.Paced, tmp_path, s3) as place:
        with place.drive("--steps", "60") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        (streams,) = Store(place.receiver.store_file).streams().values()
        batches = place.batches()
    assert streams.spaces == place.environment.spaces.text
    ages = np.concatenate([batch.action_ages for batch in batches])
    # An action is applied at once; with a clock of ours beside its own it would be as old as a period.
    assert np.median(ages) < toys.PERIOD / 2
    off = np.concatenate([batch.off_period for batch in batches])
    assert np.flatnonzero(off).tolist() == [9, 19, 29, 39, 49, 59], "it says itself which steps were off"


def test_our_clock_paces_what_does_not(tmp_path: Path, s3: MotoS3) -> None:
    with site(toys.Reach, tmp_path, s3) as place:
        with place.drive("--steps", "60", "--real-time", "--rate", "25") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches = place.batches()
    ages = np.concatenate([batch.action_ages for batch in batches])
    assert np.median(ages) > 0.03, "an action waits for the next beat of the clock"
    assert len(ages) == 60


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--env", "Pendulum-v1", "--track", "seed:7"], "--track is for cars and has no effect on --env"),
        (["--env", "Pendulum-v1", "--wait"], "An option of the game is for cars"),
        (["--env", "Pendulum-v1", "--rate", "20"], "--rate and --real-time together"),
        (["--num-envs", "2"], "go with --env NAME"),
        (["--env", "Pendulum-v77"], "Gymnasium knows no environment"),
        (["--env", named(toys.Images)], "images, which a policy on this PC does not take"),
        (["--env", named(toys.Misnamed)], "observation_setp"),
        (["--env", named(toys.Paced), "--rate", "20", "--real-time"], "paces itself"),
        (["--env", named(toys.Cells)], "Its observations are Discrete"),
    ],
)
def test_what_cannot_be_driven_is_a_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    environment = os.environ | {"AC_BRIDGE_URI": f"ws://bridge:{'a' * 20}@127.0.0.1:1"}
    spool = ["--spool", str(tmp_path / "spool")]
    command = [sys.executable, "-m", "bridge", "drive", *arguments, *spool]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == ExitCode.USAGE, ended.stderr
    assert sentence in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
