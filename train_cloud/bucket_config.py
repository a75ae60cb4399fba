"""Where a run is kept, as run.json says it."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from train_cloud.certificate_settings import whole_path_expected


class BucketConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where the run is kept: an S3 bucket, at AWS or any server that speaks S3, or a plain folder."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """Name of the bucket (3 to 63 lower-case letters, digits, dots, hyphens); it or `folder`."""
    folder: Annotated[str, Meta(pattern=r"^[^\x00-\x1f]{1,1024}$")] | None = None
    """Path, beginning with / or a drive, of a folder that keeps the run in place of a bucket."""
    region: Annotated[str, Meta(min_length=1)] = "us-east-1"
    """AWS region of the bucket."""
    endpoint_url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+/?$")] | None = None
    """URL of another S3 server (such as moto's); left out, AWS itself."""

    @property
    def place(self) -> str:
        """For people: `s3://NAME`, or the folder."""
        return f"s3://{self.name}" if self.folder is None else self.folder


def problem_of(bucket: BucketConfig) -> str:
    """What contradicts what in it, as a sentence about run.json; empty when nothing does."""
    if (bucket.name is None) == (bucket.folder is None):
        return (
            f"the fields `bucket.name` and `bucket.folder` have the values {json.dumps(bucket.name)} and "
            f"{json.dumps(bucket.folder)}: expected one of them, the name of an S3 bucket or the path of a folder."
        )
    if bucket.folder is None:
        return ""
    if not Path(bucket.folder).is_absolute():
        return whole_path_expected("bucket.folder", bucket.folder)
    elsewhere = [name for name in ("region", "endpoint_url") if getattr(bucket, name) != getattr(BucketConfig(), name)]
    if elsewhere:
        return (
            f"the field `bucket.{elsewhere[0]}` has the value {json.dumps(getattr(bucket, elsewhere[0]))}, but the run "
            "is kept in `bucket.folder`: expected none, which only an S3 bucket has."
        )
    return ""
