"""`make setup` does nothing when nothing has changed, and says in a sentence what is wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "setup.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, at work in an empty project with a finished environment; installing is only noted."""
    spec = importlib.util.spec_from_file_location("setup_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "setup-stamp.json")
    monkeypatch.setattr(module, "venv_version", lambda: "3.11")
    monkeypatch.setattr(module, "installed", [], raising=False)
    monkeypatch.setattr(module, "install", lambda extras: module.installed.append(extras))
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").write_text("one")
    (tmp_path / "constraints.txt").write_text("two")
    return module


def test_the_second_time_nothing_is_installed(setup: ModuleType) -> None:
    assert setup.main([]) == 0
    assert setup.main([]) == 0
    assert setup.installed == [["bridge", "cloud", "dev", "operator"]]


def test_an_intel_mac_is_told_that_there_is_no_torch_for_it_and_may_drive(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.sys, "platform", "darwin")
    monkeypatch.setattr(setup.platform, "machine", lambda: "x86_64")
    with pytest.raises(SystemExit, match="PyTorch has no packages for Macs with an Intel processor"):
        setup.refuse_what_has_no_torch(["bridge", "cloud"])
    setup.refuse_what_has_no_torch(["bridge"])
    monkeypatch.setattr(setup.platform, "machine", lambda: "arm64")
    setup.refuse_what_has_no_torch(["bridge", "cloud"])


def test_a_changed_constraint_is_installed(setup: ModuleType, tmp_path: Path) -> None:
    setup.main([])
    (tmp_path / "constraints.txt").write_text("two and a half")
    setup.main([])
    assert len(setup.installed) == 2


def test_the_gaming_pc_gets_only_the_bridge_and_keeps_it_when_more_is_added(setup: ModuleType) -> None:
    setup.main(["bridge"])
    setup.main(["dev"])
    setup.main(["bridge"])
    assert setup.installed == [["bridge"], ["bridge", "dev"]]


def test_an_interrupted_set_up_is_not_taken_for_a_finished_one(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.main([])
    (setup.ROOT / "constraints.txt").write_text("changed")

    def interrupted(extras: list[str]) -> None:
        raise KeyboardInterrupt(extras)

    with monkeypatch.context() as patch:
        patch.setattr(setup, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            setup.main([])
    (setup.ROOT / "constraints.txt").write_text("two")
    setup.main([])
    assert len(setup.installed) == 2


def test_an_old_python_looks_for_a_newer_one_and_else_says_what_to_do(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "OLDEST", (3, 99))
    monkeypatch.setattr(setup.shutil, "which", lambda name: None if name else name)
    with pytest.raises(SystemExit, match=r"needs Python 3\.99 or newer\. Install one"):
        setup.main([])


def test_an_unknown_extra_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "gpu"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "setup: There is no extra called gpu; there are: bridge, cloud, dev, operator.\n"


@pytest.mark.slow
def test_an_environment_that_uv_made_gets_the_pip_that_it_lacks(setup: ModuleType) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(setup.VENV)], check=True)
    pip = [str(setup.venv_python()), "-m", "pip", "--version"]
    assert subprocess.run(pip, capture_output=True, check=False).returncode != 0
    setup.provide_pip()
    assert subprocess.run(pip, capture_output=True, check=False).returncode == 0


def test_a_pip_that_cannot_be_added_is_a_sentence(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(SystemExit, match=r"Remove the folder \.venv"):
        setup.provide_pip()
