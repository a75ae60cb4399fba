"""The installed environment goes into the bucket once and comes out as it was; a broken one is replaced."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.instance import BUCKET, InstanceSite
from tests.support.instance import site as site
from tests.support.tools import need_tools
from train_cloud.instance.environment import store_environment
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.s3_store import PART_BYTES

KEY = "env/0123abcd.tar.zst"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder like a venv: a file that does not compress, longer than a part, a program and a link."""
    folder = tmp_path / "env"
    (folder / "bin").mkdir(parents=True)
    (folder / "big").write_bytes(os.urandom(PART_BYTES + 12345))
    (folder / "bin/program").write_text("#!/bin/sh\n")
    (folder / "bin/program").chmod(0o755)
    (folder / "bin/python").symlink_to("/usr/bin/python3")
    return folder


def everything(site: InstanceSite) -> ObjectStore:
    return open_store(site.deployment().run.bucket, "")


def test_an_environment_comes_back_by_zstd_and_tar_as_it_was(
    site: InstanceSite, environment: Path, tmp_path: Path
) -> None:
    need_tools("zstd", "tar")
    store_environment(everything(site), environment, KEY, 0.0)
    archive = tmp_path / "archive"
    site.aws.client("s3").download_file(BUCKET, KEY, str(archive))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(f"zstd -dcq {archive} | tar --extract --directory {out}", shell=True, check=True)
    assert (out / "big").read_bytes() == (environment / "big").read_bytes()
    assert (out / "bin/program").stat().st_mode & 0o777 == 0o755
    assert (out / "bin/python").readlink() == Path("/usr/bin/python3")


def test_an_archive_that_could_not_be_restored_is_replaced(site: InstanceSite, environment: Path) -> None:
    everything(site).put(KEY, b"cut off")
    store_environment(everything(site), environment, KEY, 0.0)
    assert len(everything(site).get(KEY)[0]) > PART_BYTES
