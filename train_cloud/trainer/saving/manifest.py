"""How a checkpoint lies in S3, and how the newest sound one is found again; without torch, so that any PC can look.

A checkpoint is a folder of files and a manifest with the SHA-256 of each. `LATEST` is a copy of the newest complete
checkpoint's manifest, written last and only over the one that this writer knows: so a kill at any moment leaves the
older checkpoint in force, and a second trainer of the same run is noticed. `BEST` is written likewise, of the
checkpoint whose policy was judged best. What the files mean is checkpoint.py's.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from runtime.logs import fields
from train_cloud import notify
from train_cloud.object_store import ObjectNotFound, ObjectStore
from train_cloud.run_folder.keys import BEST, CHECKPOINTS, LATEST, MANIFEST
from train_cloud.trainer.verdict import Verdict

_log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A checkpoint cannot be used, or none of those that exist can; the text is a sentence."""


class FileEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One file of a checkpoint: its SHA-256 in hex and its size in bytes."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a checkpoint consists of; `folder` is its key prefix within the run."""

    folder: str
    steps: int
    updates: int
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory: the manifest and the files by name."""

    manifest: Manifest
    files: dict[str, bytes] = field(repr=False)

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest as stored."""
        return msgspec.json.format(msgspec.json.encode(self.manifest), indent=2)


class Best(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What BEST says: a checkpoint, and how its policy did."""

    manifest: Manifest
    verdict: Verdict


class FoundBest(NamedTuple):
    """What a run's folder holds: the best checkpoint, its judgement, and the ETag of BEST; None where there is none."""

    checkpoint: Checkpoint | None
    verdict: Verdict | None
    etag: str | None


class Found(NamedTuple):
    """What a run's folder holds: the newest sound checkpoint, and the ETag of LATEST; None where there is none."""

    checkpoint: Checkpoint | None
    latest_etag: str | None


def find_newest(objects: ObjectStore) -> Found:
    """The checkpoint that LATEST names, or, loudly, the newest one before it whose hashes verify.

    Raises:
        CheckpointError: there are checkpoints, and none is sound.
        ObjectStoreUnavailable, ObjectStoreDenied: S3 does not answer, or refuses.
    """
    try:
        body, etag = objects.get(LATEST)
    except ObjectNotFound:
        return Found(None, None)
    problems: list[str] = []
    newest: Manifest | None = None
    try:
        newest = msgspec.json.decode(body, type=Manifest)
        return Found(_read(objects, newest), etag)
    except (msgspec.MsgspecError, CheckpointError) as error:
        problems.append(f"LATEST: {error}")
    for key in reversed(objects.list(CHECKPOINTS)):
        folder = key.removesuffix(MANIFEST)
        # A folder beyond LATEST was never declared complete, or belongs to a writer that was refused.
        beyond = newest is not None and (folder == newest.folder or folder > f"{CHECKPOINTS}{newest.steps:012d}~")
        if beyond or not key.endswith("/" + MANIFEST):
            continue
        try:
            manifest = msgspec.json.decode(objects.get(folder + MANIFEST)[0], type=Manifest)
            found = _read(objects, manifest)
        except (ObjectNotFound, msgspec.MsgspecError, CheckpointError) as error:
            problems.append(f"{folder}: {error}")
            continue
        _log.error(
            "THE NEWEST CHECKPOINT IS DAMAGED; going on from the one before it",
            extra=fields(steps=manifest.steps, folder=folder, damage="; ".join(problems)),
        )
        return Found(found, etag)
    raise CheckpointError(
        f"No checkpoint of this run is sound ({'; '.join(problems)}). Restore an older version of the objects (the "
        "bucket keeps versions), or begin a run with another run_id."
    )


def find_best(objects: ObjectStore) -> FoundBest:
    """The checkpoint that BEST names; none, loudly, where its hashes do not verify.

    Raises ObjectStoreUnavailable, ObjectStoreDenied.
    """
    try:
        body, etag = objects.get(BEST)
    except ObjectNotFound:
        return FoundBest(None, None, None)
    try:
        best = msgspec.json.decode(body, type=Best)
        return FoundBest(_read(objects, best.manifest), best.verdict, etag)
    except (msgspec.MsgspecError, CheckpointError) as error:
        _log.error("THE BEST CHECKPOINT IS DAMAGED, and counts no more", extra=fields(damage=str(error)))
        return FoundBest(None, None, etag)


def _read(objects: ObjectStore, manifest: Manifest) -> Checkpoint:
    files: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        notify.starting(f"fetching {manifest.folder}{name}")
        try:
            data, _ = objects.get(manifest.folder + name)
        except ObjectNotFound as error:
            raise CheckpointError(f"{name} is missing") from error
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CheckpointError(f"{name} is not what its hash says")
        files[name] = data
    return Checkpoint(manifest, files)
