"""A run that is kept in a plain folder, in place of an S3 server's bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig


class KeptFolder:
    """The folder, which is made ready; `bucket` is how a run finds it, as MotoS3 has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = BucketConfig(folder=str(folder))
        open_store(self.bucket, "").prepare()


@contextmanager
def plain_folder(folder: Path) -> Iterator[BucketConfig]:
    """As the S3 servers of s3_servers: a folder in `folder`, which is not made ready."""
    yield BucketConfig(folder=str(folder / "kept"))
