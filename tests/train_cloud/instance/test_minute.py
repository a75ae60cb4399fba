"""The duties of a minute: what is counted, what ends an instance and what never does, and that each is done."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from tests.support.journal import Journal
from tests.support.minutes import PRICED, look, other_life, own_record
from tests.support.receivers import TOKEN
from tests.support.small_disk import SmallDisk
from train_cloud.instance.account import load_state
from train_cloud.instance.endings import decide
from train_cloud.instance.minute import DutyError
from train_cloud.run_folder.states import Reason


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


@pytest.mark.slow
def test_a_look_writes_what_this_life_has_cost(site: InstanceSite) -> None:
    assert look(site, 2.0) is None
    record = own_record(site)
    assert record["spend_usd"] == pytest.approx(2.0 * PRICED, rel=1e-3)
    assert record["hours"] == pytest.approx(2.0)
    assert record["price_source"] == "spot price history"
    assert (record["instance_type"], record["availability_zone"]) == ("g4dn.xlarge", "us-east-1a")


def test_the_spend_of_all_lives_ends_the_instance(site: InstanceSite) -> None:
    other_life(site, "i-1", 10.0, 19.5, "2026-01-01T00:00:00Z")
    assert look(site, 1.0) is None
    assert look(site, 2.0) is Reason.OVER_BUDGET
    reason, text = site.ending()
    assert reason == "over_budget"
    assert "has cost 20.32 USD in 2 launches, and budget_usd is 20" in text
    assert "make start" in text


def test_the_hours_since_the_last_start_end_the_instance(site: InstanceSite) -> None:
    other_life(site, "i-1", 60.0, 1.0, "2026-01-01T00:00:00Z")
    other_life(site, "i-2", 9.0, 1.0, "2026-03-01T00:00:00Z")
    site.put("started", b"2026-02-01T00:00:00Z")
    assert look(site, 0.5, max_hours=10.0) is None
    assert look(site, 1.5, max_hours=10.0) is Reason.OVER_HOURS
    assert "on for 10.5 hours since it was started, and max_hours is 10" in site.ending()[1]


def test_without_s3_the_spend_of_the_others_still_counts(site: InstanceSite) -> None:
    other_life(site, "i-1", 10.0, 19.9, "2026-01-01T00:00:00Z")
    assert look(site) is None
    site.down.add("s3")
    assert look(site, 1.0) is Reason.OVER_BUDGET


@pytest.mark.slow
def test_without_ec2_the_last_known_price_counts(site: InstanceSite) -> None:
    look(site)
    site.down.add("ec2")
    look(site, 1.0)
    record = own_record(site)
    assert record["price_source"] == "last known spot price"
    assert record["spend_usd"] == pytest.approx(PRICED, rel=1e-3)


@pytest.mark.slow
def test_without_any_service_the_instance_lives_on_until_its_own_costs_reach_the_budget(site: InstanceSite) -> None:
    site.down |= {"s3", "ec2", "ssm"}
    site.imds.failures = 1_000_000
    assert look(site, 1.0, budget_usd=1.0) is None
    assert look(site, 2.0, budget_usd=1.0) is Reason.OVER_BUDGET


def test_a_reboot_puts_by_what_was_spent(site: InstanceSite) -> None:
    look(site, 2.0)
    look(site, 0.5, boot="second")
    record = own_record(site)
    assert record["hours"] == pytest.approx(2.5)
    assert record["spend_usd"] == pytest.approx(2.5 * PRICED, rel=1e-3)


def test_a_state_that_was_damaged_is_counted_anew(site: InstanceSite) -> None:
    look(site, 2.0)
    (site.folder / "budget.json").write_bytes(b"{half")
    look(site, 2.0)
    assert own_record(site)["spend_usd"] == pytest.approx(2.0 * PRICED, rel=1e-3)


@pytest.mark.slow
def test_a_state_that_was_lost_forgets_no_earlier_boot(site: InstanceSite) -> None:
    look(site, 2.0)
    (site.folder / "budget.json").write_bytes(b"{half")
    look(site, 0.5, boot="second")
    look(site, 1.0, boot="second")
    record = own_record(site)
    assert record["spend_usd"] == pytest.approx(2.5 * PRICED, rel=1e-3)
    assert record["hours"] == pytest.approx(2.5)


@pytest.mark.slow
def test_two_instances_of_a_run_add_up(site: InstanceSite) -> None:
    look(site, 2.0)
    (site.folder / "budget.json").unlink()
    site.metadata.instance_id = "i-0fedcba9876543210"
    assert look(site, 1.0, budget_usd=2.9 * PRICED) is Reason.OVER_BUDGET
    assert "in 2 launches" in site.ending()[1]


@pytest.mark.slow
def test_a_receiver_that_never_comes_up_ends_the_instance_as_idle(site: InstanceSite) -> None:
    assert look(site, 0.1, idle_minutes=45) is None
    assert look(site, 0.8, idle_minutes=45) is None
    assert look(site, 0.9, idle_minutes=45) is Reason.IDLE
    reason, text = site.ending()
    assert reason == "idle"
    assert text.startswith("For 48 minutes the receiver has never answered, and idle_minutes is 45.")


def test_a_long_first_boot_is_not_idleness(site: InstanceSite) -> None:
    assert look(site, 10.5 / 60, idle_minutes=5) is None


def apply_limits(site: InstanceSite, text: str = "", **changes: float) -> None:
    """Write the limits parameter as Terraform does, or with `text` instead."""
    limits = {"budget_usd": 20.0, "max_hours": 72.0, "idle_minutes": 100_000.0} | changes
    site.put_parameter("limits", text or json.dumps(limits), secret=False)


@pytest.mark.slow
def test_limits_of_a_later_apply_hold_from_the_next_look_on(
    site: InstanceSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    apply_limits(site, budget_usd=5.0)
    assert look(site, 2.0, budget_usd=0.5) is None
    assert "the limits were changed by an apply" in caplog.text
    caplog.clear()
    assert look(site, 2.1, budget_usd=0.5) is None
    assert "changed by an apply" not in caplog.text
    apply_limits(site, max_hours=2.0)
    assert look(site, 2.2, budget_usd=0.5) is Reason.OVER_HOURS
    assert "max_hours is 2." in site.ending()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"budget_usd": 1}', '{"budget_usd": 1, "max_hours": 1, "idle_minutes": 1e9}', "x" * 4000],
    ids=["half", "a list", "one of three", "out of bounds", "long"],
)
def test_limits_that_are_none_leave_the_last_ones_and_are_said(
    site: InstanceSite, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    apply_limits(site, budget_usd=2.0)
    assert look(site, 1.0, budget_usd=0.1) is None
    apply_limits(site, text)
    caplog.clear()
    assert look(site, 2.0, budget_usd=0.1) is None
    (said,) = [record for record in caplog.records if "the limits stay as they were" in record.message]
    assert len(str(said.__dict__)) < 3000
    site.down.add("ssm")
    assert look(site, 3.0, budget_usd=0.1) is None
    assert look(site, 5.0, budget_usd=0.1) is Reason.OVER_BUDGET
    assert "budget_usd is 2." in site.ending()[1]


def test_a_limit_that_is_not_known_yet_keeps_no_other_from_being_taken(site: InstanceSite) -> None:
    apply_limits(site, max_hours=1.0, max_laps=5)
    assert look(site, 2.0) is Reason.OVER_HOURS


def test_each_look_is_noted_for_the_guard_over_the_looks(site: InstanceSite) -> None:
    look(site, 0.5)
    assert (site.run_folder / "looked").read_text() == "1800\n"


def test_a_look_that_cannot_be_noted_decides_all_the_same(site: InstanceSite) -> None:
    (site.run_folder / "looked").mkdir()
    with pytest.raises(DutyError, match="decide_end"):
        look(site, 100.0)
    assert site.ending()[0] == "over_budget"


def test_who_decided_first_keeps_the_reason(site: InstanceSite) -> None:
    decide(site.run_folder, Reason.FINISHED, "The run is finished.")
    look(site, 1000.0)
    assert site.ending() == ["finished", "The run is finished."]


def test_a_token_that_was_rotated_reaches_the_receivers_file(site: InstanceSite) -> None:
    look(site)
    assert (site.run_folder / "token").read_text() == TOKEN
    site.put_parameter("token", "rotatedToken0123456789")
    look(site)
    assert (site.run_folder / "token").read_text() == "rotatedToken0123456789"


def test_the_log_is_shipped_with_every_look(site: InstanceSite, journal: Journal) -> None:
    for message in ("one", "two"):
        journal.add(message)
        look(site)
    assert len(site.keys(f"logs/{site.metadata.instance_id}/")) == 2


def test_a_duty_that_fails_keeps_none_of_the_others_from_being_done(
    site: InstanceSite, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(site, 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "no url")
    site.put_parameter("token", "rotatedToken0123456789")
    journal.add("one")
    with pytest.raises(DutyError, match=r"could be done: account_spend\."):
        look(site, 1.0)
    assert (site.run_folder / "token").read_text() == "rotatedToken0123456789"
    assert len(site.keys("logs/")) == 1
    # Whose costs are not counted is not looked at: the guard over the looks ends it in time.
    assert (site.run_folder / "looked").read_text() == "1800\n"


def test_a_token_that_cannot_be_written_keeps_no_log_from_being_shipped(site: InstanceSite, journal: Journal) -> None:
    site.put_parameter("token", "rotatedToken0123456789")
    (site.run_folder / "token").mkdir()
    journal.add("one")
    with pytest.raises(DutyError, match="take_token"):
        look(site)
    assert len(site.keys("logs/")) == 1
    assert own_record(site)["hours"] > 0


def test_a_full_disk_keeps_no_ending_from_being_decided(site: InstanceSite) -> None:
    (site.folder / "budget.json").mkdir()
    assert look(site, 100.0) is Reason.OVER_BUDGET


@pytest.fixture
def small(site: InstanceSite) -> Iterator[SmallDisk]:
    """The disk on which everything of the instance lies that outlives a reboot."""
    site.folder.rmdir()
    with SmallDisk(site.folder, mebibytes=32) as disk:
        yield disk


def test_a_disk_that_stays_full_ends_the_instance_and_its_state_is_kept_in_memory(
    site: InstanceSite, small: SmallDisk
) -> None:
    assert look(site, 0.5) is None
    small.fill()
    assert look(site, 1.0) is None
    assert look(site, 1.2) is None
    assert load_state(site.folder, site.run_folder, "first").life_s == 1.2 * 3600.0
    assert look(site, 1.3) is Reason.FAILED
    assert site.ending()[1].startswith("For 18 minutes the disk has been full or could not be written")
    assert own_record(site)["hours"] == pytest.approx(1.3)


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while_ends_nothing(site: InstanceSite, small: SmallDisk) -> None:
    small.fill()
    assert look(site, 1.0) is None
    small.empty()
    assert look(site, 1.2) is None
    assert not (site.run_folder / "budget.json").exists()
    small.fill()
    assert look(site, 1.3) is None
    assert own_record(site)["hours"] == pytest.approx(1.3)
