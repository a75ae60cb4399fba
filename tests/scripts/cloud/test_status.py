"""`make status` tells the whole of a run from what AWS, the bucket and the receiver say, also when nothing runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.status import status
from tests.support.operated import Operated, operated
from tests.support.receivers import Client, hello
from train_cloud.run_folder.keys import LATEST

__all__ = ["operated"]

METRICS = {
    "steps": 50_000,
    "total_timesteps": 200_000,
    "steps_per_second": 20.0,
    "seconds_left": 7500.0,
    "laps": 31,
    "clean_laps": 12,
    "best_lap_s": 61.25,
    "mean_reward": 88.4,
}


def figures(operated: Operated) -> dict[str, Any]:
    said = operated.run(status, "--json")
    assert said.code == ExitCode.OK, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.slow
def test_nothing_runs_and_nothing_ever_did(operated: Operated) -> None:
    said = operated.run(status)
    assert said.code == ExitCode.OK
    lines = dict(line.split(": ", 1) for line in said.out.splitlines())
    assert lines["state"] == "not started"
    assert lines["spent"] == "$0.00 of $20.00 (0 %)"
    assert lines["steps"] == "0 of 200,000 (0.0 %)"
    assert (lines["best lap"], lines["last checkpoint"], lines["last ending"]) == ("none yet", "none yet", "none")
    assert lines["bridges"] == "unknown (no instance)"


@pytest.mark.slow
def test_a_running_run_with_a_bridge(operated: Operated) -> None:
    operated.objects.put("metrics.json", json.dumps(METRICS).encode())
    operated.objects.put(LATEST, b'{"folder": "checkpoints/x/", "steps": 40000, "updates": 1, "files": {}}')
    operated.objects.put("launches", b"2")
    operated.spend(1.25, hours=5.0)
    with operated.receiver() as running, Client(running.pairing()) as client:
        client.begin(hello(operated.config))
        found = figures(operated)
        said = operated.run(status)
    assert (found["state"], found["instance_id"]) == ("running", operated.instance_id)
    assert (found["instance_type"], found["zone"]) == ("g4dn.xlarge", "us-east-1a")
    assert found["spot_price_usd_per_hour"] == 0.22
    assert (found["spend_usd"], found["hours"], found["launches"]) == (1.25, 5.0, 2)
    assert found["bridges"] == 1
    assert (found["checkpoint_steps"], found["checkpoint_age_s"] < 60) == (40_000, True)
    assert "steps: 50,000 of 200,000 (25.0 %), 20.0 a second, 2h05m left\n" in said.out
    assert "laps, clean ones: 31, 12\nbest lap: 1:01.250\n" in said.out


@pytest.mark.slow
def test_how_the_policy_stands_against_the_human_is_told_once_there_is_a_lap_of_his(operated: Operated) -> None:
    yours, best = [20.0, 21.0, 18.75], [20.4, 21.7, 19.1]
    for known, row in (
        ({}, None),
        ({"human_sectors_s": None, "policy_sectors_s": best}, None),
        ({"human_sectors_s": yours, "policy_sectors_s": None}, "no clean lap yet, yours 59.8 s"),
        ({"human_sectors_s": yours, "policy_sectors_s": best}, "best 61.2 s, yours 59.8 s: +0.4 +0.7 +0.4"),
        (
            {"human_sectors_s": best, "policy_sectors_s": [20.39, 21.0, 19.1]},
            "best 60.5 s, yours 61.2 s: +0.0 -0.7 +0.0",
        ),
    ):
        operated.objects.put("metrics.json", json.dumps(METRICS | known).encode())
        lines = dict(line.split(": ", 1) for line in operated.run(status).out.splitlines())
        assert lines.get("against your best lap") == row
        assert figures(operated)["human_sectors_s"] == known.get("human_sectors_s")


@pytest.mark.slow
def test_a_receiver_out_of_reach_is_told_and_the_rest_is_there(operated: Operated) -> None:
    with operated.receiver() as running:
        running.kill()
        found = figures(operated)
    assert found["bridges"] is None
    assert found["bridges_unknown_because"].startswith("not reachable from here: connection refused")
    assert found["state"] == "running"


def test_an_address_that_cannot_be_read_is_told_and_the_rest_is_there(operated: Operated) -> None:
    name = operated.deployment.endpoint_parameter
    operated.launch()
    operated.ssm.put_parameter(Name=name, Value="{", Type="String", Overwrite=True)
    found = figures(operated)
    assert (found["state"], found["bridges"]) == ("running", None)
    assert found["bridges_unknown_because"].startswith(f"The parameter {name} does not hold an address.")


@pytest.mark.slow
def test_hours_begin_anew_with_make_start_and_the_spend_does_not(operated: Operated) -> None:
    operated.spend(4.0, hours=10.0)
    operated.objects.put("started", b"2099-01-01T00:00:00+00:00")
    found = figures(operated)
    assert (found["hours"], found["spend_usd"]) == (0.0, 4.0)


def test_after_an_ending_it_says_why(operated: Operated) -> None:
    operated.objects.put("metrics.json", json.dumps(METRICS).encode())
    operated.end("over_hours", "48 hours are over.")
    found = figures(operated)
    assert (found["state"], found["last_ending"]["reason"]) == ("not running", "over_hours")
    # A rate of the past says nothing about how long it will take.
    assert found["steps_per_second"] is None
    operated.objects.put("DONE", b"")
    assert figures(operated)["state"] == "finished"


def test_records_that_cannot_be_read_leave_gaps(operated: Operated) -> None:
    operated.objects.put("metrics.json", b"not json")
    operated.objects.put("launches", b"many")
    operated.objects.put("lives/i-0a.json", b"{}")
    operated.objects.put("endings/20261120T000000Z-i-0a.json", b"\xff")
    found = figures(operated)
    assert (found["steps"], found["launches"], found["spend_usd"], found["last_ending"]) == (0, 0, 0.0, None)
