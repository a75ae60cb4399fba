"""An instance that works for another run than the deployment speaks of: every command says so, and none takes one for
the other."""

from __future__ import annotations

import json

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.fetch import fetch
from scripts.cloud.logs import logs
from scripts.cloud.pair import pair
from scripts.cloud.rotate_token import rotate_token
from scripts.cloud.start import start
from scripts.cloud.status import status
from scripts.cloud.stop import stop
from tests.support.operated import RUN_ID, Operated, operated

__all__ = ["operated"]

OTHER = "lap-2"
SENTENCE = f"works for the run {RUN_ID}, while this deployment is for the run {OTHER}."


@pytest.fixture
def told_apart(operated: Operated) -> Operated:
    """An instance for RUN_ID, and a deployment that is for OTHER."""
    operated.launch()
    operated.change(run_id=OTHER)
    return operated


@pytest.mark.slow
def test_status_shows_both(told_apart: Operated) -> None:
    said = told_apart.run(status)
    lines = dict(line.split(": ", 1) for line in said.out.splitlines())
    assert lines["run"] == f"{OTHER} in us-east-1"
    assert lines["instance"].endswith(f", for the run {RUN_ID}")
    assert SENTENCE in lines["attention"]
    found = json.loads(told_apart.run(status, "--json").out)
    assert (found["run_id"], found["instance_run_id"]) == (OTHER, RUN_ID)


@pytest.mark.slow
def test_status_asks_the_receiver_of_that_instance(operated: Operated) -> None:
    with operated.receiver():
        operated.change(run_id=OTHER)
        found = json.loads(operated.run(status, "--json").out)
    assert (found["bridges"], found["seconds_left"]) == (0, None)


@pytest.mark.parametrize("command", [start, pair], ids=["start", "pair"])
def test_start_and_pair_are_refused_with_the_way(told_apart: Operated, command: object) -> None:
    said = told_apart.run(start if command is start else pair)
    assert (said.code, said.out, told_apart.desired) == (ExitCode.REFUSED, "", 1)
    assert SENTENCE in said.err
    assert f"`make stop` saves {RUN_ID} and ends it, and `make start` then begins {OTHER}." in said.err


def test_stop_ends_the_run_that_the_instance_works_for(told_apart: Operated) -> None:
    instance_id = told_apart.instance_id
    said = told_apart.run(stop)
    assert (said.code, told_apart.desired) == (ExitCode.OK, 0)
    assert said.out.startswith(f"Stopped the run {RUN_ID}. Everything is in s3://ac-operated-bucket/runs/{RUN_ID}/")
    assert f"`make start` begins the run {OTHER}" in said.out
    (key,) = told_apart.objects.list("endings/")
    ending = json.loads(told_apart.objects.get(key)[0])
    assert (ending["run_id"], ending["instance_id"]) == (RUN_ID, instance_id)
    assert f"Started the run {OTHER}" in told_apart.run(start).out


@pytest.mark.slow
def test_what_is_read_in_the_bucket_is_said_to_be_of_the_deployments_run(told_apart: Operated) -> None:
    for said in (told_apart.run(logs), told_apart.run(fetch)):
        assert said.err.startswith(f"{told_apart.instance_id} (g4dn.xlarge in us-east-1a) {SENTENCE}")
        assert OTHER in said.err.splitlines()[-1]


def test_a_token_is_rotated_on_the_receiver_that_is_there(operated: Operated) -> None:
    with operated.receiver():
        operated.change(run_id=OTHER)
        said = operated.run(rotate_token, "--wait-minutes", "0.001")
    assert "the receiver was not seen to take it" in said.err


def test_an_instance_of_the_run_itself_is_named_with_it(operated: Operated) -> None:
    operated.launch()
    said = operated.run(status)
    assert f", for the run {RUN_ID}\n" in said.out
    assert "attention" not in said.out
    operated.ship_log(operated.instance_id, "20261120T000000Z", "2026-11-20T00:00:00.000000+00:00 box a: b")
    assert operated.run(logs).err.startswith(f"{operated.instance_id}, of the run {RUN_ID}, as kept in the bucket.")
