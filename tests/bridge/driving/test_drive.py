"""A bridge process drives: with policies as they come, through outages, to an orderly end, over a real socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bridge.spool import Spool
from experience import environment
from experience.codec import decode_batch
from racing.task import TaskConfig
from runtime.exit_codes import ExitCode
from tests.support.policies import policy_file, weights_update
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from wire.messages import Drain, Error, ErrorCode, FlowControl, WeightsUpdate
from wire.pairing import format_pairing

ROOT = Path(__file__).parents[3]
SIGNATURE = environment.racing(TaskConfig()).signature
answers_sigterm = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can answer")


class Bridge:
    """`python -m bridge drive` as a child process; its log is a file, or what `stderr` is open on."""

    def __init__(self, server: WireServer, folder: Path, *arguments: str, stderr: int | None = None) -> None:
        self.log = folder / "bridge.log"
        self.spool = folder / "spool"
        environment = os.environ | {
            "AC_BRIDGE_URI": format_pairing(server.pairing),
            "AC_BRIDGE_CONFIG_DIR": str(folder / "config"),
        }
        options = ["--spool", str(self.spool), "--seed", "1", "--track", "seed:7:1200", *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "drive", *options],
                cwd=ROOT,
                env=environment,
                stderr=log if stderr is None else stderr,
            )

    def ended(self, seconds: float = 120.0) -> int:
        return self.process.wait(seconds)

    @property
    def text(self) -> str:
        return self.log.read_text()


@contextmanager
def bridge(server: WireServer, folder: Path, *arguments: str) -> Iterator[Bridge]:
    child = Bridge(server, folder, *arguments)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.wait()


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        server.greeting = [weights_update(SIGNATURE, 1)]
        yield server


def stored_steps(server: WireServer) -> int:
    return sum(decode_batch(blob).steps for blobs in server.stored.values() for blob in blobs)


def any_version(server: WireServer, version: int) -> bool:
    """Whether the newest batch holds a step of this policy."""
    return any(version in decode_batch(blobs[-1]).policy_versions for blobs in server.stored.values() if blobs)


@pytest.mark.slow
def test_it_drives_the_wanted_steps_and_ends_when_they_are_stored(server: WireServer, tmp_path: Path) -> None:
    with bridge(server, tmp_path, "--cars", "4", "--steps", "1000") as child:
        assert child.ended() == ExitCode.OK
    assert stored_steps(server) == 1000
    (blobs,) = server.stored.values()
    batches = [decode_batch(blob) for blob in blobs]
    assert {int(car) for batch in batches for car in batch.run_cars} == {0, 1, 2, 3}
    assert all((batch.policy_versions == 1).all() for batch in batches)
    assert all(np.ptp(batch.actions) > 0.0 for batch in batches)


def test_it_waits_for_the_first_policy(server: WireServer, tmp_path: Path) -> None:
    server.greeting = []
    with bridge(server, tmp_path, "--steps", "200") as child:
        wait_until(lambda: child.log.exists() and "waiting for the first policy" in child.text, "it says so", 20.0)
        wait_until(lambda: server.connections == 1, "it is connected", 20.0)
        assert stored_steps(server) == 0
        server.push(weights_update(SIGNATURE, 1))
        assert child.ended() == ExitCode.OK
    assert stored_steps(server) == 200


def test_a_receiver_that_talks_without_end_neither_steers_the_terminal_nor_fills_the_log(
    server: WireServer, tmp_path: Path
) -> None:
    with bridge(server, tmp_path, "--steps", "200") as child:
        wait_until(lambda: server.connections == 1, "it is connected", 20.0)
        for number in range(2_000):
            server.push(Drain(f"{number}\x1b[2J\u2028level=critical\u202egnp.exe"))
        assert child.ended() == ExitCode.OK
        lines = child.text.splitlines()
    assert all(line.startswith("time=") and line.isprintable() for line in lines)
    assert 60 <= sum("the instance is about to go" in line for line in lines) < 100
    assert "left_out=" in child.text


@pytest.mark.slow
@answers_sigterm
def test_bridges_for_the_same_run_and_for_another_drive_at_once_on_one_pc(server: WireServer, tmp_path: Path) -> None:
    with WireServer() as other:
        for run, folder in ((server, "first"), (other, "second")):
            environment = os.environ | {"AC_BRIDGE_CONFIG_DIR": str(tmp_path / folder), "AC_BRIDGE_URI": ""}
            pair = [sys.executable, "-m", "bridge", "pair"]
            subprocess.run(pair, cwd=ROOT, env=environment, input=format_pairing(run.pairing).encode(), check=True)
        bridges = []
        for folder, *options in (("first",), ("first", "--spool", str(tmp_path / "third")), ("second",)):
            environment = os.environ | {"AC_BRIDGE_CONFIG_DIR": str(tmp_path / folder), "AC_BRIDGE_URI": ""}
            drive = [sys.executable, "-m", "bridge", "drive", "--car", "simulated", *options]
            bridges.append(subprocess.Popen(drive, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
        try:
            wait_until(lambda: (server.connections, other.connections) == (2, 1), "all are connected", 60.0)
        finally:
            for child in bridges:
                child.terminate()
        ends = [(child.communicate(timeout=60)[1], child.returncode) for child in bridges]
        assert [code for _, code in ends] == [0, 0, 0], ends
    assert len({hello.stream for hello in server.hellos + other.hellos}) == 3
    shown = (ROOT / "docs" / "own-server.md").read_text(encoding="utf-8")
    assert "ac-bridge drive --spool\nsecond" in shown
    assert "AC_BRIDGE_CONFIG_DIR=second ac-bridge drive" in shown


@pytest.mark.slow
@answers_sigterm
def test_it_swaps_policies_without_a_break_in_the_experience(server: WireServer, tmp_path: Path) -> None:
    server.max_lead_steps = 10**9
    with bridge(server, tmp_path, "--steps", "100000") as child:
        for version in range(2, 6):
            wait_until(partial(any_version, server, version - 1), "experience of this version", 20.0)
            server.push(weights_update(SIGNATURE, version))
        wait_until(lambda: any_version(server, 5), "experience of the last version", 20.0)
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == ExitCode.OK
    (blobs,) = server.stored.values()
    batches = [decode_batch(blob) for blob in blobs]
    versions = np.concatenate([batch.policy_versions for batch in batches])
    assert set(versions) == {1, 2, 3, 4, 5}
    assert (np.diff(versions.astype(int)) >= 0).all()
    firsts = [int(batch.run_first_steps[0]) for batch in batches]
    assert firsts == list(np.cumsum([0] + [batch.steps for batch in batches[:-1]]))


def test_weights_of_another_task_or_with_a_wrong_hash_are_not_taken(server: WireServer, tmp_path: Path) -> None:
    server.greeting = [
        weights_update("another task", 7),
        WeightsUpdate(8, "0" * 64, policy_file(SIGNATURE, 8)),
        weights_update(SIGNATURE, 1),
    ]
    with bridge(server, tmp_path, "--steps", "100") as child:
        assert child.ended() == ExitCode.OK
        assert "another task" in child.text
        assert "wrong hash" in child.text
    (blobs,) = server.stored.values()
    assert all((decode_batch(blob).policy_versions == 1).all() for blob in blobs)


@pytest.mark.slow
def test_a_simulated_car_waits_when_it_leads_by_too_much(server: WireServer, tmp_path: Path) -> None:
    server.max_lead_steps = 500
    with bridge(server, tmp_path, "--steps", "900") as child:
        wait_until(lambda: stored_steps(server) > 400, "it drives up to its lead", 20.0)
        with pytest.raises(subprocess.TimeoutExpired):
            child.ended(2.0)
        assert stored_steps(server) <= 510
        server.push(FlowControl(stored_steps(server), stored_steps(server), 500))
        assert child.ended() == ExitCode.OK
    assert stored_steps(server) == 900


@pytest.mark.slow
def test_a_simulated_drive_ends_when_the_run_is_done(server: WireServer, tmp_path: Path) -> None:
    server.max_lead_steps = 500
    with bridge(server, tmp_path) as child:
        wait_until(lambda: stored_steps(server) > 400, "it drives up to its lead", 20.0)
        server.push(FlowControl(500, 400, 500, done=True))
        assert child.ended() == ExitCode.OK
        assert "the run is done" in child.text
    with Spool(child.spool) as spool:
        assert spool.total_steps == stored_steps(server)


@pytest.mark.slow
def test_a_bridge_that_comes_too_late_does_not_wait_for_a_policy(server: WireServer, tmp_path: Path) -> None:
    server.greeting, server.done = [], True
    with bridge(server, tmp_path) as child:
        assert child.ended() == ExitCode.OK
        assert "the run is done" in child.text
    assert stored_steps(server) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can answer")
def test_a_real_time_car_drives_on_uncollected_when_the_run_is_done(server: WireServer, tmp_path: Path) -> None:
    with bridge(server, tmp_path, "--real-time") as child:
        wait_until(lambda: stored_steps(server) > 0, "it drives", 20.0)
        server.push(FlowControl(10, 10, 10, done=True))
        wait_until(lambda: "driving goes on, uncollected" in child.text, "it says so", 20.0)
        # Longer than the recorder's half second and what was under way; nothing may come any more.
        with pytest.raises(subprocess.TimeoutExpired):
            child.ended(1.5)
        collected = stored_steps(server)
        with pytest.raises(subprocess.TimeoutExpired):
            child.ended(1.5)
        assert stored_steps(server) == collected
        server.push(FlowControl(10, 10, 10))
        wait_until(lambda: stored_steps(server) > collected, "a run that goes on is collected for again", 20.0)
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == ExitCode.OK


@pytest.mark.slow
def test_a_real_time_car_waits_for_nobody_and_keeps_its_rate(server: WireServer, tmp_path: Path) -> None:
    server.max_lead_steps = 1
    with bridge(server, tmp_path, "--real-time", "--rate", "20", "--steps", "60") as child:
        assert child.ended() == ExitCode.OK
    assert stored_steps(server) == 60
    (blobs,) = server.stored.values()
    batches = [decode_batch(blob) for blob in blobs]
    late = np.concatenate([batch.off_period for batch in batches])
    ages = np.concatenate([batch.action_ages for batch in batches])
    assert late.mean() < 0.2
    assert np.median(ages) < 0.02


@pytest.mark.slow
@answers_sigterm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_orderly_with_everything_delivered(
    server: WireServer, tmp_path: Path, number: signal.Signals
) -> None:
    with bridge(server, tmp_path, "--cars", "2") as child:
        wait_until(lambda: stored_steps(server) > 0, "it drives", 20.0)
        child.process.send_signal(number)
        assert child.ended() == ExitCode.OK
    with Spool(child.spool) as spool:
        assert spool.total_steps == stored_steps(server)


@answers_sigterm
@pytest.mark.slow
def test_an_ending_bridge_without_a_receiver_keeps_what_it_has(server: WireServer, tmp_path: Path) -> None:
    with bridge(server, tmp_path) as child:
        wait_until(lambda: stored_steps(server) > 0, "it drives", 20.0)
        server.vanish()
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == ExitCode.OK
    with Spool(child.spool) as spool:
        assert spool.total_steps >= stored_steps(server)


@pytest.mark.slow
def test_a_killed_bridge_goes_on_where_its_spool_ends(server: WireServer, tmp_path: Path) -> None:
    with bridge(server, tmp_path) as child:
        wait_until(lambda: stored_steps(server) > 500, "it drives", 20.0)
        child.process.kill()
        child.ended()
    with bridge(server, tmp_path, "--steps", "300") as child:
        assert child.ended() == ExitCode.OK
    (blobs,) = server.stored.values()
    with Spool(child.spool) as spool:
        assert spool.total_steps == stored_steps(server)
    at = 0
    for blob in blobs:
        batch = decode_batch(blob)
        assert int(batch.run_first_steps[0]) == at
        at += batch.steps


def test_a_refusal_ends_it_with_a_sentence_and_its_exit_code(server: WireServer, tmp_path: Path) -> None:
    server.refuse_hello = lambda _hello: Error(ErrorCode.WRONG_SIGNATURE, "This run is driven at 25 Hz.")
    with bridge(server, tmp_path) as child:
        assert child.ended() == ExitCode.REFUSED
        assert "This run is driven at 25 Hz." in child.text


@pytest.mark.slow
def test_the_token_is_in_no_log(server: WireServer, tmp_path: Path) -> None:
    with bridge(server, tmp_path, "--steps", "100") as child:
        assert child.ended() == ExitCode.OK
        assert server.pairing.token not in child.text


@pytest.mark.slow
def test_a_spool_of_another_task_is_refused(server: WireServer, tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.bind_signature("another task")
        spool.append(b"old", 10)
    with bridge(server, tmp_path) as child:
        assert child.ended() == ExitCode.USAGE
        assert "10 steps of another task" in child.text
