"""`make cost`: what an hour on each instance type costs, all in, and how many hours and runs the budget pays for.

Prices come from a file (terraform/prices.json unless another is named), so that it works without an AWS account; they
are typical ones, not today's. How fast a run goes is measured by the run, when there is one, else taken as real time.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import typer
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Meta
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from racing.task_config import TaskConfig
from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note
from scripts.cloud.deployment import AppliedDeployment, OperatorError, load_deployment
from train_cloud.object_store import ObjectStoreError
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.settings import ConfigError, load_settings

PRICES = Path("terraform/prices.json")
_STEPS = RunConfig(run_id="none", bucket=BucketConfig(name="none")).total_timesteps
_UNDEPLOYED = SimpleNamespace(budget_usd=20.0, volume_gb=100, total_timesteps=_STEPS, instance_types=())
"""Without a deployment: what Terraform's variables begin with."""
_HEADINGS = ("type", "vCPU", "GPU", "on demand $/h", "spot $/h", "all in $/h")
Dollars = Annotated[float, Meta(ge=0)]


class TypePrices(msgspec.Struct, kw_only=True, frozen=True):
    """One instance type: what it has, and its US dollars an hour."""

    vcpu: int
    memory_gib: float
    gpu: str | None
    on_demand_usd_per_hour: Dollars
    spot_usd_per_hour: Dollars


class Prices(msgspec.Struct, kw_only=True, frozen=True):
    """terraform/prices.json."""

    date: str
    region: str
    hours_per_month: Annotated[float, Meta(gt=0)]
    gp3_usd_per_gb_month: Dollars
    public_ipv4_usd_per_hour: Dollars
    s3_usd_per_gb_month: Dollars = 0.0
    instance_types: dict[str, TypePrices]


def cost(
    budget: Annotated[
        float | None, typer.Option(envvar="AC_BUDGET", min=0.0, help="US dollars; default: the deployment's, or 20.")
    ] = None,
    prices: Annotated[Path, typer.Option(envvar="AC_PRICES", help="JSON file with the prices.")] = PRICES,
    deployment: DeploymentFile = None,
) -> None:
    """Show what the budget pays for on each instance type."""
    try:
        listed = load_settings(prices, Prices, "The prices in", "a JSON file like terraform/prices.json")
    except ConfigError as error:
        raise OperatorError(str(error), ExitCode.USAGE) from error
    applied = None
    try:
        applied = load_deployment(deployment)
    except OperatorError:
        # A file that was named must be one; without one there need not be a deployment.
        if deployment is not None:
            raise
    settings = applied or _UNDEPLOYED
    measured = _measured_rate(applied) if applied else None
    rate, dollars = measured or TaskConfig().control_hz, settings.budget_usd if budget is None else budget
    run_hours = settings.total_timesteps / rate / 3600
    chosen = " * is among this deployment's instance_types." if settings.instance_types else ""
    pace = f"{rate:.1f} a second ({'as this run measured' if measured else 'one car in real time'})"
    paid = f"${dollars:g}"
    headings = [*_HEADINGS, f"hours for {paid}", f"runs for {paid}"]
    rows = _rows(listed, dollars, settings, run_hours)
    if sys.stdout.isatty():
        # As narrow as a terminal of 80 columns.
        table = Table(title=f"What {paid} pay for", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number in (0, 2) else "right", no_wrap=number in (0, 2))
        for row in rows:
            table.add_row(*row)
        Console(highlight=False).print(table)
    else:
        for row in [headings, *rows]:
            print("\t".join(row))
    print(
        f"All in: spot, a disk of {settings.volume_gb} GB, a public address. A run: {settings.total_timesteps:,} steps "
        f"at {pace}, {run_hours:.1f} hours.{chosen} Prices: typical ones of {listed.region}, {listed.date}; spot "
        "prices move."
    )


def _measured_rate(deployment: AppliedDeployment) -> float | None:
    """Steps a second over the whole life of the run's trainers; None when there is no run, or no way to ask."""
    try:
        metrics: dict[str, Any] = Cloud(deployment).record.metrics()
    except (ObjectStoreError, BotoCoreError, ClientError) as error:
        note(f"The run's own pace is not known ({type(error).__name__}); real time is taken.")
        return None
    seconds, steps = metrics.get("seconds") or 0.0, metrics.get("steps") or 0
    return steps / seconds if steps and seconds else None


def _rows(prices: Prices, dollars: float, settings: Any, run_hours: float) -> list[list[str]]:
    """One row for each type in the file, the cheapest hour first."""
    extra = settings.volume_gb * prices.gp3_usd_per_gb_month / prices.hours_per_month + prices.public_ipv4_usd_per_hour
    rows = []
    for name, entry in sorted(prices.instance_types.items(), key=lambda item: item[1].spot_usd_per_hour):
        all_in = entry.spot_usd_per_hour + extra
        hours = dollars / all_in if all_in else float("inf")
        marked = name + (" *" if name in settings.instance_types else "")
        hourly = (entry.on_demand_usd_per_hour, entry.spot_usd_per_hour, all_in)
        what = [marked, str(entry.vcpu), (entry.gpu or "none").removeprefix("1 x ")]
        rows.append([*what, *(f"{price:.3f}" for price in hourly), f"{hours:.0f}", f"{hours / run_hours:.1f}"])
    return rows
