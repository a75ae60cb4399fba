"""The objects of a run in an S3 bucket.

It asks only for what every S3 server understands, not for AWS's newer checksums, and looks at what a write has become.
A call makes one attempt; a large object on a slow line may take longer than CALL_SECONDS as long as bytes move.
Credentials come from boto3's usual chain and never appear in an error.
"""

import errno
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from train_cloud.object_store import (
    CONNECT_SECONDS,
    INSTANCE_FILE,
    READ_SECONDS,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreAbsent,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    ObjectStoreUnfit,
    PreconditionFailed,
)
from train_cloud.run_config import BucketConfig
from wire.pairing import is_loopback

PART_BYTES = 16 * 2**20
"""Size of the parts in which a file is uploaded."""
PART_ATTEMPTS = 5


def s3_client(bucket: BucketConfig, attempts: int = 1) -> Any:
    """A boto3 client for the bucket's server: one attempt a call, short timeouts, no proxy towards this machine.

    Raises ObjectStoreAbsent when this machine's AWS settings cannot be used.
    """
    local = bucket.endpoint_url is not None and is_loopback(urlsplit(bucket.endpoint_url).hostname or "")
    settings = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": attempts},
        s3={"addressing_style": "path" if bucket.endpoint_url else "auto"},
        # By default boto3 sends writes in chunks with a checksum behind them, which other servers refuse or store.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # None takes what HTTP_PROXY names, which has another idea of what 127.0.0.1 is.
        proxies={} if local else None,
    )
    try:
        client = boto3.client("s3", region_name=bucket.region, endpoint_url=bucket.endpoint_url, config=settings)
    except (BotoCoreError, ValueError) as error:
        raise ObjectStoreAbsent(
            f"AWS's settings on this machine cannot be used: {error}. Check AWS_PROFILE, AWS_ENDPOINT_URL and ~/.aws."
        ) from error
    # boto3 answers a redirection by asking for the bucket's head, which may be redirected in turn, without end.
    client.meta.events.register("before-call.s3.HeadBucket", _follow_no_further)
    return client


def _follow_no_further(context: dict[str, Any], **_: object) -> None:
    context.setdefault("s3_redirect", {})["redirected"] = True


class S3Store(ObjectStore):
    """Objects of one run in a bucket."""

    def __init__(self, bucket: BucketConfig, prefix: str) -> None:
        assert bucket.name is not None
        self.bucket, self.prefix, self._config = bucket.name, prefix, bucket
        self.place = f"{bucket.place}/{prefix}"
        self._client = s3_client(bucket)

    @property
    def is_aws(self) -> bool:
        host = str(urlsplit(self._client.meta.endpoint_url).hostname)
        return INSTANCE_FILE.exists() or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def prepare(self) -> None:
        """Nothing: a bucket is its owner's to make."""

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        conditions = {} if if_match is None else {"IfMatch": if_match}
        if if_none_match:
            conditions["IfNoneMatch"] = "*"
        if not self.conditional:
            conditions = {}
        with self._typed_errors("write", key):
            answer = self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, **conditions)
            etag = self._etag(answer, key)
            # Where the server encrypts by a key of its own, the ETag is something else than the content's MD5.
            if etag.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest():
                self._look(key, len(data), etag)
        return etag

    def put_file(self, key: str, file: Path) -> None:
        """Write an object of any size from a file, in parts.

        A part is tried PART_ATTEMPTS times: the rest of a large object must not begin again because of one.
        """
        parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2)
        client = s3_client(self._config, PART_ATTEMPTS)
        with self._typed_errors("write", key), file.open("rb") as content:
            client.upload_fileobj(content, self.bucket, self.prefix + key, Config=parts)
            self._look(key, file.stat().st_size)

    def get(self, key: str) -> tuple[bytes, str]:
        with self._typed_errors("read", key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            return answer["Body"].read(), self._etag(answer, key)

    def written_at(self, key: str) -> datetime:
        with self._typed_errors("look at", key):
            head = self._client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            return head["LastModified"]  # type: ignore[no-any-return]  # boto3 is untyped

    def sizes(self, prefix: str = "") -> dict[str, int]:
        with self._typed_errors("list", prefix):
            found: dict[str, int] = {}
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                if "IsTruncated" not in page:
                    raise ObjectStoreUnfit(self._not_s3("a list", prefix))
                found |= {item["Key"].removeprefix(self.prefix): item["Size"] for item in page.get("Contents", [])}
            return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        with self._typed_errors("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def _etag(self, answer: Mapping[str, Any], key: str) -> str:
        if not answer.get("ETag"):
            if _is_page(answer["ResponseMetadata"]["HTTPHeaders"]):
                raise ObjectStoreUnavailable(f"Could not use s3://{self.bucket}: {_NOT_S3.format(200)}")
            raise ObjectStoreUnfit(self._not_s3("an ETag", key))
        return str(answer["ETag"])

    def _not_s3(self, lacking: str, key: str) -> str:
        return (
            f"The server answered about {self.place}{key} without {lacking}, so it is not S3 or "
            "something stands between. Check bucket.endpoint_url in run.json, and proxies."
        )

    def _look(self, key: str, size: int, etag: str | None = None) -> None:
        """Raise ObjectStoreUnfit unless `size` bytes lie there; what has another ETag was written since."""
        found: int | None = None
        try:
            there = self._client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            found = there["ContentLength"]
            if etag not in (None, there.get("ETag")):
                return
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        if found != size:
            raise ObjectStoreUnfit(
                f"The server said that {self.place}{key} was written, but of its {size} bytes "
                f"{'nothing is' if found is None else f'{found} are'} there. Nothing kept there would be safe: use "
                "another S3 server, or a newer version of this one."
            )

    @contextmanager
    def _typed_errors(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            kind, problem = _explained(error)
            raise kind(f"Could not {doing} {self.place}{key}: {problem}") from error


def _explained(error: Exception) -> tuple[type[ObjectStoreError], str]:
    """The kind of an error, and what happened, what it means and what to do."""
    if not isinstance(error, ClientError):
        if _out_of_files(error):
            return (
                ObjectStoreUnavailable,
                "this process has no file handle left for the call (EMFILE), so the bucket was not asked. Raise the "
                "limit of open files (LimitNOFILE, ulimit -n).",
            )
        for types, kind, text in _NO_ANSWERS:
            if isinstance(error, types):
                return kind, text
        if isinstance(error, ResponseParserError):
            return ObjectStoreUnavailable, _NOT_S3.format("its answer cannot be read")
        return ObjectStoreUnavailable, f"the bucket's server did not answer ({type(error).__name__})."
    told, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code, status, headers = str(told.get("Code", "")), int(about.get("HTTPStatusCode", 0)), about.get("HTTPHeaders", {})
    region = told.get("Region") or headers.get("x-amz-bucket-region")
    if code in _REGION_CODES or (region and status in _REDIRECTS):
        named = f"in the region {region}" if region else "in another region or at another address"
        return ObjectStoreDenied, f"the bucket is {named} ({code}). Set bucket.region in run.json to the bucket's."
    if code in _ANSWERS:
        return _ANSWERS[code]
    # boto3 tells a 200 that is no XML as a 500.
    page = status <= 500 and _is_page(headers)
    if page or status in _REDIRECTS or (status == 404 and code == "404"):
        return ObjectStoreUnavailable, _NOT_S3.format(f"{status}{' a redirection' if status in _REDIRECTS else ''}")
    answer = str(status) if code == str(status) else f"{status} {code}"
    if status == 501 or code == "NotImplemented":
        return ObjectStoreUnfit, f"the bucket's server does not know how to do that ({answer})."
    if status == 404:
        return ObjectNotFound, f"there is no such object ({code})."
    if status in (409, 412):
        return PreconditionFailed, f"it was changed by another writer ({code})."
    if status >= 500 or status in (408, 429):
        return ObjectStoreUnavailable, f"the bucket's server answered {answer}."
    if status in (401, 403):
        return ObjectStoreDenied, f"the bucket's server refused ({answer}). Check the role's permissions, or the key's."
    return ObjectStoreDenied, f"the bucket's server takes no such request ({answer}). Check bucket.endpoint_url."


def _out_of_files(error: BaseException | None) -> bool:
    """Whether an error comes from the limit of open files, whatever was made of it on its way."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_page(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith(("text/html", "application/json"))


_NOT_S3 = (
    "what answered is not S3 but a web page or another service ({}): a proxy, a sign-in page of the network, or a "
    "wrong address. Check the network, and bucket.endpoint_url in run.json."
)
_REDIRECTS = (301, 302, 303, 307, 308)
_REGION_CODES = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_EXPIRED = (
    ObjectStoreDenied,
    "the AWS credentials have expired. Sign in again (aws sso login) or renew AWS_* variables.",
)
_UNKNOWN_KEY = (ObjectStoreDenied, "the server does not know the access key. Check AWS_ACCESS_KEY_ID and AWS_PROFILE.")
_WRONG_SECRET = (ObjectStoreDenied, "the secret does not belong to the access key. Check AWS_SECRET_ACCESS_KEY.")
_LATER = (ObjectStoreUnavailable, "the bucket's server asks to try later.")
_ANSWERS: dict[str, tuple[type[ObjectStoreError], str]] = {
    "NoSuchBucket": (
        ObjectStoreAbsent,
        "the bucket does not exist. Check bucket.name in run.json, or make it: aws s3 mb s3://NAME.",
    ),
    "NoSuchKey": (ObjectNotFound, "there is no such object."),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "RequestTimeTooSkewed": (ObjectStoreUnavailable, "this machine's clock is wrong by minutes. Set it."),
    "SlowDown": _LATER,
    "RequestTimeout": _LATER,
}
"""What some of S3's codes mean."""
_NO_ANSWERS: tuple[tuple[tuple[type[BotoCoreError], ...], type[ObjectStoreError], str], ...] = (
    (
        (NoCredentialsError, PartialCredentialsError),
        ObjectStoreAbsent,
        "no AWS credentials were found. Give the process a role or AWS_* variables.",
    ),
    (
        (SSOError, UnauthorizedSSOTokenError, TokenRetrievalError),
        ObjectStoreAbsent,
        "the AWS sign-in has expired or was never done. Sign in (aws sso login).",
    ),
    (
        (ProxyConnectionError,),
        ObjectStoreUnavailable,
        "the proxy did not let us through. Check HTTPS_PROXY and NO_PROXY.",
    ),
    (
        (SSLError,),
        ObjectStoreUnavailable,
        "the server's certificate is not to be trusted, or it speaks no TLS. Check the address in bucket.endpoint_url; "
        "AWS_CA_BUNDLE names the certificate of an authority of your own.",
    ),
    (
        (EndpointConnectionError,),
        ObjectStoreUnavailable,
        "the bucket's server cannot be reached. Check the network, and bucket.endpoint_url in run.json.",
    ),
)
"""What it means that no answer came."""
