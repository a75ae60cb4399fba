"""The guard of the controls: real processes are killed and stopped, and what the game reads is looked into."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls import supervisor
from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button, Vector
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.guard import APPLY, HEARTBEAT_SECONDS, MESSAGE, Mailbox, guard
from bridge.assetto_corsa.controls.supervisor import GuardLost, Supervised
from tests.support.custom_ai import CONTROLS, answering, pedals
from tests.support.ended import has_ended
from tests.support.fake_game import FakeGame
from tests.support.guarded_bridge import ROOT, commanded, commanded_until_lost, end, started
from tests.support.idle_backend import IdleBackend
from tests.support.waiting import wait_until

NEUTRAL = pytest.approx((0.0, 0.3, 0.0, 0.0, 0.0))
FLAT_OUT = (1.0, 0.0, 0.0, -1.0, 0.0)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard on a busy machine is late, and hangs not."""
    monkeypatch.setattr(supervisor, "ANSWER_SECONDS", 60.0)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    with answering(tmp_path):
        yield tmp_path


def test_a_killed_bridge_leaves_a_neutral_car_and_after_a_while_no_page(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives")

    bridge.send_signal(signal.SIGKILL)
    # The page goes in the end; a game has it mapped until then.
    with (memory / CONTROLS).open("rb"):
        wait_until(lambda: pedals(memory) == NEUTRAL, "the controls are neutral")
    wait_until(lambda: has_ended(guard), "the guard ends")

    assert not (memory / CONTROLS).exists()
    end(bridge)


def test_a_bridge_that_stands_still_leaves_a_neutral_car_until_it_comes_back(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives")

    bridge.send_signal(signal.SIGSTOP)
    wait_until(lambda: pedals(memory) == NEUTRAL, "the controls are neutral")
    bridge.send_signal(signal.SIGCONT)
    wait_until(lambda: pedals(memory) == FLAT_OUT, "it drives again")

    assert not has_ended(guard)
    end(bridge)
    wait_until(lambda: has_ended(guard), "the guard ends")


def test_the_guard_of_a_dead_bridge_leaves_the_next_one_alone(memory: Path) -> None:
    bridge, guard = started("csp", "CustomAI")
    end(bridge)
    successor = CustomAI()
    successor.open()
    successor.apply(0.0, 0.5, 0.0)

    wait_until(lambda: has_ended(guard), "the guard ends")

    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)
    successor.close()


def test_a_closed_bridge_is_neutral_and_leaves_no_page_and_no_guard_after_a_while(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.2)
    backend.open()
    guard = backend.guard_pid
    commanded(backend, lambda: pedals(memory) == FLAT_OUT, "it drives")
    with (memory / CONTROLS).open("rb") as game:
        backend.close()
        backend.close()
        backend.apply(1.0, 1.0, 0.0)
        left = game.read(8)

    assert left == b"\0\0\0\0" + b"\x9a\x99\x99\x3e", "gas 0, brake 0.3"
    assert guard is not None
    wait_until(lambda: has_ended(guard), "the guard ends")
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
    wait_until(lambda: has_ended(guard), "the first guard ends")
    commanded(successor, lambda: pedals(memory) == FLAT_OUT, "the next one drives")
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


def test_a_guard_that_hangs_is_found_out_and_nobody_waits_for_it(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.2)
    backend.open()
    assert backend.guard_pid is not None
    commanded(backend, lambda: pedals(memory) == FLAT_OUT, "it drives")
    guard = backend.guard_pid
    monkeypatch.setattr(supervisor, "ANSWER_SECONDS", 0.5)
    os.kill(guard, signal.SIGSTOP)

    assert commanded_until_lost(backend) < 0.05, "nobody waits for it"

    wait_until(lambda: has_ended(guard), "it is ended")
    assert pedals(memory) == NEUTRAL
    backend.close()
    wait_until(lambda: not (memory / CONTROLS).exists(), "the page goes after a while")


def test_a_guard_whose_bridge_stands_still_presses_no_button_and_asks_for_no_teleport(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.0)
    backend.open()
    backend.press(Button.GEAR_UP, True)
    backend.teleport(Vector(1.0, 2.0, 3.0), Vector(0.0, 0.0, 1.0))

    wait_until(lambda: (memory / CONTROLS).read_bytes()[20:41] == bytes(21), "nothing is asked for")

    backend.close()


def test_ctrl_c_in_the_terminal_is_not_for_the_guard(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.0)
    backend.open()
    assert backend.guard_pid is not None

    assert os.getsid(backend.guard_pid) != os.getsid(0)
    os.kill(backend.guard_pid, signal.SIGINT)
    for _ in range(20):
        commanded(backend, lambda: pedals(memory) == FLAT_OUT, "it drives on")

    assert not has_ended(backend.guard_pid)
    backend.close()


def test_renewed_controls_are_a_new_page_with_a_new_guard(memory: Path) -> None:
    backend = Supervised(CustomAI(), hold_seconds=0.0)
    backend.open()
    guard = backend.guard_pid
    assert guard is not None
    with (memory / CONTROLS).open("rb") as held:
        backend.apply(1.0, 1.0, 0.0)
        backend.renew()
        assert struct.unpack("<5f", held.read(20)) == NEUTRAL, "what CSP may still read of the old one"
        assert os.fstat(held.fileno()).st_ino != (memory / CONTROLS).stat().st_ino

    assert has_ended(guard)
    assert backend.guard_pid not in (None, guard)
    commanded(backend, lambda: pedals(memory) == FLAT_OUT, "it drives")
    backend.close()
    wait_until(lambda: not (memory / CONTROLS).exists(), "the page goes")


def test_nothing_is_renewed_of_a_car_that_another_bridge_has(memory: Path) -> None:
    backend, other = Supervised(CustomAI(), hold_seconds=0.0), CustomAI()
    backend.open()
    other.open()
    other.apply(0.0, 0.5, 0.0)

    backend.renew()

    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(BackendUnavailable, match="another bridge has taken the car"):
        backend.apply(1.0, 1.0, 0.0)
    backend.close()
    other.close()


def test_controls_whose_guard_cannot_be_started_are_given_back(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(memory / "forbidden"))

    with pytest.raises(BackendUnavailable, match=r"cannot be started \(.*forbidden"):
        Supervised(CustomAI()).open()

    assert not (memory / CONTROLS).exists()


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
        wait_until(lambda: has_ended(guard), "the guard ends")
        wait_until(lambda: game.physics("speedKmh") < 1.0, "it stands")
        end(bridge)


class Script(Mailbox):
    """What comes through the pipe, one list a call; None at the end. Attributes: waits, for how long each would, s."""

    def __init__(self, *messages: list[bytes] | None) -> None:
        self.waits: list[float] = []
        self._script = iter(messages)

    def take(self, seconds: float) -> list[bytes] | None:
        self.waits.append(seconds)
        return next(self._script)


def test_the_controls_are_neutral_after_so_long_a_silence_and_no_longer_one() -> None:
    backend, answered = IdleBackend(), list[int]()
    drive = MESSAGE.pack(APPLY, 0, 1.0, 1.0, 0.0)
    inbox = Script([drive], [drive, drive], [], [drive], None)

    guard(backend, inbox, answered.append)

    assert inbox.waits[:3] == [HEARTBEAT_SECONDS] * 3
    assert inbox.waits[3] < HEARTBEAT_SECONDS, "neutral over and over, however long it lasts"
    assert inbox.waits[4] == HEARTBEAT_SECONDS
    assert backend.sent == [*[(1.0, 1.0, 0.0)] * 3, "neutral", "neutral", (1.0, 1.0, 0.0), "neutral"]
    assert answered == [1, 2, 1]


def test_the_guard_needs_no_numpy() -> None:
    code = "import sys, bridge.assetto_corsa.controls.guard; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
