"""`ac-bridge bind`: a pad that stays, and moves one thing for each Enter, on a stand-in for the package vgamepad."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.device_lock import InUse, take
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there; vjoy may be there"),
]
PROJECT = Path(__file__).parents[3]
REST = [0, 0.0, 0.0, 0.0]
VGAMEPAD = """
import json, os

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
        self.buttons, self.x, self.left, self.right = 0, 0.0, 0.0, 0.0
    def update(self):
        if os.path.exists(os.environ["PAD_LOG"] + ".lost"):
            raise Exception("VIGEM_ERROR_BUS_NOT_FOUND")
        self.note([self.buttons, self.x, self.right, self.left])
    def close(self):
        self.note("unplugged")
    def note(self, what):
        with open(os.environ["PAD_LOG"], "a") as log:
            log.write(json.dumps(what) + "\\n")
"""
"""A report is: buttons, stick (right positive), right trigger, left trigger."""


def environment(folder: Path) -> dict[str, str]:
    """With the stand-in, where `folder` has it, and locks of devices of its own."""
    path = os.pathsep.join([str(folder / "modules"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "PAD_LOG": str(folder / "log"), "TMPDIR": str(folder)}


class Bound:
    """A running `bind`."""

    def __init__(self, folder: Path) -> None:
        (folder / "modules").mkdir()
        (folder / "modules" / "vgamepad.py").write_text(VGAMEPAD)
        self._log = folder / "log"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "bind", "--delay", "0"],
            cwd=PROJECT,
            env=environment(folder),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    @property
    def reports(self) -> list[object]:
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def answer(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def shows(self, *reports: object) -> None:
        wait_until(lambda: self.reports[-len(reports) :] == list(reports), f"{reports}, not {self.reports}", 30.0)


@contextmanager
def bound(folder: Path) -> Iterator[Bound]:
    running = Bound(folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def test_each_enter_moves_one_thing_and_ctrl_c_unplugs(tmp_path: Path) -> None:
    with bound(tmp_path) as bind:
        bind.shows(REST)
        bind.answer("")
        bind.shows([0, -1.0, 0.0, 0.0], REST)
        bind.answer("")
        bind.shows([0, 1.0, 0.0, 0.0], REST)
        bind.answer("nonsense")
        bind.answer("6")
        bind.shows([0x20, 0.0, 0.0, 0.0], REST)
        bind.answer("")
        bind.shows([0x10, 0.0, 0.0, 0.0], REST)
        bind.process.send_signal(signal.SIGINT)
        out, err = bind.process.communicate(timeout=120)
        assert (bind.process.returncode, err) == (0, "")
        assert bind.reports[-2:] == [REST, "unplugged"]
    assert "Throttle" in out
    assert "a number from 1 to 8" in out


def test_a_movement_that_is_cut_short_ends_at_rest(tmp_path: Path) -> None:
    with bound(tmp_path) as bind:
        bind.shows(REST)
        bind.answer("3")
        bind.shows([0, 0.0, 1.0, 0.0])
        bind.process.send_signal(signal.SIGTERM)
        assert bind.process.wait(120) == 0
        assert bind.reports[-2:] == [REST, "unplugged"]


def test_a_driver_that_goes_ends_it_with_a_sentence(tmp_path: Path) -> None:
    with bound(tmp_path) as bind:
        bind.shows(REST)
        bind.answer("3")
        bind.shows([0, 0.0, 1.0, 0.0])
        (tmp_path / "log.lost").touch()
        out, err = bind.process.communicate(timeout=120)
        assert bind.process.returncode == 1
        assert bind.reports[-1] == "unplugged"
    assert "takes nothing any more" in err
    assert len(err.splitlines()) == 1
    assert "Unplugged." not in out


def test_a_pad_that_is_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(take("gamepad", 0.0)), bound(tmp_path) as bind:
        _, err = bind.process.communicate(timeout=120)
        assert bind.process.returncode == 1
        assert bind.reports == []
    assert err.startswith("another bridge drives through gamepad")
    assert len(err.splitlines()) == 1


def test_the_pad_that_it_moves_is_not_driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with bound(tmp_path) as bind:
        bind.shows(REST)
        for device in ("gamepad", "vjoy"):
            with pytest.raises(InUse, match="`ac-bridge bind` holds it"):
                take(device, 0.0)


def test_without_a_device_it_says_what_is_missing(tmp_path: Path) -> None:
    for backend, code, says in (("vjoy", 1, "vjoy: "), ("csp", 2, "needs no binding")):
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "bind", "--backend", backend],
            cwd=PROJECT,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
