"""The driver's process: one for a folder."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from runtime.files import locked
from tests.support.bridge_processes import ROOT
from tests.support.cloud_drives import driven_run
from train_cloud.run_folder.files import DRIVER_LOCK


@pytest.mark.slow
def test_a_second_driver_for_a_folder_ends_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "run.json"
    config.write_bytes(msgspec.json.encode(driven_run(tmp_path / "bucket")))
    first = locked(tmp_path / DRIVER_LOCK)
    assert first is not None
    with closing(first):
        line = [sys.executable, "-m", "train_cloud.driver", "--config", str(config), "--folder", str(tmp_path)]
        second = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert second.returncode == ExitCode.REFUSED
    assert "Another driver works in" in second.stderr
