"""Opens what run.json says that the run is kept in."""

from train_cloud.folder_store import FolderStore
from train_cloud.object_store import ObjectStore
from train_cloud.run_config import BucketConfig


def open_store(bucket: BucketConfig, prefix: str) -> ObjectStore:
    """The objects under `prefix` in the bucket or folder; nothing is asked of it yet.

    Raises ObjectStoreAbsent when this machine's AWS settings cannot be used.
    """
    if bucket.folder is not None:
        return FolderStore(bucket.folder, prefix)
    # AWS's library takes a second to load, and a folder needs none of it.
    from train_cloud.s3_store import S3Store

    return S3Store(bucket, prefix)
