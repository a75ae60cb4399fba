"""Programs that were written by docs/protocol alone pass; each fault is found by the check that is there for it."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance import of_bridges, of_receivers
from tests.conformance.test_own import tried
from wire.pairing import Pairing, format_pairing, new_token

STRANGERS = Path(__file__).parent / "strangers"

FAULTS_OF_BRIDGES = {
    "another token": of_bridges.introduces_itself,
    "other space": of_bridges.makes,
    "casts": of_bridges.steps,
    "does it again": of_bridges.answers_again,
    "does it twice at once": of_bridges.asked_while_busy,
    "another stream": of_bridges.survives_a_cut,
    "knows everybody": of_bridges.knows_its_clients,
    "offers everything": of_bridges.refuses,
    "keeps silent": of_bridges.tells_what_was_raised,
    "one at a time": of_bridges.keeps_clients_apart,
    "no limit": of_bridges.keeps_to_its_number,
    "rewards in a list": of_bridges.steps_a_vector,
    "never pings": of_bridges.notices_silence,
}
FAULTS_OF_RECEIVERS = {
    "lets everybody in": of_receivers.asks_for_the_token,
    "speaks anything": of_receivers.asks_for_the_protocol,
    "hangs up without a word": of_receivers.refuses,
    "another pong": of_receivers.welcomes,
    "leaves numbers out": of_receivers.steps,
    "reads nothing compressed": of_receivers.reads_what_is_compressed,
    "forgets what it asked": of_receivers.asks_again,
    "takes any answer": of_receivers.passes_over,
    "never begins anew": of_receivers.begins_anew,
    "believes everything": of_receivers.lets_a_liar_go,
}


@contextmanager
def stranger(program: str, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The program, in a folder from which it cannot import this project."""
    command = [sys.executable, "-I", str(STRANGERS / f"{program}.py"), *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_bridge_of_a_stranger_passes(tmp_path: Path) -> None:
    with of_bridges.bridge_at(0) as listening, stranger("bridge", tmp_path, format_pairing(listening.pairing)):
        failed, told = tried(of_bridges.CHECKS, listening)
    assert failed == 0, told


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS_OF_BRIDGES)
def test_each_fault_of_a_bridge_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_bridges, "ANSWER_SECONDS", 8.0)
    with of_bridges.bridge_at(0) as listening, stranger("bridge", tmp_path, format_pairing(listening.pairing), fault):
        failed, told = tried([FAULTS_OF_BRIDGES[fault]], listening)
    assert failed == 1, told


@contextmanager
def listening_stranger(folder: Path, *fault: str) -> Iterator[Pairing]:
    """A receiver with its trainer, and how it is reached."""
    token = new_token()
    with stranger("receiver", folder, token, *fault) as process:
        assert process.stdout is not None
        yield Pairing("127.0.0.1", int(process.stdout.readline()), token, tls=False)


@pytest.mark.slow
def test_a_receiver_of_a_stranger_passes(tmp_path: Path) -> None:
    with listening_stranger(tmp_path) as pairing, of_receivers.receiver_of(pairing) as dialling:
        failed, told = tried(of_receivers.CHECKS, dialling)
    assert failed == 0, told


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS_OF_RECEIVERS)
def test_each_fault_of_a_receiver_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_receivers, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(of_receivers, "TRAINER_SECONDS", 5.0)
    with listening_stranger(tmp_path, fault) as pairing, of_receivers.receiver_of(pairing) as dialling:
        failed, told = tried([FAULTS_OF_RECEIVERS[fault]], dialling)
    assert failed == 1, told


def test_no_check_is_there_for_nothing() -> None:
    assert set(FAULTS_OF_BRIDGES.values()) == set(of_bridges.CHECKS)
    assert set(FAULTS_OF_RECEIVERS.values()) == set(of_receivers.CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bridge", "receiver"])
def test_the_program_ends_with_1_when_it_found_a_fault(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "tests.conformance", kind]
    with contextlib.ExitStack() as stack:
        if kind == "receiver":
            pairing = stack.enter_context(listening_stranger(tmp_path, "another pong"))
            command += ["--uri", format_pairing(pairing)]
        program = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(program.kill)
        assert program.stdout is not None
        if kind == "bridge":
            uri = program.stdout.readline().split()[4]
            stack.enter_context(stranger("bridge", tmp_path, uri, "casts"))
        lines = program.stdout.readlines()
        assert program.wait(120) == 1, lines
    assert any(line.startswith("ok ") for line in lines)
    assert any(line.startswith("FAILED ") for line in lines)
