"""What a user chose wrongly is found before anything is dialled, with a sentence and the right exit code."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.session import GameSettings
from bridge.driving.garage import Settings, SettingsError, assembled_drive
from bridge.spool import Spool
from experience.environment import racing
from experience.policy_driver import PolicyDriver
from racing.delayed_car import DelayedCar
from racing.link_model import LinkModel, link_text
from racing.track import Track
from runtime.exit_codes import ExitCode
from tests.support.fake_game import FakeGame
from tests.support.recordings import along, straight, write
from tests.support.small_disk import SmallDisk
from wire.pairing import Pairing

NOBODY = Pairing("127.0.0.1", 9, "abcdefghijklmnop0123456789", tls=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        recording=None,
        track="seed:7:1200",
        cars=1,
        rate=None,
        real_time=False,
        task=(),
        spool=tmp_path / "spool",
        spool_limit_bytes=2**20,
        steps=None,
        seed=1,
    )


def refusal(settings: Settings) -> SettingsError:
    with pytest.raises(SettingsError) as told, assembled_drive(NOBODY, settings, threading.Event()):
        pass
    return told.value


@pytest.mark.parametrize("rate", [0.0, 500.0, float("nan")])
def test_a_rate_at_which_no_car_is_driven_is_refused(settings: Settings, rate: float) -> None:
    assert "10 to 60 Hz" in str(refusal(replace(settings, rate=rate)))


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("speed=1", "one of impact_penalty, max_episode_seconds, off_track_penalty"),
        ("progress_scale", "NAME=NUMBER"),
        ("progress_scale=much", "NAME=NUMBER"),
        ("progress_scale=nan", "progress_scale is nan"),
        ("off_track_penalty=-5", "off_track_penalty is -5.0"),
        ("max_episode_seconds=inf", "max_episode_seconds is inf"),
    ],
)
def test_a_setting_that_no_task_has_is_refused(settings: Settings, setting: str, complaint: str) -> None:
    assert complaint in str(refusal(replace(settings, task=(setting,))))


def test_a_missing_recording_is_not_told_about_tracks(settings: Settings, tmp_path: Path) -> None:
    told = str(refusal(replace(settings, recording=tmp_path / "no.csv")))
    assert "The recording" in told
    assert "seed:" not in told


@pytest.mark.parametrize(("rate", "complaint"), [(0.0, "10 to 60 Hz"), (17.0, "no 17 steps a second can be made")])
def test_a_recording_is_not_played_at_any_rate(settings: Settings, tmp_path: Path, rate: float, complaint: str) -> None:
    recording = write(tmp_path / "drive.csv", along(Track.generate(7, 1200.0), 100))
    assert complaint in str(refusal(replace(settings, recording=recording, rate=rate)))


def test_what_is_told_of_a_recording_at_another_rate_than_the_run_s_is_no_circle(
    settings: Settings, tmp_path: Path
) -> None:
    recording = write(tmp_path / "drive.csv", along(Track.generate(7, 1200.0), 100))
    told = str(refusal(replace(settings, recording=recording, rate=20.0)))
    assert "For a run that drives at 20 Hz record at a multiple of that." in told
    # Only a run at 25 Hz can learn from it, and leaving --rate out is no way to learn at 20 Hz.
    assert "fits runs whose task has another control_hz from their first start on (25)" in told


def test_a_recording_off_the_track_is_refused(settings: Settings, tmp_path: Path) -> None:
    recording = write(tmp_path / "drive.csv", straight(2000, start=3000.0))
    told = str(refusal(replace(settings, recording=recording)))
    assert "off the track seed:7:1200: only 0%" in told
    assert "--track" in told


def test_a_spool_without_room_to_begin_with_has_an_exit_code_of_its_own(settings: Settings, tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        disk.fill()
        error = refusal(replace(settings, spool=disk.folder / "spool"))
    assert error.exit_code is ExitCode.DISK_FULL
    assert "free the disk" in str(error)


def test_a_bridge_that_cannot_collect_leaves_the_game_to_who_drives_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeGame(tmp_path) as game, Spool(settings.spool, settings.spool_limit_bytes):
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        driver = CustomAI()
        driver.open()
        error = refusal(replace(settings, game=GameSettings(root=game.root)))
        driver.apply(0.0, 0.5, 0.0)
        assert driver.ours
        driver.close()
    assert "spool" in str(error)


def test_a_link_makes_the_cars_obey_late_and_binds_the_spool_to_it(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "link.json"
    late = replace(settings, link=file)
    assert "cannot be read" in str(refusal(late))
    link = LinkModel((0.1, 0.1))
    file.write_text(link_text(link), encoding="utf-8")
    with assembled_drive(NOBODY, late, threading.Event()) as drive:
        assert isinstance(drive.driver, PolicyDriver)
        assert isinstance(drive.driver._driving.car, DelayedCar)
        drive.link.close(0.0)
        drive.recorder.close()
    with Spool(settings.spool, settings.spool_limit_bytes) as spool:
        assert spool.signature == racing(link=link).signature != racing().signature
