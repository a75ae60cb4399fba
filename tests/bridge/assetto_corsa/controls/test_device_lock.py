"""The lock of a pad or a joystick: one has it, and whatever else keeps it from being taken is told apart from that."""

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.controls import BackendUnavailable
from bridge.assetto_corsa.controls.device_lock import InUse, take


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def refused(name: str = "gamepad") -> BackendUnavailable:
    with pytest.raises(BackendUnavailable) as refusal:
        take(name, 0.0)
    return refusal.value


def test_one_has_a_device_until_it_lets_go_and_another_device_is_free() -> None:
    with closing(take("gamepad", 0.0)):
        in_use = refused()
        assert isinstance(in_use, InUse)
        assert "another bridge drives through gamepad" in str(in_use)
        take("vjoy", 0.0).close()
    take("gamepad", 0.0).close()


def test_a_lock_that_cannot_be_used_is_no_other_bridge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take("gamepad", 0.0).close()
    (lock,) = folder.iterdir()
    lock.write_text("somebody else's file, and longer than what is looked at first" * 10)
    foreign = refused()
    assert not isinstance(foreign, InUse)
    assert str(foreign).startswith(f"the lock {lock} cannot be used: file is not a database.")
    lock.unlink()
    lock.mkdir()
    assert f"the lock {lock} cannot be used: unable to open" in str(refused())
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    assert "cannot be used: unable to open" in str(refused())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_lock_that_may_only_be_read_is_no_other_bridge(folder: Path) -> None:
    take("gamepad", 0.0).close()
    (lock,) = folder.iterdir()
    lock.chmod(0o400)
    reason = refused()
    assert not isinstance(reason, InUse)
    assert "it may only be read" in str(reason)


def test_without_any_temporary_folder_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert "No usable temporary directory found" in str(refused())
