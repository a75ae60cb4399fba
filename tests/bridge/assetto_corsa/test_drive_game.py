"""`ac-bridge drive` on the fake game with a real receiver: what is driven arrives, and nothing else does."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.controls.csp import CustomAI
from experience.batches import NOBODY
from runtime.exit_codes import ExitCode
from tests.fake_ac.inputs import CONTROLS_NAME
from tests.support.fake_game import FakeGame
from tests.support.game_drive import CONFIG, GameBridge, driving, publish, steps_of, stored
from tests.support.receivers import ThreadedReceiver
from tests.support.waiting import wait_until
from wire.pairing import format_pairing

PATIENCE = 300.0
_ROLLS_SLOWLY = 0
"""A seed whose first start rolls, at 8 m/s."""


@pytest.fixture
def game(tmp_path: Path) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        running.live()
        yield running


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    folder = tmp_path / "instance"
    folder.mkdir()
    running = ThreadedReceiver(CONFIG, folder)
    publish(running, 1)
    yield running
    running.close()


def wait_for_steps(receiver: ThreadedReceiver, bridge: GameBridge, count: int) -> None:
    """Wait until so many more steps have arrived; 30 are more than what is held back while nothing is driven."""
    goal = steps_of(receiver) + count
    wait_until(lambda: steps_of(receiver) >= goal or bridge.process.poll() is not None, f"{count} more steps", PATIENCE)
    assert bridge.process.poll() is None, bridge.text


def neutral(game: FakeGame) -> bool:
    """Whether nobody steers or accelerates, by the page that CSP reads."""
    page = (game.shm / CONTROLS_NAME).read_bytes()
    gas, brake, _clutch, steer = struct.unpack_from("<4f", page)
    return bool(gas == 0.0 and steer == 0.0 and brake > 0.0)


def throttle_is_off(game: FakeGame) -> bool:
    """The same, by what the game does."""
    wish = game.truth()["wish"]
    return bool(wish["gas"] == 0.0 and wish["steer"] == 0.0 and wish["brake"] > 0.0)


@pytest.mark.slow
def test_the_game_that_runs_is_chosen_and_its_experience_arrives(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    with driving(game, receiver, tmp_path, "--steps", "80", "--seed", str(_ROLLS_SLOWLY)) as bridge:
        assert bridge.process.wait(PATIENCE) == ExitCode.OK, bridge.text
    batches = stored(receiver)
    assert sum(batch.steps for batch in batches) == 80
    versions = np.concatenate([batch.policy_versions for batch in batches])
    ends = np.concatenate([batch.truncated | batch.terminated for batch in batches])
    # A rolling start is driven before the policy drives, and recorded as what neither it nor a human chose.
    assert int(np.argmax(versions == 1)) > 10
    assert set(versions) == {NOBODY, 1}
    assert np.all(np.diff((versions == 1).astype(int))[~ends[:-1]] >= 0)
    ages = np.concatenate([batch.action_ages for batch in batches])
    assert np.all(ages > 0.0)
    assert np.median(ages) < 0.02
    assert batches[-1].truncated[-1]
    assert batches[-1].episodes[-1].reason == "stopped"
    wait_until(lambda: throttle_is_off(game), "neutral controls")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pause", "menu", "replay"])
def test_what_is_not_driven_ends_the_episode_and_is_no_experience(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path, mode: str
) -> None:
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 40)
        # A busy machine may have interrupted it before.
        interrupted = _arrived(receiver, "interrupted")
        game.tell("mode", mode=mode)
        bridge.says("waiting for the game")
        wait_until(lambda: neutral(game), "neutral controls")
        wait_until(lambda: _arrived(receiver, "interrupted") > interrupted, "the end of the episode", PATIENCE)
        before = steps_of(receiver)
        packet = game.truth()["graphics_packet"]
        wait_until(lambda: game.truth()["graphics_packet"] > packet + 60, "time to pass", PATIENCE)
        assert steps_of(receiver) == before
        game.live()
        wait_for_steps(receiver, bridge, 40)
    flags = [
        (bool(batch.truncated[end.row]), bool(batch.terminated[end.row]))
        for batch in stored(receiver)
        for end in batch.episodes
        if end.reason == "interrupted"
    ]
    assert set(flags) == {(True, False)}


def _arrived(receiver: ThreadedReceiver, reason: str) -> int:
    return sum(end.reason == reason for batch in stored(receiver) for end in batch.episodes)


@pytest.mark.slow
def test_a_game_that_ends_and_comes_back_is_driven_again(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 10)
        game.tell("vanish")
        bridge.says("waiting for the game")
        game.tell("come_back", into="live")
        wait_for_steps(receiver, bridge, 40)
        game.crash()
        wait_until(lambda: bridge.text.count("waiting for the game") >= 2, "the crash to be noticed", PATIENCE)
        game.start()
        game.live()
        wait_for_steps(receiver, bridge, 40)
    assert _arrived(receiver, "interrupted") >= 2


@pytest.mark.slow
def test_a_killed_bridge_leaves_the_car_neutral(game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path) -> None:
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 10)
        bridge.process.kill()
        bridge.process.wait()
        wait_until(lambda: throttle_is_off(game), "neutral controls")


@pytest.mark.slow
def test_a_bridge_whose_car_another_one_takes_ends_with_a_sentence(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 10)
        other = CustomAI()
        other.open()
        assert bridge.process.wait(PATIENCE) == ExitCode.FAILED, bridge.text
        assert "another bridge has taken the car" in bridge.text
        assert "Traceback" not in bridge.text
        assert other.ours
        other.close()


@pytest.mark.slow
def test_the_panic_key_lets_go_of_the_car_for_good(game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path) -> None:
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 10)
        bridge.process.send_signal(signal.SIGUSR1)
        bridge.says("the panic key was hit")
        wait_until(lambda: throttle_is_off(game), "neutral controls")
        bridge.process.send_signal(signal.SIGTERM)
        assert bridge.process.wait(PATIENCE) == ExitCode.OK


@pytest.mark.slow
def test_a_game_that_does_not_obey_ends_the_drive_with_a_sentence(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    game.tell("human", steer=0.5, gas=0.5, wins=True)
    with driving(game, receiver, tmp_path) as bridge:
        assert bridge.process.wait(PATIENCE) == ExitCode.FAILED, bridge.text
    assert "the game does not answer" in bridge.text
    assert "Traceback" not in bridge.text
    assert steps_of(receiver) == 0


@pytest.mark.slow
def test_without_a_game_there_is_a_sentence_and_with_wait_patience(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    game.tell("vanish")
    with driving(game, receiver, tmp_path, "--car", "assetto-corsa") as bridge:
        assert bridge.process.wait(PATIENCE) == ExitCode.FAILED
        assert "--wait" in bridge.text
        assert "Traceback" not in bridge.text
    with driving(game, receiver, tmp_path, "--car", "assetto-corsa", "--wait", "--steps", "5") as bridge:
        bridge.says("waiting for the game: start it")
        game.tell("come_back", into="live")
        assert bridge.process.wait(PATIENCE) == ExitCode.OK, bridge.text


@pytest.mark.slow
def test_shaped_controls_are_what_the_game_gets_and_what_is_stored(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    shaping = ("--steer-rate", "0.4", "--pedal-rate", "1", "--smoothing", "0.05")
    given: list[tuple[float, float]] = []
    with driving(game, receiver, tmp_path, "--steps", "60", *shaping) as bridge:

        def ended() -> bool:
            wish = game.truth()["wish"]
            given.append((-wish["steer"], wish["gas"] - wish["brake"]))
            return bridge.process.poll() is not None

        wait_until(ended, "the drive", PATIENCE)
        assert bridge.process.returncode == ExitCode.OK, bridge.text
    actions = np.concatenate([batch.actions for batch in stored(receiver)])
    ends = np.concatenate([batch.truncated | batch.terminated for batch in stored(receiver)])
    changes = np.abs(np.diff(actions, axis=0))[~ends[:-1]]
    assert np.all(changes <= np.array([0.4, 1.0]) / 20.0 + 1e-4)
    assert changes[:, 0].max() > 0.015, "the limit is reached"
    distance = np.abs(actions[:, None] - np.array(given)[None]).max(axis=2).min(axis=1)
    assert np.mean(distance < 1e-4) > 0.5, "the game was given the stored actions, as often as it was looked at"


@pytest.mark.slow
def test_shaping_is_for_the_game(receiver: ThreadedReceiver, tmp_path: Path) -> None:
    uri = format_pairing(receiver.pairing)
    for options in (("--car", "simulated", "--steer-rate", "2"), ("--car", "assetto-corsa", "--pedal-rate", "0")):
        found = subprocess.run(
            [sys.executable, "-m", "bridge", "drive", "--spool", str(tmp_path / "spool"), *options],
            env=os.environ | {"AC_BRIDGE_URI": uri},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == ExitCode.USAGE, found.stderr
        assert "--steer-rate" in found.stderr
        assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_without_the_link_it_drives_on_and_spools(game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path) -> None:
    with driving(game, receiver, tmp_path) as bridge:
        wait_for_steps(receiver, bridge, 10)
        receiver.stop.set()
        bridge.says("the link is down; driving goes on")
        steps = _driven(bridge)
        wait_until(lambda: _driven(bridge) > steps, "steps without a link", PATIENCE)


def _driven(bridge: GameBridge) -> int:
    """The newest count of steps in the log, which is written every half minute."""
    counts = [part.split(maxsplit=1)[0] for part in bridge.text.split("event=driving done=")[1:]]
    return int(counts[-1].partition("/")[0].replace(",", "")) if counts else 0
