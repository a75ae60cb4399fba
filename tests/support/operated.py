"""A deployment for the operator's commands: a real group, real parameters and a real bucket on the stand-in for AWS,
and, when a test wants it, a real receiver as the group's instance would run it. The fixture is `operated`.

`run` calls a command as a shell would and fails when a token shows anywhere but in what `pair` prints.
"""

import contextlib
import gzip
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from moto.autoscaling.models import FakeAutoScalingGroup
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult

from scripts.cloud import waiting
from scripts.cloud.cli import app
from scripts.cloud.command import run
from scripts.cloud.deployment import AppliedDeployment
from scripts.cloud.pair import pair
from tests.support.aws_server import REGION, AwsServer, environment
from tests.support.receivers import TOKEN, ReceiverProcess
from tests.support.runs import run_config
from train_cloud.instance.ledger import Life, write_life
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig, RunConfig
from wire.pairing import Pairing

DASHBOARD_TOKEN = "watchers0123456789only"
NAME, BUCKET, RUN_ID = "ac-operated", "ac-operated-bucket", "lap-1"


def command_line(command: Callable[..., None], arguments: list[str]) -> int:
    """Run the command of `ac-train` as a shell would; returns its exit code."""
    return run(app, [command.__name__.replace("_", "-"), *arguments])


class Said(NamedTuple):
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Operated:
    """One applied deployment with a desired capacity of 0, and the file that describes it."""

    def __init__(self, server: AwsServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.server, self.folder, self._capsys = server, folder, capsys
        self.deployment = AppliedDeployment(
            name=NAME,
            region=REGION,
            bucket=BUCKET,
            run_id=RUN_ID,
            group=NAME,
            schedule=f"{NAME}-end",
            token_parameter=f"/{NAME}/token",
            dashboard_parameter=f"/{NAME}/dashboard",
            endpoint_parameter=f"/{NAME}/endpoint",
            budget_usd=20.0,
            max_hours=48.0,
            guard_hours=16.0,
            guard_usd_per_hour=1.25,
            max_launches=20,
            instance_types=["g4dn.xlarge", "g5.xlarge"],
            volume_gb=100,
            hourly_extra_usd=0.016,
            listen_port=8765,
            dashboard_port=8766,
            dashboard_open=True,
            total_timesteps=200_000,
        )
        self.file = folder / "deployment.json"
        self.file.write_bytes(msgspec.json.encode(self.deployment))
        self.config: RunConfig = run_config(
            run_id=RUN_ID,
            bucket={"name": BUCKET, "endpoint_url": server.endpoint_url},
            listen_host="127.0.0.1",
            listen_port=0,
        )
        self.objects = open_store(
            BucketConfig(name=BUCKET, region=REGION, endpoint_url=server.endpoint_url), f"runs/{RUN_ID}/"
        )
        self.autoscaling, self.ssm = server.client("autoscaling"), server.client("ssm")
        self._make()

    def _make(self) -> None:
        self.server.client("s3").create_bucket(Bucket=BUCKET)
        for name in ("tls", "endpoint"):
            self.ssm.put_parameter(Name=f"/{NAME}/{name}", Value="unset", Type="String")
        self.ssm.put_parameter(Name=self.deployment.token_parameter, Value=TOKEN, Type="SecureString")
        self.ssm.put_parameter(Name=self.deployment.dashboard_parameter, Value=DASHBOARD_TOKEN, Type="SecureString")
        ec2 = self.server.client("ec2")
        ec2.create_launch_template(
            LaunchTemplateName=NAME,
            LaunchTemplateData={
                "ImageId": "ami-12c6146b",
                "InstanceType": "g4dn.xlarge",
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Run", "Value": RUN_ID}]}],
            },
        )
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=NAME,
            LaunchTemplate={"LaunchTemplateName": NAME, "Version": "$Latest"},
            MinSize=0,
            MaxSize=1,
            DesiredCapacity=0,
            AvailabilityZones=[f"{REGION}a"],
        )

    def run(self, command: Callable[..., None], *arguments: str) -> Said:
        """Call the command with this deployment."""
        self._capsys.readouterr()
        code = command_line(command, [*arguments, "--deployment", str(self.file)])
        said = Said(code, *self._capsys.readouterr())
        for token in {TOKEN, self.token}:
            assert token not in said.err
            assert command is pair or token not in said.out
        return said

    def change(self, **changes: Any) -> None:
        """Describe another deployment from now on; whatever runs goes on as it is."""
        self.deployment = msgspec.structs.replace(self.deployment, **changes)
        self.file.write_bytes(msgspec.json.encode(self.deployment))

    @property
    def token(self) -> str:
        """The token that the parameter holds now."""
        name = self.deployment.token_parameter
        return str(self.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

    @property
    def desired(self) -> int:
        """The group's desired capacity."""
        return int(self._group()["DesiredCapacity"])

    @property
    def instance_id(self) -> str:
        """The group's one instance."""
        return str(self._group()["Instances"][0]["InstanceId"])

    def _group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])
        group: dict[str, Any] = found["AutoScalingGroups"][0]
        return group

    def launch(self) -> str:
        """Let the group launch its instance; the instance's id."""
        self.autoscaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=1)
        return self.instance_id

    def publish(self, pairing: Pairing, instance_id: str) -> None:
        """Write the endpoint parameter, as the instance does at boot."""
        text = {"host": pairing.host, "port": pairing.port, "pin": pairing.pin}
        text |= {"instance_id": instance_id, "run_id": RUN_ID}
        self.ssm.put_parameter(
            Name=self.deployment.endpoint_parameter, Value=json.dumps(text), Type="String", Overwrite=True
        )

    @contextlib.contextmanager
    def receiver(self) -> Iterator[ReceiverProcess]:
        """The group's instance, as far as bridges see it: a receiver with TLS, found by the endpoint parameter."""
        instance_id = self.launch()
        running = ReceiverProcess(self.config, self.folder / "instance")
        try:
            self.publish(running.pairing(), instance_id)
            yield running
        finally:
            if running.process.poll() is None:
                running.kill()

    def spend(self, usd: float, hours: float, instance_id: str = "i-00000000000000001") -> None:
        """Add the ledger of one life to the run."""
        now = datetime.now(UTC)
        life = Life(
            instance_id=instance_id,
            instance_type="g4dn.xlarge",
            availability_zone=f"{REGION}a",
            launched_at=(now - timedelta(hours=hours)).isoformat(),
            seen_at=now.isoformat(),
            hours=hours,
            spend_usd=usd,
            price_source="history",
        )
        write_life(self.objects, life)

    def end(self, reason: str, text: str, at: str = "2026-11-20T12:30:00Z") -> None:
        """Write an ending record, as lifeline.sh does."""
        record = {"reason": reason, "text": text, "at": at, "instance_id": "i-0aaaaaaaaaaaaaaaa", "run_id": RUN_ID}
        key = f"endings/{at.replace('-', '').replace(':', '')}-i-0aaaaaaaaaaaaaaaa.json"
        self.objects.put(key, json.dumps(record | {"desired_capacity": 0}).encode())

    def ship_log(self, instance_id: str, stamp: str, *lines: str) -> None:
        """Ship one increment of a journal."""
        self.objects.put(
            f"logs/{instance_id}/{stamp}-1.log.gz", gzip.compress("".join(f"{x}\n" for x in lines).encode())
        )


def attempts_fail(
    operated: Operated, monkeypatch: pytest.MonkeyPatch, message: str, began: datetime | None = None
) -> None:
    """Let the group want an instance in vain, and say so in its newest scaling activity: moto's groups never fail."""
    monkeypatch.setattr(FakeAutoScalingGroup, "replace_autoscaling_group_instances", lambda *_: None)
    operated.autoscaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=1)
    activity = {
        "ActivityId": "5fd1f2a3-0000-4000-8000-000000000000",
        "AutoScalingGroupName": NAME,
        "Cause": "an instance was started in response to a difference between desired and actual capacity",
        "StartTime": began or datetime.now(UTC),
        "StatusCode": "Failed",
        "StatusMessage": message,
        "Progress": 100,
    }
    answer = ActionResult({"Activities": [activity]})
    monkeypatch.setattr(AutoScalingResponse, "describe_scaling_activities", lambda _: answer)


@pytest.fixture
def operated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Operated]:
    """A fresh deployment; AWS is what the environment says, and waiting looks again without much delay."""
    server = AwsServer()
    for name, value in environment(server.endpoint_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    # A command sets up the process's logging for itself: what runs in this process afterwards has its own again.
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    try:
        # moto keeps its state per process, not per server: begin with none.
        server.reset()
        yield Operated(server, tmp_path, capsys)
    finally:
        server.stop()
