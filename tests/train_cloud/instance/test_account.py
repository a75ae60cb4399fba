"""What lives cost: time times price, what is remembered, AWS's own answer, and the records in the bucket."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.instance import PRICE, InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.account import (
    FALLBACK,
    HISTORY,
    LAST_KNOWN,
    State,
    add_time,
    load_state,
    save_state,
    spot_price,
)
from train_cloud.instance.clients import aws_client
from train_cloud.instance.ledger import Life, add_up, read_lives, read_started, write_life

PRICES = st.floats(0, 50)
LOOKS = st.lists(st.tuples(st.floats(0, 7200), st.none() | PRICES), max_size=30)
"""Seconds since the last look, and the price that AWS tells; None where it does not answer."""


def looked(*looks: tuple[float, float | None], fallback: float = 0.5) -> Life:
    """The life after looks at these life seconds, at which AWS told these prices."""
    state = State()
    for life_s, price in looks:
        add_time(state, life_s, price, fallback, 0.0)
    return state.own


@given(LOOKS)
def test_a_cost_lies_between_the_lowest_and_the_highest_price(looks: list[tuple[float, float | None]]) -> None:
    state, life_s, spent = State(), 0.0, 0.0
    for seconds, price in looks:
        life_s += seconds
        add_time(state, life_s, price, 1.0, 0.25)
        assert state.own.spend_usd >= spent
        spent = state.own.spend_usd
    prices = [1.0, *(price for _, price in looks if price is not None)]
    assert state.own.hours == pytest.approx(life_s / 3600.0)
    assert (min(prices) + 0.25) * state.own.hours - 1e-6 <= spent <= (max(prices) + 0.25) * state.own.hours + 1e-6


@given(st.lists(st.tuples(st.floats(0, 7200), st.booleans()), max_size=30), PRICES)
def test_looking_often_with_outages_between_costs_the_same_as_looking_once(
    looks: list[tuple[float, bool]], price: float
) -> None:
    state, life_s = State(), 0.0
    add_time(state, life_s, price, 1.0, 0.25)
    for seconds, aws_answers in looks:
        life_s += seconds
        add_time(state, life_s, price if aws_answers else None, 1.0, 0.25)
    assert state.own.spend_usd == pytest.approx((price + 0.25) * life_s / 3600.0, abs=1e-6)


def test_the_time_since_the_last_look_costs_what_aws_asks_now() -> None:
    assert looked((1800.0, 1.0), (5400.0, 2.0), (7200.0, 4.0)).spend_usd == pytest.approx(0.5 * 1 + 1 * 2 + 0.5 * 4)


def test_while_aws_is_silent_the_last_known_price_counts() -> None:
    life = looked((3600.0, 2.0), (7200.0, None))
    assert life.spend_usd == pytest.approx(4.0)
    assert life.price_source == LAST_KNOWN
    assert looked((3600.0, 2.0), (7200.0, 2.0)).price_source == HISTORY


def test_where_aws_never_told_a_price_the_fallback_counts() -> None:
    life = looked((7200.0, None))
    assert life.spend_usd == pytest.approx(1.0)
    assert life.price_source == FALLBACK


def test_a_life_that_seems_to_run_backwards_costs_no_less_and_nothing_twice() -> None:
    life = looked((7200.0, 1.0), (3600.0, 1.0), (7200.0, 1.0), (10800.0, 1.0))
    assert life.spend_usd == pytest.approx(3.0)
    assert life.hours == pytest.approx(3.0)


def test_aws_tells_the_price_of_this_type_and_zone(site: InstanceSite) -> None:
    ec2 = aws_client("ec2", "us-east-1")
    assert spot_price(ec2, "g4dn.xlarge", "us-east-1a") == PRICE
    assert spot_price(ec2, "x1.huge", "us-east-1a") is None
    site.down.add("ec2")
    assert spot_price(ec2, "g4dn.xlarge", "us-east-1a") is None


class ScriptedHistory:
    """EC2 that changed the price twice during the hour before `now`, by its own clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def get_paginator(self, name: str) -> "ScriptedHistory":
        assert name == "describe_spot_price_history"
        return self

    def paginate(self, **_: object) -> list[dict[str, object]]:
        prices = [(timedelta(minutes=30), "3.0"), (timedelta(minutes=90), "1.0")]
        return [{"SpotPriceHistory": [{"Timestamp": self.now - ago, "SpotPrice": price}]} for ago, price in prices]


@pytest.mark.parametrize("years", [-20, 0, 20])
def test_a_wall_clock_that_is_wrong_changes_no_price(years: int) -> None:
    assert spot_price(ScriptedHistory(datetime.now(UTC) + timedelta(days=365 * years)), "g4dn.xlarge", "a") == 3.0


def test_a_state_survives_being_written_and_read(tmp_path: Path) -> None:
    state = State(boot="b", life_s=60.0, active_s=12.5, stored_steps=7, started="2026-01-01T00:00:00Z")
    save_state(tmp_path, tmp_path / "run", state)
    assert load_state(tmp_path, tmp_path / "run", "b") == state


def test_another_boot_begins_its_clocks_anew(tmp_path: Path) -> None:
    save_state(tmp_path, tmp_path / "run", State(boot="b", life_s=60.0, price=0.3, active_s=12.5, stored_steps=7))
    assert load_state(tmp_path, tmp_path / "run", "c") == State(boot="c", price=0.3)


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
