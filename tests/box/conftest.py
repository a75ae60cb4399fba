"""What the tests in a box share: the image, clouds that leave nothing behind, the environment of the first boot."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.box import image
from tests.box.cloud import Cloud
from tests.box.world import World
from tests.support.tools import need_root, need_tools

TOOLS = ("ip", "iptables", "systemd-nspawn", "mmdebstrap", "journalctl", "nsenter", "terraform")
OpenCloud = Callable[[str], AbstractContextManager[Cloud]]


@pytest.fixture(scope="session")
def machine_image() -> Path:
    """The root folder of the image; made first where it is missing."""
    need_tools(*TOOLS)
    need_root()
    return image.build()


@pytest.fixture(scope="session")
def environments() -> dict[str, bytes]:
    """Python environments that instances have built and stored, by key: the next stack's bucket begins with them."""
    return {}


@pytest.fixture(scope="session")
def open_cloud(machine_image: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenCloud:
    """Open an empty AWS of that name; at its end nothing of it may be left."""

    @contextmanager
    def opened(name: str) -> Iterator[Cloud]:
        cloud = Cloud(tmp_path_factory.mktemp(name), machine_image)
        with pytest.MonkeyPatch.context() as patch:
            for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(variable, "testing")
            patch.delenv("AWS_PROFILE", raising=False)
            try:
                with cloud:
                    yield cloud
            finally:
                for instance in cloud.instances:
                    instance.box.discard()
        assert cloud.leftovers() == []

    return opened


def keep_environments(world: World, environments: dict[str, bytes]) -> None:
    """Take the environments of the world's bucket along."""
    s3 = world.cloud.aws.client("s3")
    bucket = world.deployment["bucket"]
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix="env/").get("Contents", []):
        environments[entry["Key"]] = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()


def seed_environments(world: World, environments: dict[str, bytes]) -> None:
    """Put them into the world's bucket."""
    s3 = world.cloud.aws.client("s3")
    for key, content in environments.items():
        s3.put_object(Bucket=world.deployment["bucket"], Key=key, Body=content)
