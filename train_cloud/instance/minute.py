"""What an instance does each minute: its DUTIES, one after another.

Outages of S3, EC2 or SSM are said and end nothing; what is known here counts meanwhile. A duty that fails otherwise
keeps none of the others from being done. When the end is decided ac-end has the instance, and no duty is begun.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import asdict, replace

from runtime.files import write_private
from runtime.logs import fields
from train_cloud.instance.account import State, account, load_state, save_state
from train_cloud.instance.clients import ParameterError, aws_client, read_parameter
from train_cloud.instance.config import Deployment, InstanceConfig, Limits
from train_cloud.instance.endings import decide, decided
from train_cloud.instance.ledger import add_up
from train_cloud.instance.limits import (
    ask_receiver,
    disk_full,
    guard_hours,
    idle_seconds,
    idle_warning,
    limit_reached,
)
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.secrets import rotate_token
from train_cloud.instance.shipping import ship_log
from train_cloud.run_folder import files
from train_cloud.settings import ConfigError, parse_settings

GUARD_SECONDS = 600.0
"""So often the guard outside is moved on."""

_log = logging.getLogger(__name__)


class DutyError(Exception):
    """Duties of a minute could not be done; the text is a sentence."""


@dataclass(frozen=True)
class Minute:
    """What the duties work with, `life_s` seconds after this boot began; a full disk may pass within `patience_s`."""

    deployment: Deployment
    metadata: Metadata
    state: State
    life_s: float
    patience_s: float

    @property
    def config(self) -> InstanceConfig:
        """The instance's settings, with the limits as last applied."""
        limits = self.state.limits
        return self.deployment.config if limits is None else replace(self.deployment.config, **asdict(limits))


def account_spend(now: Minute) -> None:
    """Count what this life has cost, and exchange records with the run's other lives."""
    account(now.deployment, now.state, now.metadata, now.life_s)


def take_limits(now: Minute) -> None:
    """Take over the limits as last applied; while they cannot be read, or are wrong, those known last hold."""
    config = now.config
    try:
        text = read_parameter(aws_client("ssm", config.region), config.limits_parameter)
        limits = parse_settings(text.encode(), Limits, config.limits_parameter)
    except (ParameterError, ConfigError) as error:
        _log.warning("the limits stay as they were; terraform apply writes them anew", extra=fields(problem=error))
        return
    now.state.limits = limits
    if now.config != config:
        _log.info("the limits were changed by an apply", extra=fields(**asdict(limits)))


def decide_end(now: Minute) -> None:
    """Decide that the instance ends when the run's money or hours are spent or nobody uses it; note the look."""
    deployment, state = now.deployment, now.state
    shown = Path(deployment.run.tls_certificate or deployment.folder / files.TLS)
    activity = ask_receiver(deployment.run.listen_port, shown, deployment.run_folder / files.TOKEN)
    idle_s = idle_seconds(state, now.life_s, activity)
    totals = add_up(state.own, state.others, state.started)
    save_state(deployment.folder, deployment.run_folder, state)
    figures = fields(
        spend_usd=round(totals.spend_usd, 4),
        hours=round(totals.hours, 3),
        lives=totals.lives,
        life_usd=round(state.own.spend_usd, 4),
        price_source=state.own.price_source,
        idle_minutes=round(idle_s / 60.0, 1),
        bridges="unknown" if activity is None else activity.bridges,
    )
    _log.info("looked at the budget", extra=figures)
    verdict = disk_full(state, now.life_s, now.patience_s) or limit_reached(
        now.config, totals, idle_s, answered=state.stored_steps is not None
    )
    if verdict is not None and decide(deployment.run_folder, *verdict):
        _log.warning("the instance ends", extra=fields(reason=verdict[0], text=verdict[1]))
    write_private(deployment.run_folder / files.LOOKED, f"{state.life_s:.0f}\n".encode())
    _warn_bridges(now, idle_s)


def _warn_bridges(now: Minute, idle_s: float) -> None:
    """Leave for the receiver what its bridges must know before an idle instance ends, once for each time."""
    file, text = now.deployment.folder / files.WARNING, idle_warning(now.config, idle_s)
    try:
        if text is None:
            file.unlink(missing_ok=True)
        elif not file.exists():
            write_private(file, text.encode())
    except OSError as error:
        _log.warning("the bridges cannot be warned of the end", extra=fields(problem=error))


def move_guard(now: Minute) -> None:
    """Move the guard outside on: it never ends who counts its money, and soon ends who does not.

    It ends the group when the rest of the budget would be spent at the dearest price. Where AWS refuses it stays where
    it is.
    """
    config, state = now.config, now.state
    if state.guarded_s is not None and now.life_s - state.guarded_s < GUARD_SECONDS:
        return
    hours = guard_hours(config, add_up(state.own, state.others, state.started))
    try:
        aws_client("autoscaling", config.region).put_scheduled_update_group_action(
            AutoScalingGroupName=config.group,
            ScheduledActionName=config.schedule,
            StartTime=datetime.now(UTC) + timedelta(hours=hours),
            DesiredCapacity=0,
        )
    except (BotoCoreError, ClientError) as error:
        _log.warning("the guard outside cannot be moved on", extra=fields(problem=error))
        return
    state.guarded_s = now.life_s
    save_state(now.deployment.folder, now.deployment.run_folder, state)


def take_token(now: Minute) -> None:
    """Take over a bridge token that was rotated; ac-token tells the receiver."""
    config = now.deployment.config
    try:
        rotate_token(config, aws_client("ssm", config.region), now.deployment.run_folder)
    except ParameterError as error:
        _log.warning("the token stays as it is", extra=fields(problem=error))


def ship_journal(now: Minute) -> None:
    """Bring what the journal holds since the last minute to the bucket and, if one is named, to the log group."""
    ship_log(now.deployment, now.state.own.instance_id)


DUTIES: tuple[Callable[[Minute], None], ...] = (
    account_spend,
    take_limits,
    decide_end,
    move_guard,
    take_token,
    ship_journal,
)


def do_duties(
    deployment: Deployment, metadata: Metadata, boot: str, life_s: float, patience_s: float = files.PATIENCE_SECONDS
) -> None:
    """Do this minute's duties, `life_s` seconds after this boot began. Raises DutyError when one failed."""
    state = load_state(deployment.folder, deployment.run_folder, boot)
    now = Minute(deployment, metadata, state, life_s, patience_s)
    failed = []
    for duty in DUTIES:
        if decided(deployment.run_folder):
            break
        try:
            duty(now)
        except Exception:
            failed.append(duty.__name__)
            _log.exception("a duty of this minute failed; the others are done", extra=fields(duty=duty.__name__))
    if failed:
        raise DutyError(f"Not everything of this minute could be done: {', '.join(failed)}. The log says why.")


def close_account(deployment: Deployment, metadata: Metadata, boot: str, life_s: float) -> None:
    """The last look, when the instance ends: count this life once more and decide nothing."""
    state = load_state(deployment.folder, deployment.run_folder, boot)
    account(deployment, state, metadata, life_s)
    life = state.own
    _log.info("closed the account", extra=fields(life_usd=round(life.spend_usd, 4), hours=round(life.hours, 3)))
