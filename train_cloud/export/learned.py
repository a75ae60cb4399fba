"""Finds the policy to export and what is known of it: a checkpoint of the bucket, or a file that was fetched."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experience.environment import Environment
from racing.policy import Policy
from racing.policy_file import PolicyError
from racing.track import TrackError
from racing.track_text import track_of
from train_cloud.export.errors import ExportError
from train_cloud.object_store import ObjectStore
from train_cloud.run_folder.keys import MANIFEST, METRICS, POLICY, TRACKS
from train_cloud.trainer.saving.manifest import CheckpointError, find_best, find_newest
from train_cloud.trainer.verdict import Verdict

MOST_BESIDE = 2**20
"""Bytes of a document beside a policy's file that are read."""
_OF_THE_TRAINER = b"ac-training.torch."
"""Begins the format of a policy that `racing.policy` cannot run."""
_HEAD_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Learned:
    """A policy's file and what is known of it.

    Attributes:
        which: what it is, in words.
        steps: environment steps after which it was; None where that is not known.
        judged: its judgement, as metrics.json tells one; None without one.
        metrics: the run's metrics.json; empty where there is none.
        tracks: name and length (m) of each track that the run's bridges have announced.
    """

    policy: bytes = field(repr=False)
    which: str
    steps: int | None
    judged: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    tracks: tuple[tuple[str, float], ...] = ()


def learned_in_bucket(run_id: str, objects: ObjectStore) -> Learned:
    """The best policy of the run, or its newest where none was judged. Raises ExportError, ObjectStoreError."""
    try:
        best = find_best(objects)
        checkpoint = best.checkpoint or find_newest(objects).checkpoint
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    if checkpoint is None:
        raise ExportError(f"The run {run_id} has no checkpoint yet; --policy names a file.")
    which = "newest" if best.checkpoint is None else "best"
    steps, metrics = checkpoint.manifest.steps, _document(objects.find(METRICS))
    return Learned(
        checkpoint.files[POLICY],
        f"the {which} checkpoint of {run_id}",
        steps,
        _judged(steps, metrics, best.verdict),
        metrics,
        tuple(_tracks(objects)),
    )


def learned_in_file(file: Path) -> Learned:
    """A policy's file, with what `make fetch` puts beside it. Raises ExportError."""
    try:
        policy = file.read_bytes()
        manifest, metrics = (_document(_read(file.with_name(name))) for name in (MANIFEST, METRICS))
    except OSError as error:
        raise ExportError(f"{error.filename} cannot be read ({error.strerror}). Give the path of a file.") from error
    steps = manifest.get("steps") if isinstance(manifest.get("steps"), int) else None
    return Learned(policy, f"the file {file.name}", steps, _judged(steps, metrics, None), metrics)


def policy_of(environment: Environment, learned: Learned) -> Policy:
    """The policy in the file, which can drive in this environment. Raises ExportError for any other."""
    try:
        return environment.policy(learned.policy)
    except PolicyError as error:
        if _OF_THE_TRAINER in learned.policy[:_HEAD_BYTES]:
            raise ExportError(
                "This policy only runs in the trainer, as those of images and dictionaries do: it has no form as ONNX."
            ) from error
        raise ExportError(str(error)) from error


def _read(file: Path) -> bytes | None:
    if not file.is_file() or file.stat().st_size > MOST_BESIDE:
        return None
    return file.read_bytes()


def _document(text: bytes | None) -> dict[str, Any]:
    """A JSON object; empty for anything else: a card can do without."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _judged(steps: int | None, metrics: Mapping[str, Any], verdict: Verdict | None) -> Mapping[str, Any] | None:
    """The judgement of the policy at `steps`."""
    if verdict is not None:
        return verdict.figures()
    told = metrics.get("judged")
    found = told.values() if isinstance(told, dict) else ()
    return next((one for one in found if isinstance(one, dict) and one.get("steps") == steps), None)


def _tracks(objects: ObjectStore) -> list[tuple[str, float]]:
    found = []
    for key in objects.list(TRACKS):
        try:
            track = track_of(objects.get(key)[0])
        except TrackError:
            continue
        found.append((track.name, float(track.length)))
    return found
