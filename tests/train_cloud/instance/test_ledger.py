"""Records of lives: what is added up, and since when hours count."""

import msgspec

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.ledger import Life, add_up, read_lives, read_started, write_life


def life(name: str, launched_at: str = "2026-11-20T10:00:00Z", hours: float = 2.0, spend_usd: float = 1.0) -> Life:
    return Life(
        instance_id=name,
        instance_type="g4dn.xlarge",
        availability_zone="us-east-1a",
        launched_at=launched_at,
        seen_at=launched_at,
        hours=hours,
        spend_usd=spend_usd,
        price_source="spot price history",
    )


def test_a_life_is_kept_in_the_bucket_and_read_again(site: InstanceSite) -> None:
    objects = site.deployment().objects
    write_life(objects, life("i-1"))
    write_life(objects, life("i-2"))
    assert read_lives(objects) == {"i-1": life("i-1"), "i-2": life("i-2")}


def test_a_record_that_cannot_be_read_is_left_out(site: InstanceSite) -> None:
    site.put("lives/i-1.json", msgspec.json.encode(life("i-1")))
    site.put("lives/i-2.json", b"{broken")
    site.put("lives/i-3.json", b'{"instance_id": "i-3"}')
    assert list(read_lives(site.deployment().objects)) == ["i-1"]


def test_the_start_is_none_until_somebody_starts(site: InstanceSite) -> None:
    objects = site.deployment().objects
    assert read_started(objects) is None
    site.put("started", b"2026-11-20T12:00:00Z\n")
    assert read_started(objects) == "2026-11-20T12:00:00Z"


def test_all_lives_cost_but_hours_count_since_the_last_start() -> None:
    others = {"i-1": life("i-1"), "i-2": life("i-2", "2026-11-20T13:00:00+00:00")}
    totals = add_up(life("i-3", hours=0.5, spend_usd=0.25), others, "2026-11-20T12:00:00Z")
    assert (totals.spend_usd, totals.hours, totals.lives) == (2.25, 2.5, 3)


def test_its_own_life_counts_once_and_whatever_its_clock_says() -> None:
    own = life("i-1", "1970-01-01T00:00:00Z", hours=3.0)
    totals = add_up(own, {"i-1": life("i-1")}, "2026-11-20T12:00:00Z")
    assert (totals.hours, totals.lives) == (3.0, 1)


def test_times_that_cannot_be_read_count() -> None:
    assert add_up(life("i-2"), {"i-1": life("i-1", "yesterday")}, "2026-11-20T12:00:00Z").hours == 4.0
    assert add_up(life("i-2"), {"i-1": life("i-1")}, "soon").hours == 4.0
