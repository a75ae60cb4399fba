"""The bucket, against a real S3 server: objects, conditions, and an error of the right kind for each trouble."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.support.moto_s3 import MotoS3, s3
from train_cloud import object_store
from train_cloud.object_store import (
    PART_BYTES,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreUnavailable,
    PreconditionFailed,
)

__all__ = ["s3"]


def test_an_object_is_read_back_with_its_etag(s3: MotoS3) -> None:
    objects = ObjectStore(s3.bucket, "runs/one/")
    etag = objects.put("metrics.json", b"{}")
    assert objects.get("metrics.json") == (b"{}", etag)
    assert s3.client().get_object(Bucket=s3.bucket.name, Key="runs/one/metrics.json")["Body"].read() == b"{}"
    assert abs((datetime.now(UTC) - objects.written_at("metrics.json")).total_seconds()) < 60


def test_a_server_on_this_machine_is_reached_past_any_proxy(s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    objects = ObjectStore(s3.bucket, "runs/one/")
    objects.put("a", b"x")
    assert objects.list() == ["a"]


def test_keys_are_listed_in_order_within_the_run(s3: MotoS3) -> None:
    one, two = ObjectStore(s3.bucket, "runs/one/"), ObjectStore(s3.bucket, "runs/two/")
    for key in ("b/2", "b/1", "a"):
        one.put(key, b"x")
    two.put("b/3", b"x")
    assert one.list() == ["a", "b/1", "b/2"]
    assert one.list("b/") == ["b/1", "b/2"]


@pytest.mark.slow
def test_more_keys_than_a_page_are_all_listed(s3: MotoS3) -> None:
    client = s3.client()
    for number in range(1005):
        client.put_object(Bucket=s3.bucket.name, Key=f"runs/one/{number:06d}", Body=b"")
    assert len(ObjectStore(s3.bucket, "runs/one/").list()) == 1005


def test_a_missing_object_is_not_found(s3: MotoS3) -> None:
    with pytest.raises(ObjectNotFound, match="no such object"):
        ObjectStore(s3.bucket, "runs/one/").get("absent")


def test_two_writers_of_one_object_notice_each_other(s3: MotoS3) -> None:
    mine, theirs = ObjectStore(s3.bucket, "runs/one/"), ObjectStore(s3.bucket, "runs/one/")
    first = mine.put("LATEST", b"1", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        theirs.put("LATEST", b"2", if_none_match=True)
    theirs.put("LATEST", b"2", if_match=first)
    with pytest.raises(PreconditionFailed):
        mine.put("LATEST", b"3", if_match=first)
    assert mine.get("LATEST")[0] == b"2"


def test_a_bucket_that_does_not_exist_is_named(s3: MotoS3) -> None:
    with pytest.raises(ObjectStoreDenied, match="no-such-bucket"):
        ObjectStore(msgspec.structs.replace(s3.bucket, name="no-such-bucket"), "runs/one/").put("a", b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("503 Slow Down", ObjectStoreUnavailable),
        ("500 Internal Server Error", ObjectStoreUnavailable),
        ("403 Forbidden", ObjectStoreDenied),
    ],
)
def test_a_server_that_answers_errors_gives_an_error_of_its_kind(
    s3: MotoS3, status: str, kind: type[Exception]
) -> None:
    objects = ObjectStore(s3.bucket, "runs/one/")
    s3.fail(status)
    for call in (lambda: objects.put("a", b"x"), lambda: objects.get("a"), lambda: objects.list()):
        with pytest.raises(kind):
            call()


def test_a_server_that_never_answers_is_given_up(s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "READ_SECONDS", 0.5)
    objects = ObjectStore(s3.bucket, "runs/one/")
    s3.hang()
    before = s3.requests
    with pytest.raises(ObjectStoreUnavailable, match="did not answer"):
        objects.put("a", b"x")
    assert s3.requests == before + 1, "a call is one attempt"


def test_a_server_that_is_not_there_is_unavailable(s3: MotoS3) -> None:
    objects = ObjectStore(s3.bucket, "runs/one/")
    s3.stop()
    with pytest.raises(ObjectStoreUnavailable):
        objects.get("a")


def test_a_file_longer_than_a_part_arrives_whole(s3: MotoS3, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(PART_BYTES + 1))
    objects = ObjectStore(s3.bucket, "env/")
    objects.put_file("large", file)
    assert objects.get("large")[0] == file.read_bytes()


def test_without_a_url_of_its_own_the_bucket_is_where_the_environment_says(
    s3: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    ObjectStore(msgspec.structs.replace(s3.bucket, endpoint_url=None), "runs/a/").put("x", b"data")
    assert ObjectStore(s3.bucket, "runs/a/").get("x")[0] == b"data"
