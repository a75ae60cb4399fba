"""The duties of a minute: what is counted, what ends an instance and what never does, and that each is done."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.instance import PRICE, InstanceSite
from tests.support.instance import site as site
from tests.support.journal import Journal
from tests.support.receivers import TOKEN, Client, ReceiverProcess, hello, receiver_process
from tests.support.small_disk import SmallDisk
from train_cloud.instance.account import State, load_state
from train_cloud.instance.config import Deployment
from train_cloud.instance.endings import decide
from train_cloud.instance.ledger import Life
from train_cloud.instance.limits import Activity, ask_receiver, idle_seconds
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.minute import DutyError, do_duties
from train_cloud.receiver.tls import load_identity
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.states import Reason
from wire.messages import Drain

EXTRA = 0.01
PRICED = PRICE + EXTRA
"""What an hour costs in this cloud, USD."""


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


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


def test_without_ec2_the_last_known_price_counts(site: InstanceSite) -> None:
    look(site)
    site.down.add("ec2")
    look(site, 1.0)
    record = own_record(site)
    assert record["price_source"] == "last known spot price"
    assert record["spend_usd"] == pytest.approx(PRICED, rel=1e-3)


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


def test_a_state_that_was_lost_forgets_no_earlier_boot(site: InstanceSite) -> None:
    look(site, 2.0)
    (site.folder / "budget.json").write_bytes(b"{half")
    look(site, 0.5, boot="second")
    look(site, 1.0, boot="second")
    record = own_record(site)
    assert record["spend_usd"] == pytest.approx(2.5 * PRICED, rel=1e-3)
    assert record["hours"] == pytest.approx(2.5)


def test_two_instances_of_a_run_add_up(site: InstanceSite) -> None:
    look(site, 2.0)
    (site.folder / "budget.json").unlink()
    site.metadata.instance_id = "i-0fedcba9876543210"
    assert look(site, 1.0, budget_usd=2.9 * PRICED) is Reason.OVER_BUDGET
    assert "in 2 launches" in site.ending()[1]


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


def test_a_disk_that_is_full_for_a_while_ends_nothing(site: InstanceSite, small: SmallDisk) -> None:
    small.fill()
    assert look(site, 1.0) is None
    small.empty()
    assert look(site, 1.2) is None
    assert not (site.run_folder / "budget.json").exists()
    small.fill()
    assert look(site, 1.3) is None
    assert own_record(site)["hours"] == pytest.approx(1.3)


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


@pytest.mark.parametrize(
    ("story", "idle"),
    [
        ([(0, None), (600, None)], 600),
        ([(600, Activity(0, 0)), (660, Activity(0, 0))], 60),
        ([(600, Activity(0, 500)), (660, Activity(0, 500)), (720, Activity(0, 520)), (780, Activity(0, 520))], 60),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, None), (780, None)], 120),
        ([(600, Activity(0, 0)), (5000, Activity(2, 0))], 0),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, Activity(1, 0)), (5000, Activity(2, 0))], 4340),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, Activity(0, 0)), (780, Activity(1, 0))], 120),
        ([(0, Activity(1, 9)), (60, Activity(0, 9)), (660, Activity(1, 9)), (720, Activity(1, 9))], 60),
        ([(600, Activity(1, 9, 5)), (660, Activity(1, 9, 6)), (720, Activity(1, 9, 6))], 60),
        ([(600, Activity(0, 9, 5)), (660, Activity(0, 9, 6)), (720, Activity(0, 9, 7))], 120),
    ],
    ids=[
        "never answered",
        "first answer begins the count",
        "stored more",
        "answers no more",
        "connected",
        "only connected",
        "comes and goes without driving",
        "comes again after it has driven",
        "waits for the trainer",
        "learns without a bridge",
    ],
)
def test_idle_is_the_time_since_somebody_used_the_receiver(
    story: list[tuple[float, Activity | None]], idle: float
) -> None:
    state = State()
    measured = [idle_seconds(state, life_s, activity) for life_s, activity in story]
    assert measured[-1] == idle


class RunningReceiver:
    """A real receiver with TLS on an instance's folder."""

    def __init__(self, site: InstanceSite, process: ReceiverProcess) -> None:
        self.process, self.pairing = process, process.pairing()
        (site.run_folder / "token").write_text(TOKEN)
        self._token = site.run_folder / "token"

    def ask(self, port: int | None = None, pem: Path | None = None) -> Activity | None:
        return ask_receiver(port or self.pairing.port, pem or self.process.folder / "tls.pem", self._token)


@pytest.fixture
def receiver(site: InstanceSite) -> Iterator[RunningReceiver]:
    bucket = site.deployment().run.bucket
    config = msgspec.structs.replace(
        site.deployment().run, bucket=bucket, listen_host="127.0.0.1", listen_port=0, public_host="127.0.0.1"
    )
    with receiver_process(config, site.folder) as process:
        yield RunningReceiver(site, process)


def bridge(receiver: RunningReceiver, config: RunConfig) -> Client:
    client = Client(receiver.pairing)
    client.begin(hello(config))
    return client


def test_a_real_receiver_tells_bridges_and_steps_to_who_has_its_pin_and_token(
    site: InstanceSite, receiver: RunningReceiver, tmp_path: Path
) -> None:
    assert receiver.ask() == Activity(0, 0)
    with bridge(receiver, site.deployment().run) as client:
        client.store(1, 2)
        assert receiver.ask() == Activity(1, 40)
    (tmp_path / "other").mkdir()
    load_identity(tmp_path / "other", "127.0.0.1")
    assert receiver.ask(pem=tmp_path / "other/tls.pem") is None
    assert receiver.ask(port=1) is None


def test_a_bridge_that_only_stays_is_warned_and_then_the_instance_ends(
    site: InstanceSite, receiver: RunningReceiver
) -> None:
    site.put_parameter("token", TOKEN)

    def looked(hours: float) -> Reason | None:
        deployment = site.deployment(idle_minutes=10)
        run = msgspec.structs.replace(deployment.run, listen_port=receiver.pairing.port)
        here = Deployment(deployment.config, run, site.folder, site.run_folder)
        do_duties(here, Metadata(), "first", hours * 3600.0)
        return Reason(site.ending()[0]) if site.ending() else None

    with bridge(receiver, site.deployment().run) as client:
        assert looked(5.0) is None
        client.store(1)
        assert looked(10.0) is None
        assert looked(10.1) is None
        told = client.hear(Drain).reason
        assert told.startswith("Nothing new was driven for 6 minutes")
        assert "idle_minutes is 10" in told
        client.store(2)
        assert looked(10.2) is None
        assert not (site.folder / "warning").exists()
        assert looked(10.36) is None
        assert client.hear(Drain).reason.startswith("Nothing new was driven for 10 minutes")
        assert looked(10.4) is Reason.IDLE
    assert "nothing new was driven" in site.ending()[1]
