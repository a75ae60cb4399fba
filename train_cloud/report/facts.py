"""What the bucket says of a run, read leniently: each piece that is missing or damaged is a sentence, never a guess."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from racing.track import Track, TrackError
from racing.track_text import track_of
from train_cloud.history_document import HistoryDocument, decode_history
from train_cloud.history_table import Point
from train_cloud.instance.ledger import Life, read_lives, read_started
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError, RunConfig, parse_run_config
from train_cloud.run_folder.keys import (
    BEST,
    CODE,
    CODE_MANIFEST,
    ENDINGS,
    HISTORY,
    LAUNCHES,
    METRICS,
    RUN_CONFIG,
    TRACKS,
)

MOST_BYTES: Final = 64 * 2**20
"""Longest document that is read."""
MOST_ENDINGS: Final = 200
_LATEST: Final = 1e11
_MOST_STEPS: Final = 10**15
_LONGEST_LAP: Final = 86_400.0
_SECRET_NAME = re.compile(r"token|secret|password|passwd|api_?key|credential|auth", re.IGNORECASE)
_LOGIN = re.compile(r"(\w+://)[^\s/@]*@")
_T = TypeVar("_T")


class Ending(msgspec.Struct, kw_only=True, frozen=True):
    """Why an instance, or the run, ended, as its record in the bucket says."""

    reason: str = ""
    text: str = ""
    at: str = ""
    instance_id: str = ""
    seconds: float | None = None


class _Best(msgspec.Struct, frozen=True):
    """Of BEST what the report needs."""

    verdict: dict[str, Any] = {}


@dataclass(kw_only=True)
class Facts:
    """What is known of a run.

    Attributes:
        config, settings: run.json, typed and as a document without what may be a secret.
        metrics: metrics.json; {} before the first.
        history: empty where there is none.
        best: what BEST says of the judgement; {} where nothing does.
        track: the run's; None where it is not known.
        lives, endings: of its instances, oldest first; None where they could not be read.
        launches, started: since the last start by hand.
        codes: versions of the code in the bucket.
        missing: a sentence for each piece that is not there or cannot be read.
    """

    config: RunConfig
    settings: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    history: HistoryDocument = field(default_factory=HistoryDocument)
    best: dict[str, Any] = field(default_factory=dict)
    track: Track | None = None
    lives: list[Life] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    launches: int | None = None
    started: str | None = None
    codes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def racing(self) -> bool:
        """Whether the run trains a car on a track."""
        return self.config.environment.kind == "racing"

    @property
    def points(self) -> list[Point]:
        """Of the history, in the order of time."""
        return self.history.points


def gather(config: RunConfig, objects: ObjectStore) -> Facts:
    """Read the run's folder. Raises ObjectStoreError where the bucket cannot be read at all."""
    missing: list[str] = []
    found = _read(objects, RUN_CONFIG, parse_run_config, missing, "")
    own = found or config
    if found is None:
        missing.append("The bucket has no run.json of this run: its settings are those of the file given here.")
    facts = Facts(config=own, settings=without_secrets(msgspec.to_builtins(own)), missing=missing)
    facts.metrics = (
        _read(objects, METRICS, lambda text: msgspec.json.decode(text, type=dict[str, Any]), missing, "how far it is")
        or {}
    )
    facts.history = _read(objects, HISTORY, _history, missing, "its curves and laps") or facts.history
    if facts.racing:
        best = _read(objects, BEST, lambda text: msgspec.json.decode(text, type=_Best), missing, "")
        facts.best = {} if best is None else best.verdict
        facts.track = _track(own, objects, missing)
    _ledger(facts, objects)
    facts.codes = _codes(config)
    return facts


def without_secrets(settings: Any, name: str = "") -> Any:
    """A JSON document without what may be a secret: values whose names say so, and logins in URLs."""
    if isinstance(settings, dict):
        return {str(key): without_secrets(value, str(key)) for key, value in settings.items()}
    if isinstance(settings, list):
        return [without_secrets(value, name) for value in settings]
    if _SECRET_NAME.search(name) and settings not in (None, False, True):
        return "(left out)"
    return _LOGIN.sub(r"\1(left out)@", settings) if isinstance(settings, str) else settings


def _read(objects: ObjectStore, key: str, decode: Callable[[bytes], _T], missing: list[str], holds: str) -> _T | None:
    """What the object under `key` says; None, with a sentence where it `holds` something, when it says nothing."""
    text = objects.find(key)
    if text is None:
        if holds:
            missing.append(f"The bucket has no {key} of this run yet, so {holds} cannot be told.")
        return None
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has {len(text)} bytes, and at most {MOST_BYTES} are read")
        return decode(text)
    except (ValueError, RecursionError, ConfigError) as error:
        missing.append(f"{key} in the bucket is damaged and counts as missing ({error}).")
        return None


def _history(text: bytes) -> HistoryDocument:
    document = decode_history(text)
    # What lies beyond any run's numbers would stretch every chart to nothing.
    document.points = [one for one in document.points if _is_sane(one.at, one.steps)]
    document.laps = [one for one in document.laps if _is_sane(one.at, one.steps) and 0.0 < one.time < _LONGEST_LAP]
    document.points.sort(key=lambda point: (point.at, point.steps))
    return document


def _is_sane(at: float, steps: int) -> bool:
    return 0.0 <= at < _LATEST and 0 <= steps < _MOST_STEPS


def _track(config: RunConfig, objects: ObjectStore, missing: list[str]) -> Track | None:
    chosen = config.environment.track
    keys = [f"{TRACKS}{chosen}.json"] if chosen else objects.list(TRACKS)
    if len(keys) != 1:
        told = "no track" if not keys else f"{len(keys)} tracks, and run.json chooses none of them"
        missing.append(f"The bucket has {told}: there is no map, and no reference lap.")
        return None
    return _read(objects, keys[0], _checked_track, missing, "its map and a reference lap")


def _checked_track(text: bytes) -> Track:
    try:
        return track_of(text)
    except TrackError as error:
        raise ValueError(str(error)) from error


def _ledger(facts: Facts, objects: ObjectStore) -> None:
    """Lives, endings and launches of instances."""
    facts.lives = sorted(read_lives(objects).values(), key=lambda life: (life.launched_at, life.instance_id))
    for key in objects.list(ENDINGS)[-MOST_ENDINGS:]:
        ending = _read(objects, key, lambda text: msgspec.json.decode(text, type=Ending), facts.missing, "")
        facts.endings += [] if ending is None else [ending]
    launches = (objects.find(LAUNCHES) or b"").strip()
    facts.launches = int(launches) if launches.isdigit() and len(launches) < 10 else None
    facts.started = read_started(objects)


def _codes(config: RunConfig) -> list[str]:
    """Hashes of the versions of the code that the bucket holds for instances; none where they may not be listed."""
    try:
        keys = open_store(config.bucket, "").list(CODE)
    except ObjectStoreError:
        return []
    ends = f"/{CODE_MANIFEST}"
    return [key.removeprefix(CODE).removesuffix(ends) for key in keys if key.endswith(ends)]
