"""The deployment of these tests: everything that can be asked for, applied once, and looked at by many tests.

The server is a process of its own, so that no other test of this process sees or resets what it holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.aws_server import AwsProcess
from tests.support.stack import Stack

WANDB_KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Applied:
    """An applied stack, the AWS that it was applied to, and what Terraform said while it did."""

    stack: Stack
    aws: AwsProcess
    told: str


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    aws = AwsProcess()
    try:
        stack = Stack(
            tmp_path_factory.mktemp("applied") / "stack",
            aws.endpoint_url,
            alert_email="you@example.org",
            cloudwatch_logs=True,
            key_pair_name="my-key",
            max_hours=5,
            training={"method": "tqc", "target_entropy": -2.5, "network": [400, 300], "task": {"control_hz": 25}},
            wandb={"project": "laps", "entity": "me"},
            wandb_key=WANDB_KEY,
        )
        yield Applied(stack, aws, stack.apply())
    finally:
        aws.stop()
