"""`ac-bridge doctor` as a user runs it: what it prints, how it ends, and what its report keeps to itself."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_game import FakeGame
from tests.support.receivers import CONFIG, ThreadedReceiver
from wire.pairing import Pairing, format_pairing

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
TOKEN = "Secret0123456789Secret"


def doctor(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    process = started(folder, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Begin to run it with settings and shared memory of its own."""
    lonely = {"AC_BRIDGE_CONFIG_DIR": str(folder / "settings"), "AC_SHM_DIR": str(folder / "none"), "HOME": str(folder)}
    lonely["TMPDIR"] = str(folder)
    command = [sys.executable, "-m", "bridge", "doctor", "--seconds", "0.5", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("AC_BRIDGE_URI", "AC_ROOT")}
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=inherited | lonely | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def verdicts(report: str) -> dict[str, str]:
    return {finding["message"]: finding["verdict"] for finding in json.loads(report)["findings"]}


def test_with_neither_game_nor_pairing_it_says_what_is_missing(tmp_path: Path) -> None:
    ended = doctor(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == ""
    assert "wrong    game: does not run" in ended.stdout
    assert "wrong    pairing: none that can be used: This PC is not paired" in ended.stdout
    assert "Something stops driving" in ended.stdout.splitlines()[-1]


def test_where_all_is_well_it_ends_with_0_and_a_standing_car_where_it_was(tmp_path: Path) -> None:
    receiver = ThreadedReceiver(CONFIG, tmp_path)
    try:
        with FakeGame(tmp_path) as game:
            game.live()
            before = game.truth()["position"]
            environment = game.environment | {"AC_BRIDGE_URI": format_pairing(receiver.pairing)}
            ended = doctor(tmp_path, "--ac-root", str(game.root), "--move", "--json", **environment)
            while {"PACKETS_FEW", "PACKETS_GAPS"} & verdicts(ended.stdout).keys():
                # A busy machine gives the game too little of its time, which is true.
                ended = doctor(tmp_path, "--ac-root", str(game.root), "--move", "--json", **environment)
            assert game.truth()["position"] == pytest.approx(before, abs=0.05)
    finally:
        receiver.close()
    found = verdicts(ended.stdout)
    assert {"GAME", "LIVE", "FOLDER", "LINE", "CSP", "BACKEND", "STEERS", "SPOOL", "PAIRED", "RECEIVER_PLAIN"} <= set(
        found
    )
    assert "wrong" not in found.values(), ended.stdout
    assert ended.returncode == 0


def test_a_pad_that_drive_would_not_take_makes_nothing_well(tmp_path: Path) -> None:
    with FakeGame(tmp_path) as game:
        game.tell("custom_ai", allowed=False)
        game.live()
        ended = doctor(tmp_path, "--ac-root", str(game.root), **game.environment)
    assert "controls: csp does not answer" in ended.stdout
    assert "the track's permission may be needed" in ended.stdout
    assert "controls: gamepad" not in ended.stdout
    assert "wrong    controls: no controls answer" in ended.stdout


def test_a_report_for_others_has_neither_the_token_nor_the_address_nor_the_home_folder(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.9", 0))
        pairing = Pairing("127.0.0.9", unused.getsockname()[1], TOKEN, "ab" * 32)
        ended = doctor(tmp_path, "--json", AC_BRIDGE_URI=format_pairing(pairing))
    assert ended.returncode == 1
    assert verdicts(ended.stdout)["UNREACHABLE"] == "wrong"
    for secret in (TOKEN, "127.0.0.9", "ab" * 32, str(tmp_path)):
        assert secret not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "uri",
    [
        f"ws://bridge:{TOKEN}@secret.example.org:8765/",
        f"wss://bridge:{TOKEN}@secret.example.org:port/",
        f"wss://bridge:{TOKEN}@secret..example.org/",
    ],
)
def test_a_pairing_that_cannot_be_used_is_no_secret_less(tmp_path: Path, uri: str) -> None:
    ended = doctor(tmp_path, "--json", AC_BRIDGE_URI=uri)
    assert ended.returncode == 1
    assert verdicts(ended.stdout)["NOT_PAIRED"] == "wrong"
    assert TOKEN not in ended.stdout + ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


def test_the_pairing_may_come_from_a_command(tmp_path: Path) -> None:
    receiver = ThreadedReceiver(CONFIG, tmp_path)
    try:
        ended = doctor(tmp_path, "--json", "--pairing-command", f"echo {format_pairing(receiver.pairing)}")
    finally:
        receiver.close()
    assert "RECEIVER_PLAIN" in verdicts(ended.stdout)
    assert receiver.pairing.token not in ended.stdout + ended.stderr
    failed = doctor(tmp_path, "--json", "--pairing-command", "echo 'no answer from secret.example.org' >&2; exit 3")
    assert verdicts(failed.stdout)["NOT_PAIRED"] == "wrong"
    assert "secret.example.org" not in failed.stdout
    assert "no answer from secret.example.org" in failed.stderr
    assert doctor(tmp_path, "--uri", "x", "--pairing-command", "y").returncode == 2


def test_ctrl_c_ends_a_call_that_nobody_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pairing = Pairing("127.0.0.1", silent.getsockname()[1], TOKEN, tls=False)
        process = started(tmp_path, AC_BRIDGE_URI=format_pairing(pairing))
        called, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        called.close()
    assert process.returncode == 130, err
    assert "receiver" not in out
    assert "stops driving" not in out


def test_whoever_reads_only_the_first_line_gets_no_traceback(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=120)
    assert err == ""
    assert process.returncode == 1


def test_an_output_that_takes_nothing_is_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "bridge", "doctor", "--seconds", "0.3"],
            cwd=PROJECT,
            env=os.environ | {"AC_BRIDGE_CONFIG_DIR": str(tmp_path), "AC_SHM_DIR": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "What there is to say cannot be written (No space left on device), so it ends here.\n"


def test_a_wait_is_told_beside_the_report(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--json", "--wait", "0.1")
    assert ended.stderr == "Waiting for a live game, 0.1 s at most: switch to it now.\n"
    assert verdicts(ended.stdout)


def test_a_console_without_the_letters_of_a_folder_is_no_obstacle(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--spool", str(tmp_path / "späher-\u5b98"), PYTHONIOENCODING="cp1252")
    assert "Something stops driving" in ended.stdout
    assert ended.stderr == ""
