"""What a life costs: the integral over price steps, what is remembered, and AWS's own answer."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.instance import PRICE, InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.clients import aws_client
from train_cloud.instance.spend import FALLBACK, HISTORY, LAST_KNOWN, PriceStep, Spent, cost_usd, price_steps, spent_usd

SECONDS = st.floats(0, 1e6)
STEPS = st.lists(st.builds(PriceStep, st.floats(-1e6, 1e6), st.floats(0, 50)), min_size=1, max_size=12)


@given(STEPS, SECONDS, SECONDS, SECONDS)
def test_a_cost_is_the_sum_of_the_costs_of_its_parts(steps: list[PriceStep], a: float, b: float, c: float) -> None:
    a, b, c = sorted((a, b, c))
    assert cost_usd(steps, a, b) + cost_usd(steps, b, c) == pytest.approx(cost_usd(steps, a, c), abs=1e-6)


@given(STEPS, SECONDS, SECONDS)
def test_a_cost_lies_between_the_lowest_and_the_highest_price(steps: list[PriceStep], a: float, b: float) -> None:
    begin, end = sorted((a, b))
    prices = [step.usd_per_hour for step in steps]
    hours = (end - begin) / 3600.0
    assert min(prices) * hours - 1e-6 <= cost_usd(steps, begin, end) <= max(prices) * hours + 1e-6


@given(STEPS, st.lists(st.tuples(st.floats(0, 7200), st.booleans()), max_size=30))
def test_looking_often_with_outages_between_costs_the_same_as_looking_once(
    steps: list[PriceStep], looks: list[tuple[float, bool]]
) -> None:
    life, spent = 0.0, Spent()
    for seconds, aws_answers in looks:
        life += seconds
        cost, _, spent = spent_usd(spent, life, steps if aws_answers else None, 1.0)
        assert cost >= 0
    life += 60.0
    cost, source, _ = spent_usd(spent, life, steps, 1.0)
    assert cost == pytest.approx(cost_usd(steps, 0.0, life), abs=1e-6)
    assert source == HISTORY


def test_each_price_counts_for_as_long_as_it_was_in_force() -> None:
    steps = [PriceStep(1800.0, 2.0), PriceStep(-50.0, 1.0), PriceStep(5400.0, 4.0)]
    assert cost_usd(steps, 0.0, 7200.0) == pytest.approx(0.5 * 1.0 + 1.0 * 2.0 + 0.5 * 4.0)


def test_while_aws_is_silent_the_last_known_price_counts() -> None:
    _, _, spent = spent_usd(Spent(), 3600.0, [PriceStep(0.0, 2.0)], 0.5)
    cost, source, _ = spent_usd(spent, 7200.0, None, 0.5)
    assert cost == pytest.approx(4.0)
    assert source == LAST_KNOWN


def test_where_aws_never_told_a_price_the_fallback_counts() -> None:
    cost, source, spent = spent_usd(Spent(), 7200.0, None, 0.5)
    assert cost == pytest.approx(1.0)
    assert source == FALLBACK
    assert spent_usd(spent, 7200.0, [], 0.5)[:2] == (cost, FALLBACK)


def test_what_was_counted_at_a_wrong_price_is_counted_again_when_aws_answers() -> None:
    _, _, spent = spent_usd(Spent(), 7200.0, None, 0.5)
    cost, source, _ = spent_usd(spent, 7200.0, [PriceStep(0.0, 2.0)], 0.5)
    assert cost == pytest.approx(4.0)
    assert source == HISTORY


def test_aws_tells_the_price_of_this_type_and_zone(site: InstanceSite) -> None:
    ec2 = aws_client("ec2", site.deployment().config.region)
    steps = price_steps(ec2, "g4dn.xlarge", "us-east-1a", 600.0, 0.0)
    assert steps is not None
    assert {step.usd_per_hour for step in steps} == {PRICE}
    assert steps[0].since_s < 0


def test_a_type_without_a_price_gives_none_and_a_silent_aws_no_answer(site: InstanceSite) -> None:
    ec2 = aws_client("ec2", "us-east-1")
    assert price_steps(ec2, "x1.huge", "us-east-1a", 600.0, 0.0) == []
    site.down.add("ec2")
    assert price_steps(ec2, "g4dn.xlarge", "us-east-1a", 600.0, 0.0) is None


class ScriptedHistory:
    """EC2 that changed the price twice during the hour before `now`, by its own clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def get_paginator(self, name: str) -> "ScriptedHistory":
        assert name == "describe_spot_price_history"
        return self

    def paginate(self, **_: object) -> list[dict[str, object]]:
        entries = [(timedelta(minutes=90), "1.0"), (timedelta(minutes=30), "3.0")]
        return [
            {
                "ResponseMetadata": {"HTTPHeaders": {"date": self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")}},
                "SpotPriceHistory": [{"Timestamp": self.now - ago, "SpotPrice": price} for ago, price in entries],
            }
        ]


@pytest.mark.parametrize("years", [-20, 0, 20])
def test_a_wall_clock_that_is_wrong_changes_no_cost(years: int) -> None:
    aws_now = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365 * years)
    steps = price_steps(ScriptedHistory(aws_now), "g4dn.xlarge", "us-east-1a", 3600.0, 0.0)
    assert steps is not None
    assert cost_usd(steps, 0.0, 3600.0) == pytest.approx(0.5 * 1.0 + 0.5 * 3.0)
