"""`ac-bridge demonstrate` beside the fake game: a person drives, the bridge watches, and the receiver gets his laps."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa import car
from bridge.assetto_corsa.by_hand import human_car
from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.driving.clean_laps import CleanLaps
from bridge.driving.demonstration import HumanDriver
from bridge.spool import Spool
from experience.batches import DEMONSTRATION
from experience.environment import racing
from experience.recorder import Recorder
from racing.clock import RealTimeClock
from racing.task import OBSERVATION_STEP, Task, TaskConfig
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from tests.fake_ac.inputs import CONTROLS_NAME, PAD_NAME
from tests.fake_ac.install import install
from tests.fake_ac.offsets import PAD, PAD_SIZE
from tests.fake_ac.pages import CAR_MODEL
from tests.fake_ac.shared import Layout
from tests.support.fake_game import FakeGame
from tests.support.filmed_game import TRACK as TRACK_DRIVEN
from tests.support.filmed_game import TRACK_NAME, Filmed
from tests.support.game_drive import CONFIG, SIGNATURE, GameBridge, driving, stored
from tests.support.policies import following_policy
from tests.support.receivers import ThreadedReceiver
from tests.support.waiting import wait_until
from wire.pairing import format_pairing

TRACK = "seed:7:1200"
PATIENCE = 300.0
PAD_LAYOUT = Layout(PAD, PAD_SIZE)
JOYSTICK = """
import os
from pathlib import Path
from types import SimpleNamespace

from tests.fake_ac.inputs import VirtualDevice
from tests.support.wired_joystick import WiredJoystick

def VJoyDevice(number):
    return WiredJoystick(SimpleNamespace(device=lambda: VirtualDevice(Path(os.environ["AC_SHM_DIR"]))))
"""
"""A stand-in for pyvjoy, that the guard imports."""


@pytest.fixture
def game(tmp_path: Path) -> Iterator[FakeGame]:
    with FakeGame(tmp_path, TRACK) as running:
        running.live()
        yield running


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    folder = tmp_path / "instance"
    folder.mkdir()
    running = ThreadedReceiver(CONFIG, folder)
    yield running
    running.close()


@contextmanager
def demonstrating(game: FakeGame, receiver: ThreadedReceiver, folder: Path, *options: str) -> Iterator[GameBridge]:
    """`ac-bridge demonstrate` that does not outlive the block."""
    uri = format_pairing(receiver.pairing)
    child = GameBridge(game, folder, "demonstrate", "--spool", str(folder / "spool"), *options, uri=uri)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.wait()


@pytest.mark.slow
def test_a_persons_lap_arrives_as_the_task_sees_it_and_nothing_is_sent_to_the_game(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    with demonstrating(game, receiver, tmp_path, "--laps", "1") as bridge:
        bridge.says("waiting for you to drive")
        game.tell("person", pace=0.8)
        assert bridge.process.wait(PATIENCE) == ExitCode.OK, bridge.text
        assert not (game.shm / CONTROLS_NAME).exists(), "CSP was asked for nothing"
    batches = stored(receiver)
    (lap,) = (lap for batch in batches for lap in batch.laps)
    assert lap.clean
    # A busy machine gives the game less time than passes.
    assert 1000.0 * lap.time > 0.98 * game.truth()["best_ms"]
    assert all((batch.policy_versions == DEMONSTRATION).all() for batch in batches)
    actions = np.concatenate([batch.actions for batch in batches])
    assert np.ptp(actions[:, 0]) > 0.1
    assert actions[:, 1].max() > 0.5
    assert actions[:, 1].min() < 0.0
    # Each step's action is the last one that the next observation shows, and what the car's steering shows there.
    seen = np.concatenate([batch.next_observations() for batch in batches])
    assert np.abs(seen[:, 10:12] - actions).max() < OBSERVATION_STEP
    assert np.abs(seen[:, 9] - actions[:, 0]).max() < 1e-3
    assert np.concatenate([batch.truncated | batch.terminated for batch in batches]).sum() == 1
    assert "1 lap was taken in " in bridge.text
    with Spool(bridge.spool) as spool:
        assert spool.car == CAR_MODEL


@pytest.mark.slow
def test_a_human_takes_the_wheel_for_a_lap_of_a_drive_and_the_policy_goes_on(
    game: FakeGame, receiver: ThreadedReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyvjoy.py").write_text(JOYSTICK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    blob = following_policy(SIGNATURE, 1)
    receiver.store.put_weights(1, blob, hashlib.sha256(blob).hexdigest())
    with driving(game, receiver, tmp_path, "--backend", "vjoy") as bridge:
        wait_until(lambda: steps_by(receiver, 1) > 20, "the policy to drive", PATIENCE)
        game.tell("human", steer=-0.8, gas=0.2, wins=True)
        wait_until(lambda: released(game), "the wheel to be let go of", PATIENCE)
        game.tell("put", s=-30.0, speed=15.0)
        game.tell("person", pace=0.8, wins=True)
        bridge.says("a lap is taken", PATIENCE)
        driven = steps_by(receiver, 1)
        game.tell("human")
        wait_until(lambda: steps_by(receiver, 1) > driven + 20, "the policy to go on", PATIENCE)
    batches = stored(receiver)
    shown = [batch for batch in batches if (batch.policy_versions == DEMONSTRATION).any()]
    (lap,) = (lap for batch in shown for lap in batch.laps if batch.policy_versions[lap.row] == DEMONSTRATION)
    assert lap.clean
    assert lap.time * CONFIG.task.control_hz < steps_by(receiver, DEMONSTRATION) + 2
    # The human's steps are an episode of their own, from where he took the wheel to the last line that he crossed.
    versions = np.concatenate([batch.policy_versions for batch in batches])
    ends = np.concatenate([batch.truncated | batch.terminated for batch in batches])
    assert set(versions) == {DEMONSTRATION, 1}
    (changes,) = np.nonzero(np.diff(versions.astype(int)))
    assert ends[changes].all()


def test_a_car_that_a_bridge_drives_is_nobodys_demonstration(game: FakeGame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
    other = CustomAI()
    other.open()
    watched = human_car(GamePages())

    def said() -> bool:
        try:
            watched.read()
        except NotDriving as why:
            return "A bridge drives the car through CSP" in str(why)
        return False

    wait_until(said, "the other bridge to be seen", 30.0)
    other.close()
    watched.close()


@pytest.mark.slow
def test_a_pause_breaks_a_lap_off_and_who_drives_on_shows_the_next(
    game: FakeGame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
    # A busy machine lets the game stand still for a moment, which is no end of a lap here.
    monkeypatch.setattr(car, "PATIENCE", 30.0)
    monkeypatch.setattr(car, "HEARTBEAT_SECONDS", 30.0)
    with Spool(tmp_path / "spool") as spool, closing(Recorder(spool, racing().spaces.layout, 1)) as recorder:
        laps = CleanLaps(recorder, 0.05)
        task = Task(parse_track(TRACK), TaskConfig())
        driver = HumanDriver(human_car(GamePages()), task, RealTimeClock(0.05), laps, check=lambda: None)
        wait_until(lambda: driver.waits_for() == "you to drive", "the car to be seen standing", PATIENCE)
        game.tell("put", s=100.0, speed=20.0)
        game.tell("person", pace=0.7)
        steps = 0

        def driven(enough: int) -> bool:
            nonlocal steps
            if driver.waits_for() is None and driver.step() is not None:
                steps += 1
            return steps >= enough

        wait_until(lambda: driven(80), "some seconds of the human", PATIENCE, 0.001)
        game.tell("mode", mode="pause")
        wait_until(lambda: driver.step() is None, "the pause to be seen", PATIENCE, 0.001)
        assert laps.left_out == {"was interrupted": 1}
        assert "paused" in (driver.waits_for() or "")
        game.live()
        wait_until(lambda: driven(90), "the human to drive on", PATIENCE, 0.001)
        laps.finish()
        assert spool.last_number == 0


@pytest.mark.slow
def test_recorded_pages_are_shown_on_the_games_own_track_unless_they_are_of_another_car(
    receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    filmed = Filmed(tmp_path / "shm")
    filmed.drive_laps()
    install(tmp_path / "assettocorsa", TRACK_DRIVEN, TRACK_NAME, "", True)
    environment = os.environ | {
        "AC_ROOT": str(tmp_path / "assettocorsa"),
        "AC_BRIDGE_CONFIG_DIR": str(tmp_path),
        "AC_BRIDGE_URI": format_pairing(receiver.pairing),
    }
    # The receiver has no bucket, so that nothing becomes safe; a bridge that waits for that is stopped.
    command = [sys.executable, "-m", "bridge", "demonstrate", "--recording", str(filmed.file())]
    with Spool(tmp_path / "spool") as spool:
        spool.note_car("another_car")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert refused.returncode == ExitCode.USAGE
    assert f"This is another car ({CAR_MODEL})" in refused.stderr
    assert "Traceback" not in refused.stderr
    bridge = subprocess.Popen([*command, "--new-car"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: any(batch.laps for batch in stored(receiver)), "the lap to arrive", PATIENCE)
    finally:
        bridge.terminate()
        said = bridge.communicate(timeout=PATIENCE)[1]
    (lap,) = (lap for batch in stored(receiver) for lap in batch.laps)
    assert 1000.0 * lap.time == pytest.approx(filmed.game.laps.best_ms, abs=10.0)
    assert lap.clean
    assert "1 lap was taken in 0:" in said
    filmed.game.close()


def steps_by(receiver: ThreadedReceiver, version: int) -> int:
    """How many steps of this version have arrived."""
    return sum(int((batch.policy_versions == version).sum()) for batch in stored(receiver))


def released(game: FakeGame) -> bool:
    """Whether the bridge's joystick is at rest, without a brake: a human drives."""
    page = (game.shm / PAD_NAME).read_bytes()
    return all(PAD_LAYOUT.get(page, axis) == pytest.approx(0.0, abs=1e-3) for axis in ("steer", "throttle", "brake"))
