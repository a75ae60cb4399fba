"""Our own bridge and our own receiver do what docs/protocol asks of anybody's; and who does not is found out."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.serve_env.served import Served
from tests.conformance import of_bridges, of_receivers
from tests.conformance.checking import run
from tests.conformance.counter import NAME
from tests.support.remote_pc import ServedHere, receiver_here
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from wire.messages import EnvCall
from wire.pairing import format_pairing, parse_pairing


def tried(checks: Any, peer: Any) -> tuple[int, str]:
    lines: list[str] = []
    return run(checks, peer, lines.append), "\n".join(lines)


@pytest.mark.slow
def test_our_bridge_does() -> None:
    with of_bridges.bridge_at(0) as listening:
        ours = ServedHere(listening.pairing, [NAME], 4)
        try:
            failed, told = tried(of_bridges.CHECKS, listening)
        finally:
            ours.end()
    assert failed == 0, told


def test_a_bridge_that_does_a_repeated_call_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Served, call: EnvCall) -> None:
        self.asked = call.number
        self._calls.put(call)

    monkeypatch.setattr(Served, "ask", forgetful)
    with of_bridges.bridge_at(0) as listening:
        ours = ServedHere(listening.pairing, [NAME], 4)
        try:
            failed, told = tried([of_bridges.steps, of_bridges.answers_again], listening)
        finally:
            ours.end()
    assert failed == 1, told
    assert "the second answer differs" in told


@contextmanager
def stepping(calls: Path) -> Iterator[None]:
    """A trainer that makes the counter and steps it for as long as the block lasts."""
    over = threading.Event()

    def train() -> None:
        while not over.is_set():
            try:
                env = RemoteEnv(calls, NAME, step_seconds=30.0, make_seconds=5.0)
                env.reset()
                while not over.is_set():
                    env.step(0)
            except RemoteEnvError as error:
                if not error.is_recoverable:
                    raise

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_our_receiver_and_trainer_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        receiver_here(tmp_path_factory.mktemp("r")) as (receiver, calls),
        stepping(calls),
        of_receivers.receiver_of(receiver.pairing) as dialling,
    ):
        failed, told = tried(of_receivers.CHECKS, dialling)
    assert failed == 0, told


@pytest.mark.slow
def test_the_program_says_how_to_begin_and_ends_with_what_it_found() -> None:
    command = [sys.executable, "-u", "-m", "tests.conformance", "bridge"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            uri = program.stdout.readline().split()[4]
            assert format_pairing(parse_pairing(uri)) == uri
            ours = ServedHere(parse_pairing(uri), [NAME], 4)
            try:
                lines = program.stdout.readlines()
            finally:
                ours.end()
            assert program.wait(60) == 0, lines
            assert len(lines) == len(of_bridges.CHECKS)
            assert all(line.startswith("ok ") for line in lines)
        finally:
            program.kill()
