"""A receiver process for one environment of one's own, and `drive --env` processes for it; what they store is told."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from bridge.driving.environments import driven_environment
from bridge.serve_env.offers import offers_of
from experience.codec import Batch
from experience.environment import Environment
from racing.policy_file import CATEGORICAL, POLICY_FORMAT, SQUASHED_GAUSSIAN
from tests.support import toy_environments as toys
from tests.support.bridge_processes import ROOT, bridge_process, stored_batches
from tests.support.moto_s3 import MotoS3
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.runs import run_config
from train_cloud.store import Store

EXAMPLES = ROOT / "examples"
PATH = os.pathsep.join([str(ROOT), str(EXAMPLES)])
Row = list[Any]
"""A step: what was seen, what was done, the reward, what was seen then, terminated, truncated."""


def named(kind: type[toys.Reach]) -> str:
    """The toy's name on a command line."""
    return f"tests.support.toy_environments:{kind.__name__}"


def policy_of(environment: Environment) -> bytes:
    """A policy that explores; version 1."""
    discrete = environment.spaces.action.column.dtype == "int64"
    size = environment.spaces.observation.column.size
    outputs = 3 if discrete else 2
    metadata = {
        "format": POLICY_FORMAT,
        "version": "1",
        "signature": environment.signature,
        "observation_size": str(size),
        "action_size": "3" if discrete else "1",
        "action_step": repr(environment.spaces.action.step or 0.0),
        "distribution": CATEGORICAL if discrete else SQUASHED_GAUSSIAN,
        "layers": json.dumps([{"op": "linear", "weight": "w", "bias": "b"}]),
    }
    weight = np.random.default_rng(1).normal(0.0, 0.5, (outputs, size)).astype(np.float16)
    return save({"w": weight, "b": np.zeros(outputs, np.float32)}, metadata)


class EnvironmentSite:
    """A receiver process for one environment, with a policy in its store, and bridge processes on one spool."""

    def __init__(self, receiver: ReceiverProcess, environment: Environment, folder: Path) -> None:
        self.receiver, self.environment, self.folder = receiver, environment, folder
        self.log, self.lived = folder / "bridge.log", folder / "lived.jsonl"

    def drive(self, *arguments: str, **variables: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A bridge process that does not outlive the block."""
        known = {"TOY_LOG": str(self.lived), "PYTHONPATH": PATH} | variables
        return bridge_process(self.receiver, self.folder, "drive", "--env", self.environment.name, *arguments, **known)

    def batches(self) -> list[Batch]:
        """What is stored."""
        return stored_batches(self.receiver, self.environment.spaces.layout)

    def steps(self) -> int:
        """How many steps are stored."""
        return sum(batch.steps for batch in self.batches())

    def rows(self) -> list[Row]:
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

    def written(self) -> list[Row]:
        """What the environments have written down, with rewards as float32 holds them."""
        lines = [json.loads(line) for line in self.lived.read_text().splitlines()]
        for line in lines:
            line[1] = line[1] if isinstance(line[1], list) else [line[1]]
            line[2] = float(np.float32(line[2]))
        return lines


@contextmanager
def environment_site(name: str, folder: Path, s3: MotoS3) -> Iterator[EnvironmentSite]:
    """A site for an environment of this name."""
    environment = driven_environment(name, offers_of([name], EXAMPLES)[name]())
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
        yield EnvironmentSite(receiver, environment, folder)
