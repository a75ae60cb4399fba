"""What is not S3's own yes or no is said by its name, and nothing ends by an error that nobody foresaw."""

from pathlib import Path

import boto3
import pytest

from tests.support.moto_s3 import MotoS3, s3
from tests.support.odd_s3 import OddS3, Reply, odd
from train_cloud import object_store
from train_cloud.object_store import (
    ObjectStoreAbsent,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    ObjectStoreUnfit,
    patiently,
)
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig

__all__ = ["odd", "s3"]

REGION = "<Region>eu-west-1</Region>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (Reply.page(200), ObjectStoreUnavailable, "not S3 but a web page"),
        (Reply.page(403), ObjectStoreUnavailable, "not S3 but a web page"),
        (Reply.page(404), ObjectStoreUnavailable, "not S3 but a web page"),
        (Reply(404), ObjectStoreUnavailable, "not S3 but a web page"),
        (Reply.page(302, Location="HERE"), ObjectStoreUnavailable, "302 a redirection"),
        (Reply(307, headers={"Location": "HERE"}), ObjectStoreUnavailable, "307 a redirection"),
        (Reply(200), ObjectStoreUnfit, "so it is not S3"),
        (Reply.page(503), ObjectStoreUnavailable, "answered 503"),
        (Reply.error(301, "PermanentRedirect"), ObjectStoreDenied, "in another region or at another address"),
        (
            Reply(301, headers={"x-amz-bucket-region": "eu-west-1"}),
            ObjectStoreDenied,
            "in the region eu-west-1",
        ),
        (Reply.error(400, "AuthorizationHeaderMalformed", REGION), ObjectStoreDenied, "in the region eu-west-1"),
        (Reply.error(400, "IllegalLocationConstraintException"), ObjectStoreDenied, "Set bucket.region"),
        (Reply.error(400, "ExpiredToken"), ObjectStoreDenied, "have expired"),
        (Reply.error(403, "InvalidAccessKeyId"), ObjectStoreDenied, "does not know the access key"),
        (Reply.error(403, "SignatureDoesNotMatch"), ObjectStoreDenied, "secret does not belong"),
        (Reply.error(403, "RequestTimeTooSkewed"), ObjectStoreUnavailable, "clock is wrong"),
        (Reply.error(403, "AccessDenied"), ObjectStoreDenied, "403 AccessDenied.*permissions"),
        (Reply.error(404, "NoSuchBucket"), ObjectStoreAbsent, "does not exist"),
        (Reply.error(400, "InvalidRequest"), ObjectStoreDenied, "takes no such request"),
        (Reply.error(501, "NotImplemented"), ObjectStoreUnfit, "does not know how to do that"),
        (Reply(200, b"<not xml"), ObjectStoreError, "not S3|answered 500"),
    ],
)
def test_each_answer_is_told_by_its_name(
    odd: OddS3, reply: Reply, kind: type[ObjectStoreError], said: str, tmp_path: Path
) -> None:
    odd.replies.append(reply)
    objects = open_store(odd.bucket, "runs/one/")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for call in (
        lambda: objects.put("a", b"x"),
        lambda: objects.get("a"),
        lambda: objects.find("a"),
        lambda: objects.list(),
    ):
        odd.requests.clear()
        with pytest.raises(kind, match=said):
            call()
        assert len(odd.requests) <= 3, "a redirection is not followed without end"
    with pytest.raises(ObjectStoreError):
        objects.put_file("a", file)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # It remembers credentials.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def never(seconds: float) -> bool:
    raise AssertionError(f"nothing is waited for, not even {seconds} s")


@pytest.mark.usefixtures("s3", "no_credentials")
def test_missing_credentials_end_at_once_on_a_pc(s3: MotoS3) -> None:
    objects = open_store(s3.bucket, "runs/one/")
    with pytest.raises(ObjectStoreUnfit, match="no AWS credentials were found"):
        patiently(objects.list, "listing", never)


def test_a_missing_bucket_ends_at_once_on_a_pc(s3: MotoS3) -> None:
    objects = open_store(BucketConfig(name="not-made", endpoint_url=s3.endpoint_url), "runs/one/")
    with pytest.raises(ObjectStoreUnfit, match=r"the bucket does not exist.*aws s3 mb"):
        patiently(objects.list, "listing", never)


def test_an_instance_waits_for_its_role(s3: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "instance.json").touch()
    monkeypatch.setattr(object_store, "INSTANCE_FILE", tmp_path / "instance.json")
    objects = open_store(BucketConfig(name="made-later", endpoint_url=s3.endpoint_url), "runs/one/")

    def wait(seconds: float) -> bool:
        s3.client().create_bucket(Bucket="made-later")
        return seconds < 0

    assert patiently(objects.list, "listing", wait) == []


def test_a_profile_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody-has-this")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(ObjectStoreAbsent, match=r"nobody-has-this.*Check AWS_PROFILE"):
        open_store(BucketConfig(name="some-bucket"), "runs/one/")
