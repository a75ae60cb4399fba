"""The guard outside an instance: when it acts, and who moves it on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from tests.support.journal import Journal
from tests.support.minutes import PRICED, look, other_life
from train_cloud.run_folder.states import Reason


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


def guard(site: InstanceSite) -> timedelta:
    """In how long the guard outside acts."""
    scaling = site.aws.client("autoscaling")
    (action,) = scaling.describe_scheduled_actions(AutoScalingGroupName="ac-test")["ScheduledUpdateGroupActions"]
    assert (action["ScheduledActionName"], action["DesiredCapacity"]) == ("ac-test-max-hours", 0)
    left: timedelta = action["StartTime"] - datetime.now(UTC)
    return left


def moved_to(site: InstanceSite, hours: float) -> bool:
    return abs(guard(site) - timedelta(hours=hours)) < timedelta(minutes=2)


def test_who_counts_its_money_moves_the_guard_outside_on_by_what_is_left(site: InstanceSite) -> None:
    other_life(site, "i-1", 10.0, 8.0, "2026-01-01T00:00:00Z")
    look(site, 2.0)
    assert moved_to(site, 12.0 - 2.0 * PRICED)
    look(site, 2.1)
    assert moved_to(site, 12.0 - 2.0 * PRICED), "ten minutes have not passed"
    look(site, 12.0)
    assert moved_to(site, 12.0 - 12.0 * PRICED)


def test_the_guard_outside_acts_an_hour_after_max_hours_at_the_latest(site: InstanceSite) -> None:
    other_life(site, "i-1", 60.0, 1.0, "2026-01-01T00:00:00Z")
    look(site, 2.0)
    assert moved_to(site, 72.0 - 62.0 + 1.0)


def test_the_guard_outside_leaves_time_for_an_end_with_a_reason(site: InstanceSite) -> None:
    other_life(site, "i-1", 10.0, 19.8, "2026-01-01T00:00:00Z")
    assert look(site, 0.1) is None
    assert moved_to(site, 0.5)


@pytest.mark.slow
def test_who_has_decided_to_end_moves_no_guard(site: InstanceSite) -> None:
    look(site, 2.0)
    before = guard(site)
    assert look(site, 60.0) is Reason.OVER_BUDGET
    assert guard(site) <= before


def test_a_guard_that_cannot_be_moved_is_tried_again(site: InstanceSite) -> None:
    site.down.add("autoscaling")
    assert look(site, 1.0) is None
    site.down.clear()
    look(site, 1.02)
    assert moved_to(site, 20.0 - 1.02 * PRICED)
