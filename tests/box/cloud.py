"""A small AWS whose instances are boxes: moto decides which instances exist, and this makes them real.

Moto is S3, SSM, Auto Scaling and EC2; an instance of a group that moto calls running is booted with the user_data that
moto stored for it. When a box ends by itself, EC2 hears of it and the group replaces it, if it is to have one; when
moto terminates an instance, its box is shut down in order. An Elastic IP leads to the box that it is associated with.
Spot's ways (capacity, notice, rebalance hint, taking back) are at the test's command. All servers run in the test's
process, on sockets made in the cloud's namespace.
"""

import base64
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.box.box import Box
from tests.box.gate import Gate
from tests.box.network import CLOUD_ADDRESS, METADATA_ADDRESS, InstanceLink, Network, inside
from tests.support.aws_server import ACCOUNT, REGION, AwsServer
from tests.support.imds import Imds, Metadata
from tests.support.waiting import wait_until

PORT = 8080
ENDPOINT = f"http://{CLOUD_ADDRESS}:{PORT}"
"""Where AWS is, for instances and at home."""
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 90.0
"""EC2 gives a shutdown about as long before it pulls the plug."""


@dataclass
class Instance:
    """One instance of a group: what AWS knows of it, and its box."""

    id: str
    group: str
    link: InstanceLink
    metadata: Metadata
    box: Box
    launched_at: float = field(default_factory=time.monotonic)
    told_to_stop_at: float | None = None
    gone: bool = False
    """Its end has been reported, and all of it but its disk removed."""

    def give_notice(self, seconds: float = 120.0) -> None:
        """EC2 says that it takes the instance back in `seconds`."""
        self.metadata.give_notice(seconds)

    def recommend_rebalance(self) -> None:
        """EC2 hints that the instance may soon be taken back."""
        self.metadata.rebalance = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cloud:
    """Everything runs while the context is open; afterwards no box, namespace or mount of it is left.

    `files` (path to content) are laid over the disk of each box that boots from now on, and `environment` is what
    systemd in it gives every service, beside the address of AWS. Without `capacity` no instance boots until there is.
    """

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self.image = folder, image
        self.network, self.gate = Network(), Gate()
        self.files: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.capacity = True
        self.instances: list[Instance] = []
        self.problems: list[BaseException] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ec2", daemon=True)

    def __enter__(self) -> "Cloud":
        self.network.__enter__()
        try:
            host = socket.create_server(("127.0.0.1", 0))
            cloud = inside(self.network.cloud, lambda: socket.create_server((CLOUD_ADDRESS, PORT)))
            self.aws = AwsServer(wrap=self.gate.wrap, fds=[host.detach(), cloud.detach()])
            self.aws.reset()
            self.imds = inside(self.network.cloud, lambda: Imds(self._metadata_of, METADATA_ADDRESS, 80))
            self.imds.__enter__()
        except BaseException:
            self.network.__exit__(None, None, None)
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(120)
        for instance in self.instances:
            if not instance.gone:
                instance.box.close()
        self.imds.__exit__()
        self.aws.stop()
        self.network.__exit__(None, None, None)

    def leftovers(self) -> list[str]:
        """What should not be there any more after the end, and is."""
        return self.network.leftovers() + [one for instance in self.instances for one in instance.box.leftovers()]

    def of_group(self, group: str) -> list[Instance]:
        """The instances of that group, the oldest first, those that are gone too."""
        return [instance for instance in self.instances if instance.group == group]

    def wait_for_instance(self, group: str, number: int = 1, seconds: float = 60.0) -> Instance:
        """The `number`-th instance that the group ever had, as soon as its box boots."""
        wait_until(lambda: self._check() and len(self.of_group(group)) >= number, f"{group} launches", seconds)
        return self.of_group(group)[number - 1]

    def take_back(self, instance: Instance) -> None:
        """Spot takes the instance: its power is gone at once, and EC2 knows it."""
        instance.box.lose_power()
        self.wait_gone(instance, 20.0)

    def wait_gone(self, instance: Instance, seconds: float) -> float:
        """Wait until the instance has ended and the group knows; returns how many seconds it lived."""
        wait_until(lambda: self._check() and instance.gone, f"{instance.id} ends", seconds)
        return instance.box.age

    def desired_capacity(self, group: str) -> int:
        """How many instances the group is to have."""
        found = self.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return int(found["AutoScalingGroups"][0]["DesiredCapacity"])

    def _check(self) -> bool:
        if self.problems:
            raise AssertionError("the emulation of EC2 failed") from self.problems[0]
        return True

    def _metadata_of(self, address: str) -> Metadata | None:
        return next((one.metadata for one in self.instances if not one.gone and one.link.private == address), None)

    def _follow(self) -> None:
        ec2 = self.aws.client("ec2")
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self._look(ec2)
            except BaseException as error:
                self.problems.append(error)
                return

    def _look(self, ec2: Any) -> None:
        reservations = ec2.describe_instances()["Reservations"]
        states = {one["InstanceId"]: one for reservation in reservations for one in reservation["Instances"]}
        known = {instance.id: instance for instance in self.instances}
        for name, described in states.items():
            group = _group_of(described)
            if self.capacity and group and name not in known and described["State"]["Name"] in ("pending", "running"):
                self._launch(ec2, name, group, described)
        for instance in self.instances:
            if not instance.gone:
                described = states.get(instance.id)
                self._tend(ec2, instance, described is None or described["State"]["Name"] not in ("pending", "running"))
        for address in ec2.describe_addresses()["Addresses"]:
            owner = known.get(address.get("InstanceId", ""))
            if owner is not None and not owner.gone and owner.metadata.public_ip != address["PublicIp"]:
                self.network.route(address["PublicIp"], owner.link)
                owner.metadata.public_ip = address["PublicIp"]

    def _launch(self, ec2: Any, name: str, group: str, described: dict[str, Any]) -> None:
        folder = self.folder / name
        folder.mkdir(parents=True)
        stored = ec2.describe_instance_attribute(InstanceId=name, Attribute="userData")["UserData"]
        (folder / "user-data").write_bytes(base64.b64decode(stored["Value"]))
        link = self.network.add_instance()
        key, secret, token = self.gate.issue()
        metadata = Metadata(
            instance_id=name,
            instance_type=described.get("InstanceType", "g4dn.xlarge"),
            region=REGION,
            availability_zone=described.get("Placement", {}).get("AvailabilityZone", f"{REGION}a"),
            private_ip=link.private,
            public_ip=link.public,
            hostname=f"ip-{link.private.replace('.', '-')}.ec2.internal",
            mac=link.mac,
            ami_id=described.get("ImageId", "ami-0"),
            account=ACCOUNT,
            user_data=str(folder / "user-data"),
            access_key_id=key,
            secret_access_key=secret,
            session_token=token,
        )
        settings = {"AWS_ENDPOINT_URL": ENDPOINT} | self.environment
        words = " ".join(f'"{variable}={value}"' for variable, value in settings.items())
        manager = f"[Manager]\nDefaultEnvironment={words}\n"
        files = {"/etc/systemd/system.conf.d/box.conf": manager} | self.files
        box = Box(name, folder / "box", self.image, link.namespace, files)
        self.instances.append(Instance(name, group, link, metadata, box))

    def _tend(self, ec2: Any, instance: Instance, terminated: bool) -> None:
        if instance.box.ended:
            instance.box.close()
            self.network.remove_instance(instance.link)
            if not terminated:
                ec2.terminate_instances(InstanceIds=[instance.id])
            instance.gone = True
        elif terminated and instance.told_to_stop_at is None:
            instance.told_to_stop_at = time.monotonic()
            instance.box.stop()
        elif terminated and time.monotonic() - (instance.told_to_stop_at or 0.0) > _STOP_SECONDS:
            instance.box.lose_power()


def _group_of(described: dict[str, Any]) -> str | None:
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    return tags.get("aws:autoscaling:groupName")
