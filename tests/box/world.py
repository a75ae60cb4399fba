"""One deployment in the small AWS: Terraform's stack, what its run leaves in the bucket, and the people at home.

The operator's commands and the bridge run in the namespace `home`, so that they reach the instance as a user does: by
its public address, through the network, and never the other way round.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experience.codec import decode_batch
from experience.environment import racing
from tests.box.cloud import ENDPOINT, Cloud, Instance
from tests.support.aws_server import REGION, environment
from tests.support.script import Script, check_whole
from tests.support.site import batches_in_bucket
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig

NAME = "ac-box"
TRAINING: Mapping[str, object] = {
    "network": [8],
    "batch_size": 8,
    "learning_starts": 100,
    "updates_per_step": 0.05,
    "gradient_chunk": 8,
    "save_frequency": 1000,
    "publish_seconds": 0.5,
    "segment_seconds": 0.5,
    "buffer_size": 20_000,
    "trainer_threads": 1,
}
"""A run that costs little: a tiny network, few updates, frequent checkpoints and segments."""

# Terraform keeps users from limits that make no sense on AWS; here some are reached within seconds.
_LIMITS = (("var.idle_minutes >= 5", "var.idle_minutes > 0"),)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """`wait_until` for looks into a journal or a bucket, which cost the box some of its processor."""
    return wait_until(condition, what, seconds, every=0.4)


class World:
    """A deployment called NAME in `cloud`; `folder` is new, `variables` are Terraform's."""

    def __init__(self, cloud: Cloud, folder: Path, run_id: str, **variables: Any) -> None:
        self.cloud, self.folder = cloud, folder
        training = dict(TRAINING) | variables.pop("training", {})
        fixed = {"project_name": NAME, "accelerator": "cpu", "volume_gb": 20}
        self.stack = Stack(
            folder / "stack", cloud.aws.endpoint_url, **fixed, run_id=run_id, training=training, **variables
        )
        file = self.stack.folder / "terraform" / "variables.tf"
        for ours, shorter in _LIMITS:
            assert ours in file.read_text()
            file.write_text(file.read_text().replace(ours, shorter))
        self.deployment: dict[str, Any] = {}
        self._bridge: subprocess.Popen[bytes] | None = None

    @property
    def run_id(self) -> str:
        """The run's name."""
        return str(self.stack.variables["run_id"])

    @property
    def objects(self) -> ObjectStore:
        """What the run has in the bucket."""
        bucket = BucketConfig(name=self.deployment["bucket"], region=REGION, endpoint_url=self.cloud.aws.endpoint_url)
        return open_store(bucket, f"runs/{self.run_id}/")

    @property
    def group(self) -> str:
        """The Auto Scaling group's name."""
        return str(self.deployment["group"])

    def apply(self, **variables: Any) -> None:
        """`terraform apply`, with these variables changed."""
        if "training" in variables:
            variables["training"] = dict(TRAINING) | variables["training"]
        self.stack.variables.update(variables)
        self.stack.apply()
        self.deployment = self.stack.output("deployment")
        (self.folder / "deployment.json").write_text(json.dumps(self.deployment))

    def operator(self, command: str, *arguments: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run an operator's command at home."""
        line = self._at_home("scripts.cloud", command, "--deployment", str(self.folder / "deployment.json"), *arguments)
        return subprocess.run(
            line, env=self._environment(), capture_output=True, text=True, timeout=seconds, check=False
        )

    def pair(self) -> str:
        """What `make pair` prints."""
        done = self.operator("pair", "--wait-minutes", "2", seconds=150.0)
        assert done.returncode == 0, f"pair: {done.stdout[:40]} {done.stderr[-2000:]}"
        return done.stdout.strip()

    def page(self) -> tuple[str, str]:
        """What the dashboard shows a browser at home that follows `make dashboard-link`: its page, and its first look.

        Another one, without the link, is shown nothing.
        """
        done = self.operator("dashboard-link")
        assert done.returncode == 0, done.stderr
        link, jar = done.stdout.strip(), self.folder / "cookies.txt"
        jar.unlink(missing_ok=True)
        place = link.rpartition("/link/")[0]
        refused = self._browse(place + "/stream")
        assert refused.startswith("401 "), refused[:200]
        page = self._browse(link, "--location", "--cookie-jar", str(jar))
        # The stream has no end of its own.
        look = self._browse(place + "/stream", "--cookie", str(jar), "--max-time", "5")
        return page, look

    def _browse(self, url: str, *options: str) -> str:
        """Status and body of a GET at home; the link's code is a secret, so that the command is told no one."""
        ip = shutil.which("ip") or "ip"
        line = [ip, "netns", "exec", self.cloud.network.home, "curl", "--silent", "--insecure", "--no-buffer", *options]
        line += ["--write-out", "\n%{http_code}", "--config", "-"]
        done = subprocess.run(line, input=f'url = "{url}"\n', capture_output=True, text=True, timeout=60.0, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return f"{status} {body}"

    def start_bridge(self, uri: str, cars: int, ticks: int, hz: float) -> None:
        """Let a bridge that drives by a script dial in from home."""
        options = {"--spool": self.folder / "spool", "--seed": 7, "--cars": cars, "--ticks": ticks, "--hz": hz}
        arguments = [str(part) for pair in options.items() for part in pair]
        with (self.folder / "bridge.log").open("ab") as log:
            self._bridge = subprocess.Popen(
                self._at_home("scripts.processes.leash", "tests.support.scripted_bridge", *arguments),
                env=self._environment() | {"AC_BRIDGE_URI": uri, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def bridge_code(self) -> int | None:
        """The bridge's exit code; None while it runs."""
        assert self._bridge is not None, "no bridge was started"
        return self._bridge.poll()

    def bridge_log(self) -> str:
        """What the bridge has written."""
        file = self.folder / "bridge.log"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        """End the bridge."""
        if self._bridge is not None:
            self._bridge.kill()
            self._bridge.wait(120)
            if self._bridge.stdin is not None:
                self._bridge.stdin.close()
            self._bridge = None

    def forget_bridge(self) -> None:
        """Let the next bridge be a new one, with an empty spool."""
        shutil.rmtree(self.folder / "spool", ignore_errors=True)
        (self.folder / "bridge.log").unlink(missing_ok=True)

    def endings(self) -> list[dict[str, Any]]:
        """The records of how instances ended, oldest first."""
        return [json.loads(self.objects.get(name)[0]) for name in sorted(self.objects.list("endings/"))]

    def wait_for_ending(self, number: int, seconds: float) -> dict[str, Any]:
        """The `number`-th record, waited for."""
        wait_for(lambda: len(self.objects.list("endings/")) >= number, f"ending {number} is recorded", seconds)
        return self.endings()[number - 1]

    def metrics(self) -> dict[str, Any]:
        """metrics.json as the trainer last wrote it; empty before."""
        names = self.objects.list("metrics.json")
        return dict(json.loads(self.objects.get(names[0])[0])) if names else {}

    def steps(self) -> int:
        """How many steps the trainer has taken in, as metrics.json says."""
        return int(self.metrics().get("steps", 0))

    def saved_steps(self) -> int:
        """Steps of the newest checkpoint in the bucket; 0 before there is one."""
        names = self.objects.list("checkpoints/LATEST")
        return int(json.loads(self.objects.get(names[0])[0])["steps"]) if names else 0

    def shipped_log(self, instance: Instance) -> str:
        """The journal of an instance as the bucket has it."""
        names = sorted(name for name in self.objects.list(f"logs/{instance.id}/") if name.endswith(".log.gz"))
        return "".join(gzip.decompress(self.objects.get(name)[0]).decode(errors="replace") for name in names)

    def check_experience(self, cars: int, ticks: int) -> None:
        """Hold that the bucket has each row of the bridge's script once, and nothing else."""
        batches = batches_in_bucket(self.objects)
        streams = {stream for stream, _ in batches}
        assert len(streams) == 1, f"the bucket has the streams {streams}"
        numbers = sorted(number for _, number in batches)
        assert numbers == list(range(1, len(numbers) + 1))
        ordered = [batches[streams.copy().pop(), number] for number in numbers]
        check_whole(Script(7, cars), ticks, (decode_batch(blob, racing().spaces.layout) for blob in ordered))

    def cloud_objects(self, prefix: str) -> list[str]:
        """Keys in the bucket, outside of the run's folder too."""
        s3 = self.cloud.aws.client("s3")
        found = s3.list_objects_v2(Bucket=self.deployment["bucket"], Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def leftovers(self) -> list[str]:
        """What of the deployment AWS still has, apart from ended instances."""
        client = self.cloud.aws.client
        reservations = client("ec2").describe_instances()["Reservations"]
        instances = [one for reservation in reservations for one in reservation["Instances"]]
        found: list[str] = [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"]
        found += [one["PublicIp"] for one in client("ec2").describe_addresses()["Addresses"]]
        found += [one["GroupName"] for one in client("ec2").describe_security_groups()["SecurityGroups"]]
        found += [one["LaunchTemplateName"] for one in client("ec2").describe_launch_templates()["LaunchTemplates"]]
        found += [one["Name"] for one in client("s3").list_buckets()["Buckets"]]
        found += [one["RoleName"] for one in client("iam").list_roles()["Roles"]]
        found += [one["Name"] for one in client("ssm").describe_parameters()["Parameters"]]
        groups = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        found += [one["AutoScalingGroupName"] for one in groups]
        # What AWS itself makes and keeps.
        return [name for name in found if name != "default" and not name.startswith(("/aws/", "AWSServiceRole"))]

    def story(self) -> str:
        """What is known of the run, for a failure."""
        endings = self.endings() if self.deployment else []
        parts = [f"endings: {endings}", "the bridge:", self.bridge_log()[-1500:]]
        for instance in self.cloud.instances:
            lines = [line for line in instance.box.log().splitlines() if line.startswith(("ac-", "cloud-init:"))]
            parts += [f"{instance.id}, {instance.box.age:.1f} s:", *lines[-40:]]
        return "\n".join(parts)

    def _at_home(self, module: str, *arguments: str) -> list[str]:
        ip = shutil.which("ip") or "ip"
        return [ip, "netns", "exec", self.cloud.network.home, sys.executable, "-m", module, *arguments]

    def _environment(self) -> dict[str, str]:
        aws = environment(ENDPOINT)
        return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | aws
