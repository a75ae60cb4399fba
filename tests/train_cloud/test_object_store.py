"""What every place for a run's objects promises, tried on a real S3 server and on a real folder."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.moto_s3 import MotoS3, s3
from train_cloud.bucket_probe import probe
from train_cloud.object_store import ObjectNotFound, ObjectStore, PreconditionFailed
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig

__all__ = ["s3"]

Open = Callable[[str], ObjectStore]


@pytest.fixture(params=["bucket", "folder"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens what lies under a prefix of one place, which is made ready."""
    if request.param == "bucket":
        server: MotoS3 = request.getfixturevalue("s3")
        bucket = server.bucket
    else:
        bucket = BucketConfig(folder=str(tmp_path / "kept"))
    open_store(bucket, "").prepare()
    return lambda prefix: open_store(bucket, prefix)


def test_an_object_is_read_back_with_its_etag(opened: Open) -> None:
    objects = opened("runs/one/")
    etag = objects.put("metrics.json", b"{}")
    assert objects.get("metrics.json") == (b"{}", etag)
    assert etag == '"99914b932bd37a50b983c5e7c90ae93b"', "the MD5, which does not change when a run moves"
    assert abs((datetime.now(UTC) - objects.written_at("metrics.json")).total_seconds()) < 60
    assert objects.put("metrics.json", b"[]") != etag
    assert objects.find("metrics.json") == b"[]"


def test_keys_are_listed_in_order_within_the_run(opened: Open) -> None:
    one, two = opened("runs/one/"), opened("runs/two/")
    for key in ("b/2", "b/1", "a", "b-c", "b/d/e"):
        one.put(key, key.encode())
    two.put("b/3", b"x")
    assert one.list() == ["a", "b-c", "b/1", "b/2", "b/d/e"]
    assert one.list("b/") == ["b/1", "b/2", "b/d/e"]
    assert one.list("b") == ["b-c", "b/1", "b/2", "b/d/e"], "a prefix is no folder"
    assert one.list("absent/") == one.list("../two/") == []
    assert one.sizes("b/") == {"b/1": 3, "b/2": 3, "b/d/e": 5}
    assert opened("").list() == [*(f"runs/one/{key}" for key in one.list()), "runs/two/b/3"]


def test_what_is_deleted_is_gone_and_may_be_written_anew(opened: Open) -> None:
    objects = opened("runs/one/")
    objects.put("a/b/c", b"1")
    objects.put("a/d", b"2")
    objects.delete("a/b/c")
    objects.delete("a/b/c")
    objects.delete("never/was")
    assert objects.list() == ["a/d"]
    objects.put("a/b/c", b"3", if_none_match=True)
    assert objects.find("a/b/c") == b"3"


def test_a_missing_object_is_not_found(opened: Open) -> None:
    objects = opened("runs/one/")
    objects.put("there", b"x")
    for key in ("absent", "there/too", "absent/too", "../one/there"):
        with pytest.raises(ObjectNotFound, match="no such object"):
            objects.get(key)
        assert objects.find(key) is None


def test_two_writers_of_one_object_notice_each_other(opened: Open) -> None:
    mine, theirs = opened("runs/one/"), opened("runs/one/")
    first = mine.put("LATEST", b"1", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        theirs.put("LATEST", b"2", if_none_match=True)
    theirs.put("LATEST", b"2", if_match=first)
    with pytest.raises(PreconditionFailed):
        mine.put("LATEST", b"3", if_match=first)
    assert mine.get("LATEST")[0] == b"2"
    mine.delete("LATEST")
    with pytest.raises(ObjectNotFound):
        theirs.put("LATEST", b"3", if_match=first)


def test_a_large_file_arrives_whole(opened: Open, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(3 * 2**20 + 1))
    objects = opened("env/")
    objects.put_file("large", file)
    assert objects.get("large")[0] == file.read_bytes()
    with pytest.raises(FileNotFoundError):
        objects.put_file("absent", tmp_path / "absent")
    assert objects.list() == ["large"]


def test_a_start_finds_nothing_to_say_of_it(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    objects = opened("runs/one/")
    probe(objects)
    assert objects.conditional
    assert not caplog.records
    assert objects.list() == []
