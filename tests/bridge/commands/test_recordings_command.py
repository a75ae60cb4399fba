"""`ac-bridge record`, `replay` and `record-lap`: a game's pages taken elsewhere, and a track from a driven lap."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from bridge.assetto_corsa.reading.layout import Static, text
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.recording.playing import recorded
from bridge.assetto_corsa.recording.recording import PageKind, RecordingReader
from racing.track import Track
from tests.support.fake_game import FakeGame
from tests.support.fast_lane_writer import half_way
from tests.support.game_pages import WrittenGame
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
RADIUS, SPEED = 60.0, 60.0
LAP = 2.0 * math.pi * RADIUS / SPEED


def start(shm: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bridge", *arguments]
    environment = os.environ | {"AC_SHM_DIR": str(shm)}
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(shm: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(shm, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def physics(file: Path) -> set[bytes]:
    return {record.data for record in RecordingReader(file) if record.kind is PageKind.PHYSICS}


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("AC_SHM_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a car that speeds up."""
    folder = tmp_path_factory.mktemp("recorded")
    file = folder / "mine.acpages"
    with FakeGame(folder) as game:
        game.live()
        game.tell("human", gas=0.6)
        code, out, err = run(game.shm, "record", str(file), "--seconds", "2")
    assert (code, err) == (0, "")
    assert "Recorded" in out
    return file


def test_a_recording_plays_elsewhere_byte_for_byte_and_leaves_nothing_behind(recording: Path, shm: Path) -> None:
    original = physics(recording)
    assert len(original) > 100
    player = start(shm, "replay", str(recording), "--loop")
    try:
        wait_until(lambda: (shm / "acpmf_physics").exists() and (shm / "acpmf_graphics").exists(), "the pages", 30.0)
        seen = {record.data for record in islice(recorded(lambda: False), 200) if record.kind is PageKind.PHYSICS}
        with GamePages() as pages:
            assert text(pages.static().track) == "fake_ring"
    finally:
        player.terminate()
        player.communicate(timeout=120)
    # A page is all zeros until the first record is in it.
    assert seen - {bytes(580)} <= original
    assert list(shm.iterdir()) == []


def test_a_recording_does_not_say_who_drove(recording: Path) -> None:
    statics = [Static.from_buffer_copy(r.data) for r in RecordingReader(recording) if r.kind is PageKind.STATIC]
    assert text(statics[0].carModel) == "ks_fake_gt3"
    assert {text(name) for s in statics for name in (s.playerName, s.playerSurname, s.playerNick)} == {""}


def test_nothing_is_played_over_a_game_that_runs(recording: Path, tmp_path: Path) -> None:
    with FakeGame(tmp_path / "second") as game:
        game.live()
        code, _, err = run(game.shm, "replay", str(recording))
        assert game.truth()["mode"] == "live"
    assert code == 1
    assert "A game runs here" in err


def test_without_a_game_no_file_is_made_and_what_is_no_recording_is_refused(shm: Path, tmp_path: Path) -> None:
    code, _, err = run(shm, "record", str(tmp_path / "none"), "--seconds", "1")
    assert code == 1
    assert "The game is not running" in err
    assert not (tmp_path / "none").exists()
    (tmp_path / "other").write_bytes(b"something else")
    code, _, err = run(shm, "replay", str(tmp_path / "other"))
    assert code == 1
    assert "no recording" in err


@pytest.mark.parametrize("width", [("--left", "1.4"), ("--right", "51"), ("--right", "nan")])
def test_an_impossible_road_is_refused_before_a_lap_is_driven(
    shm: Path, tmp_path: Path, width: tuple[str, str]
) -> None:
    WrittenGame(shm)
    code, said, err = run(shm, "record-lap", str(tmp_path / "my.csv"), *width)
    assert (code, said) == (2, "")
    assert width[0] in err


def test_a_place_that_takes_no_file_is_refused_before_a_lap_is_driven(shm: Path, tmp_path: Path) -> None:
    WrittenGame(shm)
    for out in (tmp_path / "nowhere" / "my.csv", tmp_path, Path("/proc/my.csv")):
        code, said, err = run(shm, "record-lap", str(out))
        assert (code, said) == (2, "")
        assert f"{out} cannot be written" in err
    assert {path.name for path in tmp_path.iterdir()} <= {"elsewhere", "mine.acpages"}


@contextmanager
def circling(game: WrittenGame) -> Iterator[None]:
    """A car on a circle whose line it crosses after a fifth of a lap."""
    stop, began = threading.Event(), time.monotonic() - 0.8 * LAP

    def drive() -> None:
        while not stop.wait(0.004):
            lap = (time.monotonic() - began) % LAP
            angle = 2.0 * math.pi * lap / LAP
            game.put("acpmf_graphics", 140, "i", int(1000.0 * lap))
            game.drive(where=(RADIUS * math.sin(angle), 0.0, RADIUS * math.cos(angle)))

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_a_driven_lap_becomes_a_track_file(shm: Path, tmp_path: Path) -> None:
    out = tmp_path / "my.csv"
    with circling(WrittenGame(shm)):
        code, said, err = run(shm, "record-lap", str(out), "--left", "5", "--right", "3")
    assert (code, err) == (0, "")
    assert "The lap has begun." in said
    track = Track.from_csv(out)
    assert track.length == pytest.approx(2.0 * math.pi * RADIUS, rel=0.02)
    assert float(track.width_left.mean()) == pytest.approx(5.0, abs=0.01)


def test_a_driven_lap_is_kept_elsewhere_where_its_place_is_gone(
    shm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, place = tmp_path / "home", tmp_path / "stick"
    home.mkdir()
    place.mkdir()
    monkeypatch.setenv("HOME", str(home))
    process = start(shm, "record-lap", str(place / "my.csv"))
    with circling(WrittenGame(shm)):
        assert process.stdout is not None
        while "The lap has begun" not in process.stdout.readline():
            assert process.poll() is None
        place.rmdir()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (kept,) = home.glob("my-*.csv")
    assert f"The track is in {kept} instead" in err
    assert Track.from_csv(kept).length == pytest.approx(2.0 * math.pi * RADIUS, rel=0.02)


def test_a_lap_that_nobody_ends_makes_no_track(shm: Path, tmp_path: Path) -> None:
    WrittenGame(shm)
    process = start(shm, "record-lap", str(tmp_path / "my.csv"))
    assert process.stdout is not None
    assert "Drive over the line" in process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "No lap was driven" in err


def test_no_lap_is_asked_for_on_a_road_that_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGame(tmp_path) as game:
        line = game.root / "content" / "tracks" / "fake_ring" / "ai" / "fast_lane.ai"
        line.write_bytes(half_way(line.read_bytes()))
        monkeypatch.setenv("AC_ROOT", str(game.root))
        code, said, err = run(game.shm, "record-lap", str(tmp_path / "my.csv"))
    assert (code, said) == (1, "")
    assert "Only circuits can be driven" in err
