"""What every life of the run took, in hours and dollars: one small JSON object for each instance, in the bucket.

An instance writes its own and adds up all of them. What it last read of the others is remembered by the caller, so
that an outage of the bucket never makes a run look cheaper than it was.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

import msgspec

from runtime.logs import fields
from train_cloud.object_store import ObjectStore
from train_cloud.run_folder.keys import LIVES, STARTED

_log = logging.getLogger(__name__)


class Life(msgspec.Struct, kw_only=True):
    """One instance's life; times are ISO 8601 in UTC, by that instance's clock."""

    instance_id: str
    instance_type: str = "unknown"
    availability_zone: str = "unknown"
    launched_at: str = ""
    seen_at: str = ""
    hours: float
    spend_usd: float
    price_source: str = ""


class Totals(msgspec.Struct, frozen=True):
    """All lives together: what they cost, how many they are, and the hours of those since the last start."""

    spend_usd: float
    hours: float
    lives: int


def write_life(objects: ObjectStore, life: Life) -> None:
    """Keep the life in the bucket. Raises ObjectStoreError."""
    objects.put(f"{LIVES}{life.instance_id}.json", msgspec.json.encode(life))


def read_lives(objects: ObjectStore) -> dict[str, Life]:
    """Every life of the run by instance; one that cannot be read is said and left out. Raises ObjectStoreError."""
    lives: dict[str, Life] = {}
    for key in objects.list(LIVES):
        try:
            life = msgspec.json.decode(objects.get(key)[0], type=Life)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("a life's record cannot be read; its cost is not counted", extra=fields(key=key, problem=error))
            continue
        lives[life.instance_id] = life
    return lives


def read_started(objects: ObjectStore) -> str | None:
    """When the run was last started by hand, None when it never was. Raises ObjectStoreError."""
    found = objects.find(STARTED)
    return None if found is None else found.decode("utf-8", "replace").strip()


def add_up(own: Life, others: Mapping[str, Life], started: str | None) -> Totals:
    """The run's totals. Its own life always counts in the hours: it is the one that runs now."""
    counted = [own, *(life for name, life in others.items() if name != own.instance_id)]
    since = _moment(started)
    launched = ((life, _moment(life.launched_at)) for life in counted)
    # A moment that cannot be read is not before another, so that it counts.
    hours = sum(life.hours for life, at in launched if life is own or since is None or at is None or at >= since)
    return Totals(sum(life.spend_usd for life in counted), hours, len(counted))


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None
