"""The guard of the controls: real processes are killed and stopped, and what the game reads is looked into."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls import BackendUnavailable, Button, Vector
from bridge.assetto_corsa.csp import CustomAI
from bridge.assetto_corsa.gamepad import Gamepad
from bridge.assetto_corsa.guard import HEARTBEAT_SECONDS
from bridge.assetto_corsa.supervisor import GuardLost, Supervised
from bridge.assetto_corsa.vjoy import VJoy
from tests.support.custom_ai import CONTROLS, answering, pedals
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
NEUTRAL = pytest.approx((0.0, 0.3, 0.0, 0.0, 0.0))
FLAT_OUT = (1.0, 0.0, 0.0, -1.0, 0.0)
BRIDGE = """
import sys, time
from bridge.assetto_corsa.{module} import {backend}
from bridge.assetto_corsa.supervisor import Supervised
backend = Supervised({backend}(), hold_seconds=0.5)
backend.open()
print(backend.guard_pid, flush=True)
while True:
    backend.apply(1.0, 1.0, 0.0)
    time.sleep(0.02)
"""
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


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    with answering(tmp_path):
        yield tmp_path


@pytest.fixture
def pad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for vgamepad, found by the guard's interpreter, shows."""
    (tmp_path / "vgamepad.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PAD_FILE", str(tmp_path / "pad"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "pad"


def started(module: str, backend: str) -> tuple["subprocess.Popen[str]", int]:
    """A bridge that drives flat out to the left, and the process id of its guard."""
    bridge = subprocess.Popen(
        [sys.executable, "-c", BRIDGE.format(module=module, backend=backend)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bridge.stdout is not None
    return bridge, int(bridge.stdout.readline())


def gone(process: int) -> bool:
    """Whether there is no such process any more, or only its remains."""
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True


def end(bridge: "subprocess.Popen[str]") -> None:
    bridge.kill()
    with bridge:
        bridge.wait()


def test_a_killed_bridge_leaves_a_neutral_car_and_after_a_while_no_page(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives")

    bridge.send_signal(signal.SIGKILL)
    # The page goes in the end; a game has it mapped until then.
    with (memory / CONTROLS).open("rb"):
        took = wait_until(lambda: pedals(memory) == NEUTRAL, "the controls are neutral", seconds=5.0)
    wait_until(lambda: gone(guard), "the guard ends")

    assert took < HEARTBEAT_SECONDS + 0.5
    assert not (memory / CONTROLS).exists()
    end(bridge)


def test_a_bridge_that_stands_still_leaves_a_neutral_car_until_it_comes_back(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives")

    bridge.send_signal(signal.SIGSTOP)
    wait_until(lambda: pedals(memory) == NEUTRAL, "the controls are neutral")
    bridge.send_signal(signal.SIGCONT)
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives again")

    assert not gone(guard)
    end(bridge)
    wait_until(lambda: gone(guard), "the guard ends")


def test_the_guard_of_a_dead_bridge_leaves_the_next_one_alone(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    end(bridge)
    successor = CustomAI()
    successor.open()
    successor.apply(0.0, 0.5, 0.0)

    wait_until(lambda: gone(guard), "the guard ends")

    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)
    successor.close()


def test_a_closed_bridge_is_neutral_and_leaves_no_page_and_no_guard_after_a_while(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.2)
    backend.open()
    guard = backend.guard_pid
    backend.apply(1.0, 1.0, 0.0)
    assert pedals(memory) == FLAT_OUT
    with (memory / CONTROLS).open("rb") as game:
        backend.close()
        backend.close()
        backend.apply(1.0, 1.0, 0.0)
        left = game.read(8)

    assert left == b"\0\0\0\0" + b"\x9a\x99\x99\x3e", "gas 0, brake 0.3"
    assert guard is not None
    wait_until(lambda: gone(guard), "the guard ends")
    assert not (memory / CONTROLS).exists()


def test_the_car_of_a_closed_bridge_is_held_and_the_next_one_takes_it_meanwhile(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=60.0)
    backend.open()
    guard = backend.guard_pid
    backend.close()
    assert pedals(memory) == NEUTRAL
    successor = Supervised(CustomAI(), hold_seconds=0.0)
    successor.open()
    successor.apply(1.0, 1.0, 0.0)
    assert guard is not None
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: gone(guard), "the first guard ends")
    successor.apply(1.0, 1.0, 0.0)
    assert pedals(memory) == FLAT_OUT
    successor.close()
    wait_until(lambda: not (memory / CONTROLS).exists(), "the page goes")


def test_nobody_drives_unguarded(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.5)
    backend.open()
    assert backend.guard_pid is not None
    os.kill(backend.guard_pid, signal.SIGKILL)

    def lost() -> bool:
        backend.apply(1.0, 1.0, 0.0)
        return False

    with pytest.raises(GuardLost, match="guards the controls has ended"):
        wait_until(lost, "the bridge notices")

    assert pedals(memory) == NEUTRAL
    backend.neutral()
    with pytest.raises(GuardLost):
        backend.apply(1.0, 1.0, 0.0)
    backend.close()
    wait_until(lambda: not (memory / CONTROLS).exists(), "the page goes after a while")


def commanded_until_lost(backend: Supervised) -> float:
    """The longest that a command took, s, until one was refused because the guard is lost."""
    longest = [0.0]

    def lost() -> bool:
        began = time.perf_counter()
        try:
            backend.apply(1.0, 1.0, 0.0)
        except GuardLost:
            return True
        finally:
            longest[0] = max(longest[0], time.perf_counter() - began)
        return False

    wait_until(lost, "the bridge notices", every=0.001)
    return longest[0]


def test_a_guard_that_hangs_is_found_out_and_nobody_waits_for_it(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.2)
    backend.open()
    assert backend.guard_pid is not None
    backend.apply(1.0, 1.0, 0.0)
    assert pedals(memory) == FLAT_OUT
    guard = backend.guard_pid
    os.kill(guard, signal.SIGSTOP)

    assert commanded_until_lost(backend) < 0.5

    wait_until(lambda: gone(guard), "it is ended")
    assert pedals(memory) == NEUTRAL
    backend.close()
    wait_until(lambda: not (memory / CONTROLS).exists(), "the page goes after a while")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_bridge_takes_the_pad_of_a_lost_guard_and_holds_it_neutral(
    pad_file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.syspath_prepend(str(pad_file.parent))
    monkeypatch.delitem(sys.modules, "vgamepad", raising=False)
    backend = Supervised(Gamepad(), hold_seconds=0.5)
    backend.open()
    backend.apply(1.0, 1.0, 0.0)
    wait_until(lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")
    assert backend.guard_pid is not None
    os.kill(backend.guard_pid, number)

    assert commanded_until_lost(backend) < 0.5

    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    backend.close()
    backend.neutral()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes after a while")
    monkeypatch.delitem(sys.modules, "vgamepad", raising=False)


def test_a_guard_whose_bridge_stands_still_presses_no_button_and_asks_for_no_teleport(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.0)
    backend.open()
    backend.press(Button.GEAR_UP, True)
    backend.teleport(Vector(1.0, 2.0, 3.0), Vector(0.0, 0.0, 1.0))

    wait_until(lambda: (memory / CONTROLS).read_bytes()[20:41] == bytes(21), "nothing is asked for")

    backend.close()


def test_a_guard_whose_bridge_stands_still_releases_the_buttons_of_a_pad(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.0)
    backend.open()
    backend.press(Button.RESET_SESSION, True)
    wait_until(lambda: pad_file.read_text() == "32 0.30 0.00 0.00", "the button is held")

    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "it is released")

    backend.close()


def test_the_pad_of_an_orderly_end_is_held_neutral_and_the_next_bridge_waits_for_it(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.5)
    backend.open()
    backend.apply(1.0, 1.0, 0.0)
    wait_until(lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")
    backend.close()
    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    began = time.monotonic()
    successor = Supervised(Gamepad(), hold_seconds=0.5)
    successor.open()
    assert time.monotonic() - began > 0.3, "the first one had it"
    successor.apply(1.0, 1.0, 0.0)
    wait_until(lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "the next one drives")
    successor.close()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


def test_two_bridges_do_not_share_a_pad(pad_file: Path) -> None:
    first, second = Supervised(Gamepad(), hold_seconds=0.0), Supervised(Gamepad(), hold_seconds=0.0)
    first.open()
    with pytest.raises(BackendUnavailable, match="another bridge drives through gamepad"):
        second.open()
    first.close()
    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


def test_a_joystick_whose_driver_fails_is_not_driven_on(pad_file: Path) -> None:
    (pad_file.parent / "pyvjoy.py").write_text(JOYSTICK)
    backend = Supervised(VJoy(), hold_seconds=0.0)
    backend.open()
    backend.apply(1.0, 1.0, 0.0)

    pad_file.with_name("pad.broken").touch()

    commanded_until_lost(backend)
    backend.close()


def test_ctrl_c_in_the_terminal_is_not_for_the_guard(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.0)
    backend.open()
    assert backend.guard_pid is not None

    assert os.getsid(backend.guard_pid) != os.getsid(0)
    os.kill(backend.guard_pid, signal.SIGINT)
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        backend.apply(0.0, 0.5, 0.0)

    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)
    backend.close()


def test_a_pad_belongs_to_the_guard_and_outlives_the_bridge_until_the_car_is_slow(pad_file: Path) -> None:
    bridge, guard = started("gamepad", "Gamepad")
    wait_until(lambda: pad_file.read_text() == "0 0.00 1.00 -1.00", "it drives")

    bridge.send_signal(signal.SIGKILL)
    wait_until(lambda: pad_file.read_text() == "0 0.30 0.00 0.00", "the pad is neutral")
    wait_until(lambda: gone(guard), "the guard ends")

    assert pad_file.read_text() == "unplugged"
    end(bridge)


def test_commands_and_buttons_reach_a_pad_through_the_guard(pad_file: Path) -> None:
    backend = Supervised(Gamepad(), hold_seconds=0.0)
    backend.open()
    backend.apply(-0.5, 0.0, 0.5)
    wait_until(lambda: pad_file.read_text() == "0 0.50 0.00 0.50", "the command arrives")
    backend.press(Button.START_SESSION, True)
    wait_until(lambda: pad_file.read_text() == "16 0.50 0.00 0.50", "the button arrives")
    backend.close()

    wait_until(lambda: pad_file.read_text() == "unplugged", "the pad goes")


def test_what_the_guard_lacks_is_said_by_the_bridge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vgamepad.py").write_text("raise ImportError('no libevdev')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"no libevdev.*pip install vgamepad"):
        Supervised(Gamepad()).open()


def test_the_car_of_a_killed_bridge_comes_to_a_stop_in_the_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeGame(tmp_path) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        bridge, guard = started("csp", "CustomAI")
        wait_until(lambda: game.physics("gas") == 1.0, "it drives")

        bridge.send_signal(signal.SIGKILL)
        wait_until(lambda: game.physics("gas") == 0.0 and game.physics("brake") > 0.2, "it brakes")
        wait_until(lambda: gone(guard), "the guard ends")
        wait_until(lambda: game.physics("speedKmh") < 1.0, "it stands")
        end(bridge)


def test_the_guard_needs_no_numpy() -> None:
    code = "import sys, bridge.assetto_corsa.guard; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
