"""What the doctor says of the disks: the game's folder as the fake game's install makes it, damaged in each way."""

from pathlib import Path

import pytest

from bridge.assetto_corsa.layout import Static, Status
from bridge.doctor.files import install_findings, spool_finding
from bridge.doctor.messages import Finding, Message
from bridge.doctor.watching import Watched
from racing.track import parse_track
from tests.fake_ac.install import install
from tests.support.small_disk import SmallDisk

TRACK = "seed:7:800"
NO_GAME = Watched()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    install(tmp_path / "ac", parse_track(TRACK), "fake_ring")
    return tmp_path / "ac"


def on(track: str) -> Watched:
    static = Static()
    for place, letter in enumerate(track):
        static.track[place] = ord(letter)
    return Watched(static=static, status=Status.LIVE, packets=333.0)


def told(watched: Watched, root: Path | None, track: str | None = None) -> list[Message]:
    return [finding.message for finding in install_findings(watched, root, track)]


def test_a_whole_install_is_ok(root: Path) -> None:
    findings: list[Finding] = list(install_findings(on("fake_ring"), root, None))
    assert [finding.message for finding in findings] == [Message.FOLDER, Message.LINE, Message.CSP]
    assert "fake_ring: " in findings[1].says
    assert "0.2.8" in findings[2].says


def test_without_a_folder_only_a_track_of_ones_own_is_known(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    no_line = [Message.NO_FOLDER, Message.LINE_UNREADABLE, Message.CSP_UNKNOWN]
    assert told(on("fake_ring"), nowhere) == no_line
    parse_track(TRACK).to_csv(tmp_path / "my.csv")
    assert told(on("fake_ring"), nowhere, str(tmp_path / "my.csv"))[1] is Message.LINE
    assert told(on("fake_ring"), nowhere, str(tmp_path / "other.csv"))[1] is Message.LINE_UNREADABLE


def test_without_a_game_the_track_is_not_known(root: Path) -> None:
    assert told(NO_GAME, root) == [Message.FOLDER, Message.LINE_UNKNOWN, Message.CSP]


def test_a_missing_and_a_damaged_line_are_told_with_the_way_without_it(root: Path) -> None:
    assert told(on("other"), root)[1] is Message.LINE_UNREADABLE
    line = root / "content" / "tracks" / "fake_ring" / "ai" / "fast_lane.ai"
    line.write_bytes(line.read_bytes()[:1000])
    assert told(on("fake_ring"), root)[1] is Message.LINE_UNREADABLE
    assert "record-lap" in Message.LINE_UNREADABLE.mend


@pytest.mark.parametrize(
    ("file", "was", "now", "message"),
    [
        ("extension/config/data_manifest.ini", "0.2.8", "0.1.60-preview1", Message.CSP_OLD),
        ("extension/config/data_manifest.ini", "SHADERS_PATCH", "OTHER", Message.NO_CSP),
        ("extension/config/new_behaviour.ini", "[CUSTOM_AI]\nENABLED=1", "[CUSTOM_AI]\nENABLED=0", Message.CSP_OFF),
        ("extension/config/new_behaviour.ini", "[CUSTOM_AI]", "", Message.CSP_OFF),
        ("content/tracks/fake_ring/data/surfaces.ini", "MANIPULATION=1", "MANIPULATION=0", Message.CSP_FORBIDDEN),
        ("extension/config/new_behaviour.ini", "ENABLED=1", "ENABLED=1 ; 0 or 1", Message.CSP),
    ],
)
def test_what_csp_lacks_is_named(root: Path, file: str, was: str, now: str, message: Message) -> None:
    text = (root / file).read_text(encoding="utf-8")
    assert was in text
    (root / file).write_text(text.replace(was, now), encoding="utf-8")
    assert told(on("fake_ring"), root)[2] is message


def test_a_spool_has_room_or_less_than_it_may_take(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert spool_finding(folder, 1).message is Message.SPOOL
    assert spool_finding(folder, 2**60).message is Message.SPOOL_SMALL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told() -> None:
    finding = spool_finding(Path("/proc/self/spool"), 1)
    assert finding.message is Message.SPOOL_LOCKED
    assert "/proc/self" in finding.says


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", mebibytes=8) as disk:
        assert spool_finding(disk.folder / "spool", 1).message is Message.SPOOL_FULL
