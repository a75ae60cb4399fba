"""The boot's steps, from the scripts' first line to the trainer's first gradient."""

import sys
from pathlib import Path

import pytest

from runtime.boot_clock import seconds_since_boot
from train_cloud.run_folder.files import BOOT_STEPS
from train_cloud.trainer.boot import note_first_gradient, read_boot_steps

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
