"""`ac-bridge doctor` as a user runs it: what it prints, how it ends, and what its report keeps to itself."""

import json
import os
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
    """Run it with settings and shared memory of its own."""
    lonely = {"AC_BRIDGE_CONFIG_DIR": str(folder / "settings"), "AC_SHM_DIR": str(folder / "none"), "HOME": str(folder)}
    command = [sys.executable, "-m", "bridge", "doctor", "--seconds", "0.5", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("AC_BRIDGE_URI", "AC_ROOT")}
    return subprocess.run(
        command,
        cwd=PROJECT,
        env=inherited | lonely | environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
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
            assert game.truth()["position"] == pytest.approx(before, abs=0.05)
    finally:
        receiver.close()
    found = verdicts(ended.stdout)
    assert {"GAME", "LIVE", "FOLDER", "LINE", "CSP", "BACKEND", "STEERS", "SPOOL", "PAIRED", "RECEIVER"} <= set(found)
    assert "wrong" not in found.values(), ended.stdout
    assert ended.returncode == 0


def test_a_report_for_others_has_neither_the_token_nor_the_address_nor_the_home_folder(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.9", 0))
        pairing = Pairing("127.0.0.9", unused.getsockname()[1], TOKEN, "ab" * 32)
        ended = doctor(tmp_path, "--json", AC_BRIDGE_URI=format_pairing(pairing))
    assert ended.returncode == 1
    assert verdicts(ended.stdout)["UNREACHABLE"] == "wrong"
    for secret in (TOKEN, "127.0.0.9", "ab" * 32, str(tmp_path)):
        assert secret not in ended.stdout + ended.stderr


def test_a_console_without_the_letters_of_a_folder_is_no_obstacle(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--spool", str(tmp_path / "späher-\u5b98"), PYTHONIOENCODING="cp1252")
    assert "Something stops driving" in ended.stdout
    assert ended.stderr == ""
