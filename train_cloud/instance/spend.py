"""What a life has cost so far: the spot price in force at each moment, integrated over the life, and the extras.

Time is counted in life seconds (runtime.boot_clock), never by this machine's wall clock: the moments at which
AWS changed the price are placed by AWS's own clock, which stands in its answer. What was priced once is kept; what AWS
could not price yet is counted at the last known price and priced again when AWS answers.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from runtime.logs import fields

PRODUCTS = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]
"""Two names of one price: which of them AWS states depends on the account's age."""
HISTORY, LAST_KNOWN, FALLBACK = "spot price history", "last known spot price", "fallback_price_usd_per_hour"
_MARGIN = timedelta(minutes=10)
"""How much further back than needed is asked: this machine's clock may be a little ahead."""

SETTLE_SECONDS = 3600.0
"""AWS may tell of a new price a little late: what is younger than this is priced again each time."""

_log = logging.getLogger(__name__)


class PriceStep(msgspec.Struct, frozen=True):
    """From life second `since_s` on (negative: before this life) the instance costs `usd_per_hour`."""

    since_s: float
    usd_per_hour: float


class Spent(msgspec.Struct):
    """What a boot has cost: `priced_usd` up to life second `priced_s`; `last_price` (an hour) is the newest known."""

    priced_usd: float = 0.0
    priced_s: float = 0.0
    last_price: float | None = None


def cost_usd(steps: Sequence[PriceStep], begin_s: float, end_s: float) -> float:
    """What the time from `begin_s` to `end_s` costs; before the first step its price counts.

    Raises ValueError without a step, or when the end is before the beginning.
    """
    if not steps or end_s < begin_s:
        raise ValueError("a cost needs at least one price and a time that does not run backwards")
    ordered = sorted(steps, key=lambda step: step.since_s)
    total, since = 0.0, begin_s
    for step, following in zip(ordered, [*ordered[1:], None], strict=True):
        until = end_s if following is None else min(max(following.since_s, begin_s), end_s)
        total += step.usd_per_hour * (until - since) / 3600.0
        since = until
    return total


def spent_usd(
    spent: Spent, life_s: float, steps: Sequence[PriceStep] | None, fallback: float
) -> tuple[float, str, Spent]:
    """What this boot has cost at life second `life_s`, by which price, and what to remember for the next time.

    `steps` is what AWS states; None (it did not answer) or nothing (it knows no price) count the time since it last
    did at the last known price, else at `fallback`.
    """
    now_s = max(life_s, spent.priced_s)
    if steps:
        settled_s = max(spent.priced_s, now_s - SETTLE_SECONDS)
        settled = spent.priced_usd + cost_usd(steps, spent.priced_s, settled_s)
        newest = max(steps, key=lambda step: step.since_s)
        total = settled + cost_usd(steps, settled_s, now_s)
        return total, HISTORY, Spent(settled, settled_s, newest.usd_per_hour)
    price, source = (fallback, FALLBACK) if spent.last_price is None else (spent.last_price, LAST_KNOWN)
    return spent.priced_usd + cost_usd([PriceStep(0.0, price)], spent.priced_s, now_s), source, spent


def price_steps(
    ec2: Any, instance_type: str, availability_zone: str, life_s: float, since_s: float
) -> list[PriceStep] | None:
    """The prices that AWS states from life second `since_s` on, the one in force then included.

    None when it did not answer. AWS may also know no price; then the list is empty.
    """
    start = datetime.now(UTC) - timedelta(seconds=max(0.0, life_s - since_s)) - _MARGIN
    steps: list[PriceStep] = []
    try:
        pages = ec2.get_paginator("describe_spot_price_history").paginate(
            StartTime=start,
            InstanceTypes=[instance_type],
            AvailabilityZone=availability_zone,
            ProductDescriptions=PRODUCTS,
        )
        for page in pages:
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            steps += [
                PriceStep(life_s - (now - entry["Timestamp"]).total_seconds(), float(entry["SpotPrice"]))
                for entry in page["SpotPriceHistory"]
            ]
    except (BotoCoreError, ClientError, LookupError, ValueError, TypeError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        _log.warning("AWS does not tell the spot price; the last known one counts", extra=fields(problem=code))
        return None
    return steps
