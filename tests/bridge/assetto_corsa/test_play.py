"""`ac-bridge play`: a policy drives the game or a simulated car, with no run and no spool."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bridge.assetto_corsa.session import GameSettings, opened_session
from bridge.driving.play import play_game
from racing.policy import Policy
from racing.task import Task, TaskConfig
from runtime.exit_codes import ExitCode
from tests.support.fake_game import FakeGame
from tests.support.game_drive import ROOT, SIGNATURE, GameBridge
from tests.support.policies import following_policy, policy_file
from tests.support.waiting import wait_until


def play(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bridge", "play", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def model(folder: Path) -> Path:
    path = folder / "policy.safetensors"
    path.write_bytes(following_policy(SIGNATURE, 5))
    return path


@pytest.mark.slow
def test_a_policy_laps_in_the_simulator(tmp_path: Path) -> None:
    found = play(str(model(tmp_path)), "--car", "simulated", "--track", "seed:7:1200", "--laps", "1", "--seed", "1")
    assert found.returncode == ExitCode.OK, found.stderr
    assert "lap 1: " in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [(b"nonsense", "policy"), (policy_file("another task", 1), "signature")],
    ids=["damaged", "other"],
)
def test_a_model_that_cannot_drive_gets_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    found = play(str(path), "--car", "simulated")
    assert found.returncode == ExitCode.USAGE
    assert says in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_a_policy_drives_the_game_without_a_run(tmp_path: Path) -> None:
    with FakeGame(tmp_path, "seed:7") as game:
        game.live()
        bridge = GameBridge(game, tmp_path, "play", str(model(tmp_path)), "--seed", "1")
        try:
            bridge.says("the game is driven")
            wait_until(lambda: game.truth()["velocity"][0] > 8.0, "the car to drive", 60.0)
            game.tell("mode", mode="pause")
            bridge.says("waiting for the game")
            game.live()
            wait_until(lambda: game.truth()["velocity"][0] > 8.0, "the car to drive again", 60.0)
            bridge.process.send_signal(signal.SIGTERM)
            assert bridge.process.wait(120) == ExitCode.OK, bridge.text
            wait_until(lambda: game.truth()["wish"]["gas"] == 0.0, "neutral controls")
        finally:
            bridge.process.kill()
            bridge.process.wait()
    assert not bridge.spool.exists()


@pytest.mark.slow
def test_laps_that_can_be_told_to_nobody_end_the_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    policy = Policy.from_bytes(policy_file(SIGNATURE, 1), SIGNATURE)

    def closed(_line: str) -> None:
        raise BrokenPipeError

    with FakeGame(tmp_path) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        session = opened_session(GameSettings(root=game.root), stop, seed=1)
        with pytest.raises(BrokenPipeError):
            play_game(session, Task(session.track, TaskConfig()), policy, None, closed, stop)
        session.car.close()
