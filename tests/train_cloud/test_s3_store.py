"""What only a bucket has, against a real S3 server: pages, parts, and an error of the right kind for each trouble."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.support.moto_s3 import MotoS3, s3
from train_cloud import s3_store
from train_cloud.object_store import (
    ObjectStoreDenied,
    ObjectStoreUnavailable,
)
from train_cloud.open_store import open_store
from train_cloud.s3_store import PART_BYTES

__all__ = ["s3"]


def test_a_key_is_the_object_s_name_in_the_bucket(s3: MotoS3) -> None:
    open_store(s3.bucket, "runs/one/").put("metrics.json", b"{}")
    assert s3.client().get_object(Bucket=s3.bucket.name, Key="runs/one/metrics.json")["Body"].read() == b"{}"


def test_a_server_on_this_machine_is_reached_past_any_proxy(s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    objects = open_store(s3.bucket, "runs/one/")
    objects.put("a", b"x")
    assert objects.list() == ["a"]


@pytest.mark.slow
def test_more_keys_than_a_page_are_all_listed(s3: MotoS3) -> None:
    client = s3.client()
    for number in range(1005):
        client.put_object(Bucket=s3.bucket.name, Key=f"runs/one/{number:06d}", Body=b"")
    assert len(open_store(s3.bucket, "runs/one/").list()) == 1005


def test_a_bucket_that_does_not_exist_is_named(s3: MotoS3) -> None:
    with pytest.raises(ObjectStoreDenied, match="no-such-bucket"):
        open_store(msgspec.structs.replace(s3.bucket, name="no-such-bucket"), "runs/one/").put("a", b"")


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
    objects = open_store(s3.bucket, "runs/one/")
    s3.fail(status)
    for call in (lambda: objects.put("a", b"x"), lambda: objects.get("a"), lambda: objects.list()):
        with pytest.raises(kind):
            call()


def test_a_server_that_never_answers_is_given_up(s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "READ_SECONDS", 0.5)
    objects = open_store(s3.bucket, "runs/one/")
    s3.hang()
    before = s3.requests
    with pytest.raises(ObjectStoreUnavailable, match="did not answer"):
        objects.put("a", b"x")
    assert s3.requests == before + 1, "a call is one attempt"


def test_a_server_that_is_not_there_is_unavailable(s3: MotoS3) -> None:
    objects = open_store(s3.bucket, "runs/one/")
    s3.stop()
    with pytest.raises(ObjectStoreUnavailable):
        objects.get("a")


def test_a_file_longer_than_a_part_arrives_whole(s3: MotoS3, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(PART_BYTES + 1))
    objects = open_store(s3.bucket, "env/")
    objects.put_file("large", file)
    assert objects.get("large")[0] == file.read_bytes()


def test_without_a_url_of_its_own_the_bucket_is_where_the_environment_says(
    s3: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    open_store(msgspec.structs.replace(s3.bucket, endpoint_url=None), "runs/a/").put("x", b"data")
    assert open_store(s3.bucket, "runs/a/").get("x")[0] == b"data"
