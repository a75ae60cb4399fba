"""One look at what this instance costs and whether anybody uses it; it decides the ending when a limit is reached.

A tick keeps this life's record in the bucket, compares the run's spend and hours with their limits, looks whether the
receiver is used, takes over a changed token and ships the log. Outages of S3, EC2 or SSM are said and never end an
instance; what is known here counts meanwhile. Of several limits the first in Reason's order that is reached decides.
"""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runtime.files import write_private
from runtime.logs import fields
from train_cloud.instance.budget_state import BudgetState, Instance, load_state, save_state
from train_cloud.instance.clients import ParameterError, aws_client
from train_cloud.instance.deployment import Deployment
from train_cloud.instance.endings import decide, decided
from train_cloud.instance.ledger import Life, Totals, add_up, read_lives, read_started, write_life
from train_cloud.instance.metadata import Metadata, MetadataError
from train_cloud.instance.receiver_watch import Activity, ask_receiver
from train_cloud.instance.secrets import rotate_token
from train_cloud.instance.shipping import ship_log
from train_cloud.instance.spend import price_steps, spent_usd
from train_cloud.object_store import ObjectStoreError
from train_cloud.run_folder.files import TOKEN
from train_cloud.run_folder.states import Reason

LOOKED = "looked"
"""File in the run folder with the life second of the last look, a whole number; lifeline.sh ends who looks no more."""

_UNKNOWN = Instance("unknown", "unknown", "unknown")

_log = logging.getLogger(__name__)


def tick(deployment: Deployment, metadata: Metadata, boot: str, life_s: float) -> Reason | None:
    """Look once, `life_s` seconds after this boot began; the reason for which an ending was decided now, if any.

    Raises OSError when an ending could not be written.
    """
    state = load_state(deployment.folder)
    state.begin(boot)
    own = account(deployment, state, metadata, life_s)
    _exchange(deployment, state, own)
    totals = add_up(own, state.others, state.started)
    activity = ask_receiver(deployment.run.listen_port, deployment.folder / "tls.pem", deployment.run_folder / TOKEN)
    idle_s = idle_seconds(state, life_s, activity)
    save_state(deployment.folder, state)
    _note_look(deployment.run_folder, life_s)
    _log.info("looked at the budget", extra=fields(**_figures(own, totals, idle_s, activity)))

    verdict = over_limits(deployment, totals) or _idle_too_long(deployment, state, idle_s)
    if decided(deployment.run_folder):
        return None
    if verdict is not None and decide(deployment.run_folder, *verdict):
        _log.warning("the instance ends", extra=fields(reason=verdict[0], text=verdict[1]))
        return verdict[0]
    _take_token(deployment)
    _ship(deployment, state)
    return None


def keep_account(deployment: Deployment, metadata: Metadata, boot: str, life_s: float) -> None:
    """Write this life's record and decide nothing: the last look, when the instance ends. Raises ObjectStoreError."""
    state = load_state(deployment.folder)
    state.begin(boot)
    own = account(deployment, state, metadata, life_s)
    save_state(deployment.folder, state)
    if state.instance is not None:
        write_life(deployment.objects, own)
        _log.info("closed the account", extra=fields(life_usd=round(own.spend_usd, 4), hours=round(own.hours, 3)))


def account(deployment: Deployment, state: BudgetState, metadata: Metadata, life_s: float) -> Life:
    """This life's record as of now; `state` remembers what it was made from."""
    instance = _recognise(state, metadata)
    steps = None
    if instance is not _UNKNOWN:
        ec2 = aws_client("ec2", deployment.config.region)
        since_s = state.spent.priced_s
        steps = price_steps(ec2, instance.instance_type, instance.availability_zone, life_s, since_s)
    price, source, state.spent = spent_usd(state.spent, life_s, steps, deployment.config.fallback_price_usd_per_hour)
    now = datetime.now(UTC)
    state.life_s = max(life_s, state.life_s)
    state.boot_usd = price + deployment.config.hourly_extra_usd * state.life_s / 3600.0
    state.launched_at = state.launched_at or _iso(now - timedelta(seconds=life_s))
    return Life(
        instance_id=instance.instance_id,
        instance_type=instance.instance_type,
        availability_zone=instance.availability_zone,
        launched_at=state.launched_at,
        seen_at=_iso(now),
        hours=state.earlier_hours + state.life_s / 3600.0,
        spend_usd=state.earlier_usd + state.boot_usd,
        price_source=source,
    )


def idle_seconds(state: BudgetState, life_s: float, activity: Activity | None) -> float:
    """For how long nobody has used the receiver, in life seconds; `state` remembers what it said.

    Used means: a bridge is connected, or more is stored than before. Its first answer begins the count anew, since
    nobody could connect earlier; until then the count runs from the first look, which the services' start brings: a
    first boot may build its environment for longer than an instance may be idle.
    """
    if state.active_s is None:
        state.active_s = life_s
    if activity is not None:
        if activity.bridges > 0 or activity.stored_steps != state.stored_steps:
            state.active_s = life_s
        state.stored_steps = activity.stored_steps
    return max(0.0, life_s - state.active_s)


def over_limits(deployment: Deployment, totals: Totals) -> tuple[Reason, str] | None:
    """Which limit of the whole run is reached, with a sentence; None when none is."""
    config = deployment.config
    if totals.spend_usd >= config.budget_usd:
        return Reason.OVER_BUDGET, (
            f"The run has cost {totals.spend_usd:.2f} USD in {totals.lives} launches, and budget_usd is "
            f"{config.budget_usd:g}. To go on from the last checkpoint, raise budget_usd, apply, `make start`."
        )
    if totals.hours >= config.max_hours:
        return Reason.OVER_HOURS, (
            f"The run has been on for {totals.hours:.1f} hours since it was started, and max_hours is "
            f"{config.max_hours:g}. To go on from the last checkpoint for as long again, `make start`."
        )
    return None


def _idle_too_long(deployment: Deployment, state: BudgetState, idle_s: float) -> tuple[Reason, str] | None:
    limit = deployment.config.idle_minutes
    if idle_s < limit * 60.0:
        return None
    happened = (
        "the receiver has never answered"
        if state.stored_steps is None
        else "no bridge was connected and nothing stored"
    )
    return Reason.IDLE, (
        f"For {idle_s / 60.0:.0f} minutes {happened}, and idle_minutes is {limit:g}. "
        "To go on from the last checkpoint, `make start` and connect a bridge."
    )


def _recognise(state: BudgetState, metadata: Metadata) -> Instance:
    if state.instance is None:
        try:
            state.instance = Instance(
                metadata.need("instance-id"),
                metadata.need("instance-type"),
                metadata.need("placement/availability-zone"),
            )
        except MetadataError as error:
            _log.warning("this instance does not know which it is", extra=fields(problem=error))
    return state.instance or _UNKNOWN


def _exchange(deployment: Deployment, state: BudgetState, own: Life) -> None:
    """Write our record, read the others'; without the bucket what was read last goes on counting."""
    try:
        if state.instance is not None:
            write_life(deployment.objects, own)
        # One that can no longer be read has cost no less for that.
        state.others |= read_lives(deployment.objects)
        state.others.pop(own.instance_id, None)
        state.started = read_started(deployment.objects)
    except ObjectStoreError as error:
        _log.warning("the record of what the run cost is not up to date in the bucket", extra=fields(problem=error))


def _note_look(run_folder: Path, life_s: float) -> None:
    try:
        write_private(run_folder / LOOKED, f"{life_s:.0f}\n".encode())
    except OSError as error:
        # What is to be decided now is decided all the same.
        _log.error("this look could not be noted", extra=fields(problem=error))


def _take_token(deployment: Deployment) -> None:
    try:
        rotate_token(deployment.config, aws_client("ssm", deployment.config.region), deployment.run_folder)
    except (ParameterError, OSError) as error:
        _log.warning("the token stays as it is", extra=fields(problem=error))


def _ship(deployment: Deployment, state: BudgetState) -> None:
    if state.instance is None:
        return
    group, watch = deployment.config.log_group, None
    if group is not None:
        watch = aws_client("logs", deployment.config.region)
    shipped = ship_log(
        deployment.objects, deployment.folder, state.instance.instance_id, state.chunks, watch, group or ""
    )
    if shipped:
        state.chunks += shipped
        save_state(deployment.folder, state)


def _figures(own: Life, totals: Totals, idle_s: float, activity: Activity | None) -> dict[str, Any]:
    return {
        "spend_usd": round(totals.spend_usd, 4),
        "hours": round(totals.hours, 3),
        "lives": totals.lives,
        "life_usd": round(own.spend_usd, 4),
        "price_source": own.price_source,
        "idle_minutes": round(idle_s / 60.0, 1),
        "bridges": "unknown" if activity is None else activity.bridges,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
