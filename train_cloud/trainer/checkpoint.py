"""What a checkpoint holds, how it lies in S3, and how the newest sound one is found again.

A checkpoint is a folder of files and a manifest with the SHA-256 of each. `LATEST` is a copy of the newest complete
checkpoint's manifest, written last and only over the one that this writer knows: so a kill at any moment leaves the
older checkpoint in force, and a second trainer of the same run is noticed. It does not decide when to save.
"""

import hashlib
import io
import logging
from dataclasses import dataclass, field

import msgspec
from stable_baselines3.common.save_util import load_from_zip_file

from train_cloud.object_store import ObjectNotFound, ObjectStore
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learners import Learner
from train_cloud.trainer.rng import pack_generators, restore_generators
from wire.process import fields

FOLDER = "checkpoints/"
LATEST = FOLDER + "LATEST"
MANIFEST = "manifest.json"
MODEL, POLICY, COUNTERS, GENERATORS = "model.zip", "policy.safetensors", "counters.json", "rng.npz"

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


@dataclass(frozen=True, slots=True)
class Found:
    """What a run's folder holds: the newest sound checkpoint, and the ETag of LATEST; None where there is none."""

    checkpoint: Checkpoint | None
    latest_etag: str | None


def make_checkpoint(learner: Learner, counters: Counters, policy: bytes) -> Checkpoint:
    """The learner (networks, optimisers), the counters, the generators' states and the exported policy, as files."""
    learner.num_timesteps = counters.steps
    model = io.BytesIO()
    learner.save(model)
    files = {
        MODEL: model.getvalue(),
        POLICY: policy,
        COUNTERS: msgspec.json.format(msgspec.json.encode(counters), indent=2),
        GENERATORS: pack_generators(),
    }
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    # The digest keeps a folder to one content: an interrupted or a second writer can never mix files into it.
    digest = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()[:8]
    manifest = Manifest(
        folder=f"{FOLDER}{counters.steps:012d}-{digest}/",
        steps=counters.steps,
        updates=counters.updates,
        files=entries,
    )
    return Checkpoint(manifest, files)


def restore_learner(learner: Learner, checkpoint: Checkpoint) -> Counters:
    """Put a freshly made learner and the random generators into the checkpoint's state; returns its counters.

    Only tensors are read from model.zip, nothing that could execute. Raises CheckpointError when the networks do
    not fit, which is so when the configuration's method or network was changed in mid-run.
    """
    try:
        counters = msgspec.json.decode(checkpoint.files[COUNTERS], type=Counters)
        _, params, variables = load_from_zip_file(
            io.BytesIO(checkpoint.files[MODEL]), load_data=False, device=learner.device
        )
        learner.set_parameters(params, exact_match=True, device=learner.device)
        if learner.log_ent_coef is not None:
            learner.log_ent_coef.data.copy_((variables or {})["log_ent_coef"].data)
        restore_generators(checkpoint.files[GENERATORS])
    except (KeyError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"The checkpoint {checkpoint.manifest.folder} does not fit this configuration ({error}). Restore the "
            "method and network that the run began with, or begin a run with another run_id."
        ) from error
    learner._n_updates = counters.updates
    learner.num_timesteps = counters.steps
    return counters


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
    for folder in _folders(objects):
        # A folder beyond LATEST was never declared complete, or belongs to a writer that was refused.
        if newest is not None and (folder == newest.folder or folder > f"{FOLDER}{newest.steps:012d}~"):
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


def _folders(objects: ObjectStore) -> list[str]:
    """Folders below checkpoints/ that hold a manifest, newest first."""
    keys = objects.list(FOLDER)
    return sorted((key.removesuffix(MANIFEST) for key in keys if key.endswith("/" + MANIFEST)), reverse=True)


def _read(objects: ObjectStore, manifest: Manifest) -> Checkpoint:
    files: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        try:
            data, _ = objects.get(manifest.folder + name)
        except ObjectNotFound as error:
            raise CheckpointError(f"{name} is missing") from error
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CheckpointError(f"{name} is not what its hash says")
        files[name] = data
    return Checkpoint(manifest, files)
