"""`make status`: how the run stands, in one table: instance, spend, steps, laps, last checkpoint, bridges, last ending.

Promises an answer also when nothing runs, and to say for each figure that cannot be had why. It changes nothing. With
--json the same figures as one JSON document, times in s; without a terminal plain lines instead of a table. Of a run of
your own (--run) the same, as far as it has them.
"""

import sys
from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from runtime.logs import printable
from scripts.cloud.aws import Cloud, Group
from scripts.cloud.command import DeploymentFile
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import RunFile, ServiceFolder, run_of
from scripts.cloud.progress import RunProgress, figures_of, progress_rows
from scripts.cloud.run_record import Ending
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_folder.states import BRIDGES
from wire.pairing import PinMismatch


class RunStatus(RunProgress, kw_only=True):
    """Everything that the table shows of the cloud's run, progress included. Money in US dollars, times in h."""

    region: str
    desired_capacity: int
    instance_id: str | None = None
    instance_type: str | None = None
    zone: str | None = None
    launched_at: datetime | None = None
    instance_run_id: str | None = None
    attention: str | None = None
    spot_price_usd_per_hour: float | None = None
    extra_usd_per_hour: float
    spend_usd: float
    budget_usd: float
    hours: float
    max_hours: float
    launches: int
    max_launches: int
    last_ending: Ending | None = None


def status(
    as_json: Annotated[bool, typer.Option("--json", envvar="AC_JSON", help="One JSON document.")] = False,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Show how the run stands."""
    run_at_hand = run_of(run, folder, deployment)
    found = look(run_at_hand) if isinstance(run_at_hand, Cloud) else run_at_hand.look()
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif sys.stdout.isatty():
        table = Table(title=f"The run {found.run_id}", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in rows(found)[1:]:
            table.add_row(name, printable(value).replace("[", r"\["))
        Console(highlight=False).print(table)
    else:
        for name, value in rows(found):
            print(f"{name}: {printable(value)}")


def look(cloud: Cloud) -> RunStatus:
    """Ask AWS, the bucket and the receiver, in this order."""
    settings, record, group = cloud.deployment, cloud.record, cloud.group()
    progress = record.metrics()
    instance, done, ending = group.instance, record.is_done(settings.total_timesteps), record.last_ending()
    totals = record.totals(instance.instance_id if instance else None)
    found = RunStatus(
        run_id=settings.run_id,
        region=settings.region,
        state=_state(group, done, ending),
        desired_capacity=group.desired,
        extra_usd_per_hour=settings.hourly_extra_usd,
        spend_usd=round(totals.spend_usd, 4),
        budget_usd=settings.budget_usd,
        hours=round(totals.hours, 3),
        max_hours=settings.max_hours,
        launches=record.launches(),
        max_launches=settings.max_launches,
        total_timesteps=progress.get("total_timesteps", settings.total_timesteps),
        last_ending=ending,
        **figures_of(record),
    )
    if instance is not None:
        found.instance_id, found.instance_type = instance.instance_id, instance.instance_type
        found.zone, found.launched_at = instance.zone, instance.launched_at
        found.instance_run_id, found.attention = instance.run_id, cloud.other_run(instance)
        found.spot_price_usd_per_hour = cloud.spot_price(instance)
        # Without an instance at work for the run these are only what was so when it ended.
        if not found.attention:
            found.steps_per_second, found.seconds_left = progress.get("steps_per_second"), progress.get("seconds_left")
    _ask_receiver(cloud, group, found)
    return found


def _state(group: Group, done: bool, ending: Ending | None) -> str:
    if group.instance is not None:
        return "running" if group.instance.state == "running" and group.desired else f"instance {group.instance.state}"
    if group.existing:
        return "shutting down"
    if group.desired:
        return "an instance is requested (`make pair` tells what it waits for)"
    if done:
        return "finished"
    return "not started" if ending is None else "not running"


def _ask_receiver(cloud: Cloud, group: Group, found: RunStatus) -> None:
    if group.instance is None:
        found.bridges_unknown_because = "no instance"
        return
    try:
        endpoint = cloud.present_endpoint(group.instance)
        if endpoint is None:
            found.bridges_unknown_because = "the instance boots"
        else:
            found.bridges = int(metrics(cloud.pairing(endpoint))[BRIDGES])
    except OperatorError as error:
        found.bridges_unknown_because = str(error)
    except (Unreachable, PinMismatch, KeyError) as error:
        found.bridges_unknown_because = f"not reachable from here: {error}"


def rows(found: RunProgress) -> list[tuple[str, str]]:
    """The table's rows: what and how much, as people read it."""
    if not isinstance(found, RunStatus):
        return [("run", found.run_id), ("state", found.state), *progress_rows(found)]
    lines = [("run", f"{found.run_id} in {found.region}"), ("state", found.state)]
    if found.instance_id:
        since = f", since {found.launched_at:%Y-%m-%d %H:%M} UTC" if found.launched_at else ""
        works = f", for the run {found.instance_run_id}" if found.instance_run_id else ""
        lines.append(("instance", f"{found.instance_id}, {found.instance_type} in {found.zone}{since}{works}"))
        if found.attention:
            lines.append(("attention", found.attention))
        price, extra = found.spot_price_usd_per_hour, found.extra_usd_per_hour
        asked = (
            f"${price:.4f} an hour (spot), ${price + extra:.4f} with disk and address" if price is not None else None
        )
        lines.append(("price", asked or "AWS tells none"))
    spent = f"${found.spend_usd:.2f} of ${found.budget_usd:.2f}"
    if found.budget_usd:
        spent += f" ({100 * found.spend_usd / found.budget_usd:.0f} %)"
    ending = "none"
    if one := found.last_ending:
        saved = "" if one.seconds is None else f" (saved in {one.seconds:.0f} s)"
        ending = f"{one.reason.replace('_', ' ')}, {one.at:%Y-%m-%d %H:%M} UTC, {one.instance_id}: {one.text}{saved}"
    return [
        *lines,
        ("spent", spent),
        ("hours since the start", f"{found.hours:.1f} of {found.max_hours:g}"),
        ("launches since the start", f"{found.launches} of {found.max_launches}"),
        *progress_rows(found),
        ("last ending", ending),
    ]
