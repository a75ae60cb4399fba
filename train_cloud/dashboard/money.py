"""What a run on an instance has cost and how long its budget lasts, from the files of the instance's guards."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from train_cloud.instance.account import State
from train_cloud.instance.config import ConfigError, InstanceConfig
from train_cloud.instance.ledger import add_up
from train_cloud.run_folder.files import BUDGET, INSTANCE_CONFIG
from train_cloud.settings import load_settings

_LEAST_RATE = 1e-6
"""USD an hour: what costs nothing lasts for long, and not for ever."""


class Money(msgspec.Struct, frozen=True):
    """Of all lives of the run together; prices in US dollars."""

    spent_usd: float
    usd_per_hour: float
    budget_usd: float
    hours_left: float
    launches: int

    @property
    def left_usd(self) -> float:
        """What is not spent."""
        return self.budget_usd - self.spent_usd


def money_of(instance_folder: Path, folders: Sequence[Path]) -> Money | None:
    """What the guards last said in one of `folders`; None where there is no instance, or none of it can be read."""
    try:
        config = load_settings(instance_folder / INSTANCE_CONFIG, InstanceConfig, "The instance's settings", "one")
    except ConfigError:
        return None
    for folder in folders:
        try:
            state = msgspec.json.decode((folder / BUDGET).read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            continue
        totals = add_up(state.own, state.others, state.started)
        budget = config.budget_usd if state.limits is None else state.limits.budget_usd
        price = config.fallback_price_usd_per_hour if state.price is None else state.price
        rate = price + config.hourly_extra_usd
        hours = max(0.0, budget - totals.spend_usd) / max(rate, _LEAST_RATE)
        return Money(totals.spend_usd, rate, budget, hours, totals.lives)
    return None
