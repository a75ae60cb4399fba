"""The guard of a pad or a joystick: real processes, and stand-ins for vgamepad and pyvjoy that they import."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls import supervisor
from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button
from bridge.assetto_corsa.controls.gamepad import Gamepad
from bridge.assetto_corsa.controls.supervisor import Supervised
from bridge.assetto_corsa.controls.vjoy import VJoy
from tests.support.ended import has_ended
from tests.support.guarded_bridge import commanded, commanded_until_lost, end, started
from tests.support.waiting import wait_until

STAND_IN = """
import os

class VX360Gamepad:
    def __init__(self):
        self.reset()
    def left_joystick_float(self, x_value_float, y_value_float):
        self.x = x_value_float
    def left_trigger_float(self, value_float):
        self.left = value_float
    def right_trigger_float(self, value_float):
        self.right = value_float
    def press_button(self, button):
        self.buttons |= button
    def release_button(self, button):
        self.buttons &= ~button
    def reset(self):
        self.buttons = self.left = self.right = self.x = 0
    def update(self):
        self.write(f"{self.buttons} {self.left:.2f} {self.right:.2f} {self.x:.2f}")
    def close(self):
        self.write("unplugged")
    def write(self, text):
        with open(os.environ["PAD_FILE"] + ".new", "w") as file:
            file.write(text)
        os.rename(os.environ["PAD_FILE"] + ".new", os.environ["PAD_FILE"])
"""
JOYSTICK = """
import os
from types import SimpleNamespace

class VJoyDevice:
    def __init__(self, number):
        self.data = SimpleNamespace(wAxisX=0, wAxisY=0, wAxisZ=0, wAxisZRot=0, lButtons=0)
    def update(self):
        return not os.path.exists(os.environ["PAD_FILE"] + ".broken")
"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard on a busy machine is late, and hangs not."""
    monkeypatch.setattr(supervisor, "ANSWER_SECONDS", 60.0)


@pytest.fixture
def pad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for vgamepad, found by the guard's interpreter, shows."""
    (tmp_path / "vgamepad.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PAD_FILE", str(tmp_path / "pad"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "pad"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_bridge_takes_the_pad_of_a_lost_guard_and_holds_it_neutral(
    pad_file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.syspath_prepend(str(pad_file.parent))
    monkeypatch.delitem(sys.modules, "vgamepad", raising=False)
    backend = Supervised(Gamepad(), hold_seconds=0.5)
    backend.open()
    commanded(backend, lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")
    assert backend.guard_pid is not None
    monkeypatch.setattr(supervisor, "ANSWER_SECONDS", 0.5)
    os.kill(backend.guard_pid, number)

    assert commanded_until_lost(backend) < 0.05, "nobody waits for it"

    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    backend.close()
    backend.neutral()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes after a while")
    monkeypatch.delitem(sys.modules, "vgamepad", raising=False)


def test_a_guard_whose_bridge_stands_still_releases_the_buttons_of_a_pad(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.0)
    backend.open()

    def pressed() -> bool:
        backend.press(Button.RESET_SESSION, True)
        return pad_file.read_text() == "32 0.30 0.00 0.00"

    wait_until(pressed, "the button is held")
    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "it is released")

    backend.close()


def test_the_pad_of_an_orderly_end_is_held_neutral_and_the_next_bridge_waits_for_it(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.5)
    backend.open()
    commanded(backend, lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")
    began = time.monotonic()
    backend.close()
    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    successor = Supervised(Gamepad(), hold_seconds=0.5)
    successor.open()
    assert time.monotonic() - began >= 0.5, "the first one had it"
    commanded(successor, lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "the next one drives")
    successor.close()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


@pytest.mark.slow
def test_two_bridges_do_not_share_a_pad(pad_file: Path) -> None:
    first, second = Supervised(Gamepad(), hold_seconds=0.0), Supervised(Gamepad(), hold_seconds=0.0)
    first.open()
    with pytest.raises(BackendUnavailable, match="another bridge drives through gamepad"):
        second.open()
    first.close()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


def test_a_lock_that_is_no_lock_is_said_by_the_bridge(pad_file: Path) -> None:
    first = Supervised(Gamepad(), hold_seconds=0.0)
    first.open()
    (lock,) = pad_file.parent.glob("ac-bridge-gamepad*.lock")
    first.close()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")
    lock.write_text("somebody else's file" * 10)

    with pytest.raises(BackendUnavailable, match=r"ac-bridge-gamepad.*\.lock cannot be used: file is not a database"):
        Supervised(Gamepad()).open()


def test_a_joystick_whose_driver_fails_is_not_driven_on(pad_file: Path) -> None:
    (pad_file.parent / "pyvjoy.py").write_text(JOYSTICK)
    backend = Supervised(VJoy(), hold_seconds=0.0)
    backend.open()
    backend.apply(1.0, 1.0, 0.0)

    pad_file.with_name("pad.broken").touch()

    commanded_until_lost(backend)
    backend.close()


def test_a_pad_belongs_to_the_guard_and_outlives_the_bridge_until_the_car_is_slow(pad_file: Path) -> None:
    bridge, guard = started("gamepad", "Gamepad")
    wait_until(lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")

    bridge.send_signal(signal.SIGKILL)
    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    wait_until(lambda: has_ended(guard), "the guard ends")

    assert pad_file.read_text() == "unplugged"
    end(bridge)


def test_commands_and_buttons_reach_a_pad_through_the_guard(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.0)
    backend.open()

    def arrived(text: str) -> bool:
        backend.apply(-0.5, 0.0, 0.5)
        return pad_file.read_text() == text

    wait_until(lambda: arrived("0 0.50 0.00 0.50"), "the command arrives")

    def pressed() -> bool:
        backend.press(Button.START_SESSION, True)
        return arrived("16 0.50 0.00 0.50")

    wait_until(pressed, "the button arrives")
    backend.close()

    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


def test_what_the_guard_lacks_is_said_by_the_bridge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vgamepad.py").write_text("raise ImportError('no libevdev')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"no libevdev.*pip install vgamepad"):
        Supervised(Gamepad()).open()
