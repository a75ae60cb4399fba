"""The boot's steps, from the scripts' first line to the trainer's first gradient."""

import os
import sys
import time
from pathlib import Path

import pytest

from train_cloud.trainer.boot import BOOT_STEPS, note_first_gradient, read_boot_steps, seconds_since_boot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when PID 1 began")


def test_the_first_gradient_is_added_once_to_what_the_boot_scripts_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / BOOT_STEPS).write_text("address\t3.25\ncode\t5\n")
    steps = note_first_gradient(tmp_path)
    assert list(steps) == ["address", "code", "first_gradient"]
    assert (steps["address"], steps["code"]) == (3.25, 5.0)
    assert 0 < steps["first_gradient"] <= seconds_since_boot() + 0.01
    assert "first gradient" in caplog.text
    assert note_first_gradient(tmp_path) == steps, "a trainer that is started again does not move it"


def test_without_the_file_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert note_first_gradient(tmp_path) == {}
    assert not (tmp_path / BOOT_STEPS).exists()


def test_lines_that_are_no_steps_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / BOOT_STEPS).write_text("address\t3.25\nnonsense\n\nhalf\tsec")
    assert read_boot_steps(tmp_path) == {"address": 3.25}


@pytest.mark.skipif(os.name == "nt", reason="reads /proc")
def test_a_boot_goes_on_as_the_clock_does() -> None:
    began, before = time.monotonic(), seconds_since_boot()
    while time.monotonic() - began < 0.05:
        pass
    assert seconds_since_boot() - before == pytest.approx(time.monotonic() - began, abs=0.02)
