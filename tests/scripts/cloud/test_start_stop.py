"""`make start` and `make stop`: the group is asked, the run's record tells why, and what cannot work is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.start import start
from scripts.cloud.stop import stop
from tests.support.operated import NAME, RUN_ID, Operated, operated
from train_cloud.run_folder.endpoint import Endpoint

__all__ = ["operated"]


@pytest.mark.slow
def test_start_asks_for_an_instance_and_counts_hours_and_launches_anew(operated: Operated) -> None:
    operated.objects.put("launches", b"7")
    operated.spend(3.5, hours=10.0)
    said = operated.run(start)
    assert (said.code, operated.desired) == (ExitCode.OK, 1)
    assert "$3.50 of $20.00 are spent" in said.out
    assert operated.objects.get("launches")[0] == b"0"
    started = datetime.fromisoformat(operated.objects.get("started")[0].decode())
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=1)


@pytest.mark.slow
def test_start_renews_the_guard_outside_the_instance(operated: Operated) -> None:
    operated.autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName=NAME,
        ScheduledActionName=operated.deployment.schedule,
        StartTime=datetime.now(UTC) + timedelta(minutes=1),
        DesiredCapacity=0,
    )
    operated.run(start)
    actions = operated.autoscaling.describe_scheduled_actions(AutoScalingGroupName=NAME)["ScheduledUpdateGroupActions"]
    assert [action["ScheduledActionName"] for action in actions] == [operated.deployment.schedule]
    assert actions[0]["DesiredCapacity"] == 0
    left = actions[0]["StartTime"] - datetime.now(UTC)
    assert timedelta(hours=15.9) < left <= timedelta(hours=16), "what the whole budget pays for at the dearest price"


@pytest.mark.slow
def test_the_guard_outside_knows_what_is_spent(operated: Operated) -> None:
    operated.spend(15.0, hours=10.0)
    operated.run(start)
    (action,) = operated.autoscaling.describe_scheduled_actions(AutoScalingGroupName=NAME)[
        "ScheduledUpdateGroupActions"
    ]
    left = action["StartTime"] - datetime.now(UTC)
    assert timedelta(hours=3.9) < left <= timedelta(hours=4), "$5 at $1.25 an hour"


def test_a_started_run_is_left_alone(operated: Operated) -> None:
    operated.launch()
    operated.objects.put("launches", b"3")
    said = operated.run(start)
    assert said.code == ExitCode.OK
    assert f"is started already: {operated.instance_id}" in said.out
    assert operated.objects.get("launches")[0] == b"3"


def test_a_finished_run_is_not_started_again(operated: Operated) -> None:
    operated.objects.put("DONE", b"{}")
    said = operated.run(start)
    assert (said.code, operated.desired) == (ExitCode.REFUSED, 0)
    assert "has finished" in said.err
    assert "new run_id" in said.err


@pytest.mark.slow
def test_a_finished_run_is_started_when_more_steps_are_asked_for(operated: Operated) -> None:
    steps = operated.deployment.total_timesteps
    operated.objects.put("DONE", b'{"total_timesteps": %d}' % steps)
    assert operated.run(start).code == ExitCode.REFUSED
    operated.objects.put("DONE", b'{"total_timesteps": %d}' % (steps - 1))
    assert operated.run(start).code == ExitCode.OK
    assert operated.desired == 1


@pytest.mark.slow
def test_a_spent_budget_starts_nothing(operated: Operated) -> None:
    operated.spend(12.0, hours=30.0, instance_id="i-0a")
    operated.spend(8.5, hours=20.0, instance_id="i-0b")
    said = operated.run(start)
    assert (said.code, operated.desired) == (ExitCode.REFUSED, 0)
    assert "has cost $20.50 and may cost $20.00" in said.err
    assert "Raise budget_usd" in said.err


@pytest.mark.slow
def test_stop_ends_the_instance_and_says_why_in_the_bucket(operated: Operated) -> None:
    instance_id = operated.launch()
    said = operated.run(stop)
    assert (said.code, operated.desired) == (ExitCode.OK, 0)
    states = operated.server.client("ec2").describe_instances(InstanceIds=[instance_id])
    assert states["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
    (key,) = operated.objects.list("endings/")
    assert key.endswith(f"Z-{instance_id}.json")
    ending = json.loads(operated.objects.get(key)[0])
    assert (ending["reason"], ending["run_id"], ending["desired_capacity"]) == ("stopped", RUN_ID, 0)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_a_start_after_a_stop_asks_for_new_pairings_and_any_other_start_keeps_them(
    operated: Operated, stopped: bool
) -> None:
    told = Endpoint(host="racing.example.org", port=8765, pin="ab" * 32, instance_id="i-0a", run_id=RUN_ID)
    parameter, ssm = operated.deployment.endpoint_parameter, operated.server.client("ssm")
    text = msgspec.json.encode(told).decode()
    ssm.put_parameter(Name=parameter, Value=text, Type="String", Overwrite=True)
    if stopped:
        operated.launch()
        operated.run(stop)
    assert operated.run(start).code == ExitCode.OK
    kept = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    assert kept == ("unset" if stopped else text)


@pytest.mark.slow
def test_stop_with_nothing_running_changes_nothing(operated: Operated) -> None:
    said = operated.run(stop)
    assert (said.code, said.out) == (ExitCode.OK, f"Nothing runs for {RUN_ID}; nothing is changed.\n")
    assert operated.objects.list("endings/") == []


@pytest.mark.slow
def test_a_destroyed_deployment_is_told_as_one(operated: Operated) -> None:
    operated.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=NAME, ForceDelete=True)
    said = operated.run(stop)
    assert said.code == ExitCode.FAILED
    assert "does not exist in us-east-1: the deployment was destroyed" in said.err


@pytest.mark.slow
def test_a_bucket_that_is_gone_starts_nothing(operated: Operated) -> None:
    operated.server.client("s3").delete_bucket(Bucket=operated.deployment.bucket)
    said = operated.run(start)
    assert (said.code, operated.desired) == (ExitCode.STORAGE, 0)
    assert "bucket does not exist" in said.err
