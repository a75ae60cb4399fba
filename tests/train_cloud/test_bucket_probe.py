"""Servers that speak S3 in a manner of their own: what a run can do with is done, what it cannot is a sentence."""

from pathlib import Path

import pytest

from tests.support.moto_s3 import MotoS3, s3
from tests.support.odd_s3 import OddS3, odd
from train_cloud.bucket_probe import probe
from train_cloud.object_store import ObjectStore, ObjectStoreUnfit
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig

__all__ = ["odd", "s3"]


def objects_of(server: OddS3 | MotoS3) -> ObjectStore:
    return open_store(server.bucket, "runs/one/")


def test_a_sound_server_is_tried_without_a_word_and_without_a_trace(
    s3: MotoS3, odd: OddS3, caplog: pytest.LogCaptureFixture
) -> None:
    probe(objects_of(odd))
    assert odd.objects == {}
    assert len(odd.requests) == 4
    objects = objects_of(s3)
    probe(objects)
    assert objects.list() == []
    assert not caplog.text


def test_aws_itself_is_not_tried() -> None:
    objects = open_store(BucketConfig(name="no-such-bucket"), "runs/one/")
    assert objects.is_aws
    probe(objects)


def test_writes_over_tls_are_plain_so_that_a_server_without_chunks_takes_them(odd: OddS3, tmp_path: Path) -> None:
    odd.manners.add("refuses chunks")
    objects = objects_of(odd)
    objects.put("small", b"content")
    file = tmp_path / "file"
    file.write_bytes(b"longer content")
    objects.put_file("file", file)
    assert [body for body, _ in odd.objects.values()] == [b"content", b"longer content"]


def test_a_server_that_names_objects_by_another_hash_is_believed_by_the_length(odd: OddS3) -> None:
    odd.manners.add("names by another hash")
    objects = objects_of(odd)
    etag = objects.put("x", b"content")
    assert objects.get("x") == (b"content", etag)
    probe(objects)


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("keeps half", "of its 7 bytes 3 are there"),
        ("keeps nothing", "of its 7 bytes nothing is there"),
        ("names nothing", "without an ETag"),
    ],
)
def test_a_write_that_became_something_else_is_no_write(odd: OddS3, tmp_path: Path, manner: str, said: str) -> None:
    odd.manners |= {manner, "names by another hash"}
    objects = objects_of(odd)
    with pytest.raises(ObjectStoreUnfit, match=said):
        objects.put("x", b"content")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    if manner != "names nothing":
        with pytest.raises(ObjectStoreUnfit, match=said):
            objects.put_file("x", file)
    with pytest.raises(ObjectStoreUnfit):
        probe(objects)


def test_content_that_is_changed_is_noticed_at_the_start(odd: OddS3) -> None:
    odd.manners.add("swaps content")
    with pytest.raises(ObjectStoreUnfit, match="does not keep what is written"):
        probe(objects_of(odd))


def test_a_server_that_ignores_conditions_is_told_of(odd: OddS3, caplog: pytest.LogCaptureFixture) -> None:
    odd.manners.add("ignores conditions")
    probe(objects_of(odd))
    assert "ignores If-None-Match and If-Match: training works, but a second trainer" in caplog.text
    assert odd.objects == {}


def test_a_server_that_refuses_conditions_gets_none(odd: OddS3, caplog: pytest.LogCaptureFixture) -> None:
    odd.manners.add("refuses conditions")
    objects = objects_of(odd)
    with pytest.raises(ObjectStoreUnfit, match="does not know how to do that"):
        objects.put("LATEST", b"1", if_none_match=True)
    probe(objects)
    assert "refuses conditional writes: training works, but a second trainer" in caplog.text
    objects.put("LATEST", b"1", if_none_match=True)
    assert objects.get("LATEST")[0] == b"1"


def test_a_server_that_refuses_deletions_is_told_of(odd: OddS3, caplog: pytest.LogCaptureFixture) -> None:
    odd.manners.add("refuses deletions")
    probe(objects_of(odd))
    assert "does not let us delete: training works" in caplog.text
