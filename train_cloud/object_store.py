"""What the objects of a run are kept in, whatever it is: put, get and list, with typed errors and a bounded time.

S3Store (train_cloud.s3_store) is a bucket, FolderStore (train_cloud.folder_store) a plain folder; `open_store`
(train_cloud.open_store) opens the one that run.json names. Both keep the same objects under the same keys and promise
the same: an object is there whole or not at all, it outlives a power cut once `put` has returned, and of several
writers with a condition on one object one wins.

Every call makes one attempt and ends within about 20 s, whatever the other side does. Whoever must not give up retries
by runtime.retry; who cannot go on without an answer, with `patiently`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from runtime.retry import retry
from train_cloud.run_folder.files import ETC, INSTANCE_CONFIG

_T = TypeVar("_T")

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
CALL_SECONDS = CONNECT_SECONDS + READ_SECONDS
"""How long a call may take to fail."""
PATIENCE_SECONDS = 1_200.0
"""How long the bucket may be silent or deny before a process that cannot go on without it gives up.

Outages last ten minutes, and the permissions of a role that was just made arrive late.
"""
INSTANCE_FILE = Path(ETC) / INSTANCE_CONFIG
"""Where it is, an instance works, whose role may be new and may delete nothing."""


class ObjectStoreError(Exception):
    """The bucket could not do what was asked; the text is a sentence."""


class ObjectNotFound(ObjectStoreError):
    """There is no object under this key."""


class ObjectStoreUnavailable(ObjectStoreError):
    """The bucket did not answer, or said that it cannot now: try again later."""


class ObjectStoreDenied(ObjectStoreError):
    """The bucket refuses us, or does not exist: trying again will not help until somebody changes something."""


class ObjectStoreAbsent(ObjectStoreDenied):
    """There is no bucket, or there are no credentials: passes by itself on an instance that was just made only."""


class ObjectStoreUnfit(ObjectStoreError):
    """What should keep the run does not do what S3 does: no patience helps, but another place or address may."""


class PreconditionFailed(ObjectStoreError):
    """The object is not what the caller believed (If-Match, If-None-Match): another writer was there."""


SILENT_OR_DENIED = (ObjectStoreUnavailable, ObjectStoreDenied)
"""What may pass by itself: an outage, and the rights of a role that not every service knows yet."""


def patiently(call: Callable[[], _T], doing: str, wait: Callable[[float], object]) -> _T:
    """The call's answer, retried while the bucket is silent or denies, for PATIENCE_SECONDS; see runtime.retry.

    On a PC a missing bucket and missing credentials are told at once: there, nobody makes them meanwhile.
    """

    def attempt() -> _T:
        try:
            return call()
        except ObjectStoreAbsent as error:
            if INSTANCE_FILE.exists():
                raise
            raise ObjectStoreUnfit(str(error)) from error

    return retry(attempt, SILENT_OR_DENIED, PATIENCE_SECONDS, f"waiting for the bucket: {doing}", wait)


class ObjectStore(ABC):
    """Objects of one run; keys are relative to its prefix ("runs/<run_id>/"). Threads may share it."""

    prefix: str
    place: str
    """Where that is, for people: `s3://bucket/runs/monza-1/`, or the folder."""
    conditional = True
    """Whether `put` keeps its conditions; train_cloud.bucket_probe finds out when a server refuses them."""

    @property
    def is_aws(self) -> bool:
        """Whether it is a bucket at AWS itself; an instance's always is."""
        return False

    @abstractmethod
    def prepare(self) -> None:
        """Make what a new run is kept in, where that is ours to make. Raises what `put` raises."""

    @abstractmethod
    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write the object and return its ETag.

        With `if_match` only when the present object has that ETag; with `if_none_match` only when there is none; else
        PreconditionFailed. Raises ObjectStoreUnavailable, ObjectStoreDenied, and ObjectStoreUnfit when what it is kept
        in cannot do that, or says that it was written and holds something else.
        """

    @abstractmethod
    def put_file(self, key: str, file: Path) -> None:
        """Write an object of any size from a file.

        Raises ObjectStoreUnavailable, ObjectStoreDenied, ObjectStoreUnfit, OSError.
        """

    @abstractmethod
    def get(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and ETag. Raises ObjectNotFound, ObjectStoreUnavailable, ObjectStoreDenied."""

    def find(self, key: str) -> bytes | None:
        """As `get`, without the ETag; None when there is no such object."""
        try:
            return self.get(key)[0]
        except ObjectNotFound:
            return None

    @abstractmethod
    def written_at(self, key: str) -> datetime:
        """When the object, which must exist, was last written. Raises ObjectStoreUnavailable, ObjectStoreDenied."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The bytes of every object of the run whose key begins with `prefix`, sorted by key.

        Raises ObjectStoreUnavailable, ObjectStoreDenied.
        """

    def list(self, prefix: str = "") -> list[str]:
        """The keys of `sizes`. Raises what it raises."""
        return list(self.sizes(prefix))

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete the object, if it is there. Raises ObjectStoreUnavailable, ObjectStoreDenied."""
