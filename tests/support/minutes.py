"""A minute's duties on an instance's site, and what they leave in the bucket."""

import json
from typing import Any

import msgspec

from tests.support.instance import PRICE, InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.ledger import Life
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.minute import do_duties
from train_cloud.run_folder.states import Reason

EXTRA = 0.01
PRICED = PRICE + EXTRA
"""What an hour costs in this cloud, USD."""


def look(site: InstanceSite, hours: float = 0.1, boot: str = "first", **changes: object) -> Reason | None:
    """One minute's duties, `hours` after `boot`; the reason for which the instance ends after them, if any.

    It does not end for idleness unless the test says so.
    """
    deployment = site.deployment(**({"idle_minutes": 100_000} | changes))
    do_duties(deployment, Metadata(), boot, hours * 3600.0)
    return Reason(site.ending()[0]) if site.ending() else None


def own_record(site: InstanceSite) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(site.get(f"lives/{site.metadata.instance_id}.json"))
    return record


def other_life(site: InstanceSite, name: str, hours: float, usd: float, launched_at: str) -> None:
    record = Life(
        instance_id=name,
        instance_type="g4dn.xlarge",
        availability_zone="us-east-1a",
        launched_at=launched_at,
        seen_at=launched_at,
        hours=hours,
        spend_usd=usd,
        price_source="spot price history",
    )
    site.put(f"lives/{name}.json", msgspec.json.encode(record))
