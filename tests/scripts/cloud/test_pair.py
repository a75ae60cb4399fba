"""`make pair` prints the pairing string and nothing else, or says why there is none."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from websockets.exceptions import InvalidStatus

from runtime.exit_codes import ExitCode
from scripts.cloud.capacity import explain
from scripts.cloud.pair import pair
from tests.support.operated import Operated, attempts_fail, operated
from tests.support.receivers import TOKEN, Client, hello
from train_cloud import receiver_client
from wire.pairing import Pairing, parse_pairing

__all__ = ["operated"]


@pytest.mark.slow
def test_a_bridge_can_dial_what_it_prints(operated: Operated) -> None:
    with operated.receiver() as running:
        said = operated.run(pair)
        assert said.code == ExitCode.OK
        assert said.out == f"{said.out.strip()}\n"
        pairing = parse_pairing(said.out)
        assert (pairing, pairing.token) == (running.pairing(), TOKEN)
        with Client(pairing) as client:
            assert client.begin(hello(operated.config))


@pytest.mark.slow
def test_it_waits_for_the_address_and_then_for_the_receiver(operated: Operated) -> None:
    with operated.receiver() as running:
        there = running.pairing()
        # Before: the address of an instance that is gone, then one at which nobody listens yet.
        operated.publish(there, "i-0gone000000000000")
        later = [
            threading.Timer(1.5, lambda: operated.publish(_nobody(there), operated.instance_id)),
            threading.Timer(3.0, lambda: operated.publish(there, operated.instance_id)),
        ]
        for timer in later:
            timer.start()
        said = operated.run(pair, "--wait-minutes", "1")
        for timer in later:
            timer.join()
    assert said.code == ExitCode.OK
    told = [line[9:] for line in said.err.splitlines()]
    assert told[0].endswith("(g4dn.xlarge in us-east-1a) boots; its receiver has no address yet")
    assert "connection refused: the instance is there, but its receiver does not listen yet" in told[1]
    assert told[-1] == f"the receiver at {there.host}:{there.port} is healthy; it works for the run lap-1"


def _nobody(pairing: Pairing) -> Pairing:
    """An address at which nobody listens: port 1 is nobody's."""
    return Pairing(pairing.host, 1, pairing.token, pairing.pin)


@pytest.mark.slow
def test_a_stranger_at_the_address_never_gets_the_token(operated: Operated) -> None:
    with operated.receiver() as running:
        there = running.pairing()
        operated.publish(Pairing(there.host, there.port, TOKEN, "0" * 64), operated.instance_id)
        said = operated.run(pair, "--wait-minutes", "0.01")
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert "another certificate" in said.err
    assert "/metrics" not in running.log_text()


@pytest.mark.slow
def test_after_the_deadline_it_says_what_was_missing(operated: Operated) -> None:
    operated.launch()
    said = operated.run(pair, "--wait-minutes", "0.005")
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert said.err.splitlines()[-1].startswith("After 0.005 minutes the run takes no bridges yet. Last: i-")


@pytest.mark.parametrize(
    ("message", "passing", "advice"),
    [
        (
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. "
            "Launching EC2 instance failed.",
            False,
            "us-east-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-3819A6DF",
        ),
        (
            "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot capacity available that "
            "matches your request. Launching EC2 instance failed.",
            True,
            "no spot capacity left",
        ),
        (
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request "
            "configuration. Please adjust your request and try again. Launching EC2 instance failed.",
            True,
            "no spot capacity left",
        ),
        (
            "Could not launch Spot Instances. SpotMaxPriceTooLow - Your Spot request price of 0.01 is lower than the "
            "minimum required Spot request fulfillment price of 0.2103. Launching EC2 instance failed.",
            False,
            "max_spot_price",
        ),
        ("The image id '[ami-0123]' does not exist. Launching EC2 instance failed.", False, "ami_id"),
        (
            "Your requested instance type (g6.xlarge) is not supported in your requested Availability Zone "
            "(us-east-1e). Please retry your request by not specifying an Availability Zone or choosing us-east-1a. "
            "Launching EC2 instance failed.",
            True,
            "zone",
        ),
        (
            "Could not launch Spot Instances. AuthFailure.ServiceLinkedRoleCreationNotPermitted - The provided "
            "credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
            False,
            "create-service-linked-role",
        ),
        (
            "Could not launch Spot Instances. InvalidParameterCombination - The specified instance type is not "
            "eligible for Free Tier. For a list of Free Tier instance types, run 'describe-instance-types' with the "
            "filter 'free-tier-eligible=true'. Launching EC2 instance failed.",
            False,
            "Upgrade to the paid plan",
        ),
        (
            "This account is currently blocked and not recognized as a valid account. Please contact "
            "https://support.console.aws.amazon.com/support/home if you have questions. Launching EC2 instance failed.",
            False,
            "AWS has blocked the account",
        ),
        (
            "You are not subscribed to this service. Please see https://aws.amazon.com/.",
            False,
            "sign-up was never finished",
        ),
        (
            "The requested instance type's architecture (arm64) does not match the architecture in the manifest for "
            "ami-6622f00f (x86_64). Launching ec2 instance failed.",
            False,
            "x86_64 instance_types",
        ),
        (
            "Could not launch Spot Instances. InvalidParameterValue - The architecture 'arm64' of the specified "
            "instance type does not match the architecture 'x86_64' of the specified AMI.",
            False,
            "x86_64 instance_types",
        ),
        (
            "Volume of size 20GB is smaller than snapshot 'snap-0a2a6b21a0c4cda56', expect size >= 75GB. Launching EC2 "
            "instance failed.",
            False,
            "Raise volume_gb",
        ),
        ("Client.VolumeLimitExceeded: Volume limit exceeded", False, "Lower volume_gb"),
        (
            "The specified launch template, with template ID lt-0123456789abcdef0, does not exist. Launching EC2 "
            "instance failed.",
            False,
            "it makes what is missing",
        ),
        ("The security group 'sg-0123' does not exist. Launching EC2 instance failed.", False, "makes what is missing"),
        (
            "There are not enough free addresses in subnet 'subnet-66d3dd2c' to satisfy the requested number of "
            "instances. Launching EC2 instance failed.",
            False,
            "no address left",
        ),
        (
            "Could not launch Spot Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your "
            "current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to.",
            False,
            "quotas/L-3819A6DF",
        ),
        ("Something new. Launching EC2 instance failed.", True, '"Something new.'),
    ],
)
def test_auto_scalings_words_become_advice(message: str, passing: bool, advice: str) -> None:
    cause = explain(message, "us-east-1", ["g4dn.xlarge", "g5.xlarge"])
    assert cause.passing is passing
    assert advice in cause.text
    assert message[:100] in cause.text


def test_a_cpu_run_is_sent_to_the_cpu_quota() -> None:
    text = explain("Max spot instance count exceeded.", "eu-central-1", ["c7a.2xlarge", "m7i.2xlarge"]).text
    assert "https://eu-central-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-34B43A08 ;" in text
    assert "L-3819A6DF" not in text


def test_a_blocked_account_ends_the_wait_at_once(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts_fail(operated, monkeypatch, "This account is currently blocked and not recognized as a valid account.")
    said = operated.run(pair)
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert said.err.startswith("No instance comes. AWS has blocked the account")


def test_a_quota_of_nothing_ends_the_wait_at_once(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts_fail(operated, monkeypatch, "Max spot instance count exceeded. Launching EC2 instance failed.")
    said = operated.run(pair)
    assert said.code == ExitCode.FAILED
    assert "G and VT Spot Instance Requests" in said.err
    assert "L-3819A6DF" in said.err


@pytest.mark.slow
def test_missing_capacity_is_waited_for(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts_fail(operated, monkeypatch, "There is no Spot capacity available that matches your request.")
    said = operated.run(pair, "--wait-minutes", "0.005")
    assert "no spot capacity left for these instance types" in said.err
    assert "After 0.005 minutes" in said.err


def test_a_failure_from_before_the_start_is_not_told_again(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts_fail(operated, monkeypatch, "Max spot instance count exceeded.", datetime.now(UTC) - timedelta(hours=1))
    operated.objects.put("started", datetime.now(UTC).isoformat().encode())
    said = operated.run(pair, "--wait-minutes", "0.005")
    assert "an instance is requested; none is there yet" in said.err
    assert "quota" not in said.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "text", "then"),
    [
        ("finished", "All 200000 steps are trained.", "make fetch"),
        ("failed", "ac-training ended with exit code 1.", "make logs"),
        ("idle", "No bridge for 45 minutes.", "`make start` goes on from the last checkpoint"),
        ("over_budget", "The run has cost $20.01.", "Raise budget_usd"),
    ],
)
def test_when_nothing_runs_it_says_how_the_last_instance_ended(
    operated: Operated, reason: str, text: str, then: str
) -> None:
    operated.end("idle", "an older one", at="2026-11-19T12:30:00Z")
    operated.end(reason, text)
    said = operated.run(pair)
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert f"{reason.replace('_', ' ')}, 2026-11-20 12:30 UTC. {text}" in said.err
    assert then in said.err


def test_a_run_that_never_began_is_started_by_make_start(operated: Operated) -> None:
    assert "`make start` begins it" in operated.run(pair).err


@pytest.mark.slow
def test_the_figures_need_the_token(operated: Operated) -> None:
    with operated.receiver() as running:
        there = running.pairing()
        assert receiver_client.metrics(there)["bridges"] == 0
        wrong = Pairing(there.host, there.port, "x" * 40, there.pin)
        assert receiver_client.token_accepted(wrong) is False
        with pytest.raises(InvalidStatus):
            Client(wrong)
