"""What this instance has cost: price times time since the last look, added up in its life's record.

Time is counted in life seconds (runtime.boot_clock), so that the wall clock may jump. FOLDER/budget.json keeps
our life and what was last read of the others: no reboot and no outage of the bucket or of EC2 makes a run look cheaper.
While the disk takes no file the same is kept in memory, in RUN_FOLDER/budget.json, until the next reboot.
"""

import errno
import logging
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from runtime.files import write_private
from runtime.logs import fields
from train_cloud.instance.clients import aws_client
from train_cloud.instance.config import Deployment, Limits
from train_cloud.instance.ledger import Life, read_lives, read_started, write_life
from train_cloud.instance.metadata import Metadata, MetadataError
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.run_folder.files import BUDGET

UNKNOWN = "unknown"
HISTORY, LAST_KNOWN, FALLBACK = "spot price history", "last known spot price", "fallback_price_usd_per_hour"
MIN_FREE_BYTES = 16 * 2**20
"""With less room than this a disk counts as full: the store refuses batches soon."""
PRODUCTS = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]
"""Two names of one price: which of them AWS states depends on the account's age."""

_MODE = 0o640
"""Of what is kept on the disk: the dashboard, which has a user of its own, tells what is spent."""

_log = logging.getLogger(__name__)


class State(msgspec.Struct):
    """What one minute leaves to the next; it outlives a reboot.

    Attributes:
        own: this instance's life, over all its boots.
        boot: name of the boot that `life_s`, `active_s` and `stored_steps` belong to.
        life_s: life second up to which `own` is counted.
        price: the newest spot price known, USD an hour.
        others, started: what the bucket said last of other lives and of the last start.
        active_s: life second at which somebody last used the receiver; None before this boot's first look.
        stored_steps, updates: what the receiver said last; None before it ever answered in this boot.
        connected: whether a bridge was there when the receiver was last asked.
        greeted: whether one has come since experience came last.
        full_s: life second since which the disk has been full; None while it has room.
        guarded_s: life second at which the guard outside was last moved; None before that in this boot.
        limits: as an apply set them last; None before they were ever read.
    """

    own: Life = msgspec.field(default_factory=lambda: Life(instance_id=UNKNOWN, hours=0.0, spend_usd=0.0))
    boot: str = ""
    life_s: float = 0.0
    price: float | None = None
    others: dict[str, Life] = msgspec.field(default_factory=dict)
    started: str | None = None
    active_s: float | None = None
    stored_steps: int | None = None
    updates: int | None = None
    connected: bool = False
    greeted: bool = False
    full_s: float | None = None
    guarded_s: float | None = None
    limits: Limits | None = None


def load_state(folder: Path, run_folder: Path, boot: str) -> State:
    """What the last minute left, to go on in `boot`; a fresh state when it left none that can be read."""
    state = State()
    # In memory only while the disk is full: then it is the newer one.
    file = next((file for file in (run_folder / BUDGET, folder / BUDGET) if file.exists()), None)
    try:
        if file is not None:
            state = msgspec.json.decode(file.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("the last look's state is lost; this boot is counted anew", extra=fields(problem=error))
    if state.boot != boot:
        fresh = State(boot=boot, own=state.own, price=state.price, others=state.others, started=state.started)
        fresh.limits, state = state.limits, fresh
    return state


def save_state(folder: Path, run_folder: Path, state: State) -> None:
    """Keep the state, in memory where the disk is full. That is said, and no error: all is decided without it."""
    try:
        write_private(folder / BUDGET, msgspec.json.encode(state), _MODE)
        if shutil.disk_usage(folder).free < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        state.full_s = None
        (run_folder / BUDGET).unlink(missing_ok=True)
    except OSError as error:
        state.full_s = state.life_s if state.full_s is None else state.full_s
        _log.error("the disk is full, or cannot be written", extra=fields(problem=error))
        with suppress(OSError):
            write_private(run_folder / BUDGET, msgspec.json.encode(state), _MODE)


def account(deployment: Deployment, state: State, metadata: Metadata, life_s: float) -> None:
    """Count this life up to `life_s` and exchange records with the bucket; outages of AWS are said."""
    own, price = state.own, None
    if _recognised(own, metadata):
        price = spot_price(aws_client("ec2", deployment.config.region), own.instance_type, own.availability_zone)
    add_time(state, life_s, price, deployment.config.fallback_price_usd_per_hour, deployment.config.hourly_extra_usd)
    now = datetime.now(UTC)
    own.launched_at, own.seen_at = own.launched_at or _iso(now - timedelta(seconds=life_s)), _iso(now)
    try:
        _exchange(deployment.objects, state)
    except ObjectStoreError as error:
        _log.warning("the record of what the run cost is not up to date in the bucket", extra=fields(problem=error))
    save_state(deployment.folder, deployment.run_folder, state)


def add_time(state: State, life_s: float, price: float | None, fallback: float, extra: float) -> None:
    """Count the time since the last look at `price` (USD an hour), else at the last known one, else at `fallback`.

    `extra` is what an hour costs besides. Looks at one and the same time, or back in time, count nothing.
    """
    known = (price, HISTORY), (state.price, LAST_KNOWN), (fallback, FALLBACK)
    usd_per_hour, state.own.price_source = next((usd, source) for usd, source in known if usd is not None)
    hours = max(0.0, life_s - state.life_s) / 3600.0
    state.own.hours += hours
    state.own.spend_usd += (usd_per_hour + extra) * hours
    state.life_s = max(life_s, state.life_s)
    state.price = state.price if price is None else price


def spot_price(ec2: Any, instance_type: str, availability_zone: str) -> float | None:
    """What AWS asks for such an instance now, USD an hour; None when it does not answer, or knows no price."""
    try:
        pages = ec2.get_paginator("describe_spot_price_history").paginate(
            # From now on: the price in force is then the only one that is given.
            StartTime=datetime.now(UTC),
            InstanceTypes=[instance_type],
            AvailabilityZone=availability_zone,
            ProductDescriptions=PRODUCTS,
        )
        # This machine's clock may be behind; then there are older ones, too.
        newest = max((entry for page in pages for entry in page["SpotPriceHistory"]), key=lambda one: one["Timestamp"])
        return float(newest["SpotPrice"])
    except (BotoCoreError, ClientError, LookupError, ValueError, TypeError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        _log.warning("AWS does not tell the spot price; the last known one counts", extra=fields(problem=code))
        return None


def _recognised(own: Life, metadata: Metadata) -> bool:
    if own.instance_id == UNKNOWN:
        try:
            own.instance_type = metadata.need("instance-type")
            own.availability_zone = metadata.need("placement/availability-zone")
            own.instance_id = metadata.need("instance-id")
        except MetadataError as error:
            _log.warning("this instance does not know which it is", extra=fields(problem=error))
    return own.instance_id != UNKNOWN


def _exchange(objects: ObjectStore, state: State) -> None:
    """Read the others' records, write our own. Raises ObjectStoreError."""
    lives, own = read_lives(objects), state.own
    # A state that was lost does not know our earlier boots; the record does.
    if (recorded := lives.pop(own.instance_id, None)) is not None:
        own.hours, own.spend_usd = max(own.hours, recorded.hours), max(own.spend_usd, recorded.spend_usd)
        own.launched_at = recorded.launched_at
    # One that can no longer be read has cost no less for that.
    state.others |= lives
    state.started = read_started(objects)
    if own.instance_id != UNKNOWN:
        write_life(objects, own)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
