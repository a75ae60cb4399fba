"""What the doctor says of the disks: the game's folder as the fake game's install makes it, damaged in each way."""

from pathlib import Path

import pytest

from bridge.assetto_corsa.reading.layout import Static, Status
from bridge.doctor.files import install_findings, spool_finding
from bridge.doctor.messages import Finding, Message
from bridge.doctor.watching import Watched
from racing.track import parse_track
from tests.fake_ac.inputs import custom_ai_allowed, user_settings
from tests.fake_ac.install import install
from tests.support.fast_lane_writer import half_way
from tests.support.small_disk import SmallDisk
from tests.support.unprivileged import locked_out

TRACK = "seed:7:800"
NO_GAME = Watched()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    install(tmp_path / "ac", parse_track(TRACK), "fake_ring")
    return tmp_path / "ac"


def on(track: str, layout: str = "") -> Watched:
    static = Static()
    for place, letter in enumerate(track):
        static.track[place] = ord(letter)
    for place, letter in enumerate(layout):
        static.trackConfiguration[place] = ord(letter)
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


def test_a_road_that_leads_elsewhere_is_no_circuit_and_no_lap_is_asked_for(root: Path) -> None:
    line = root / "content" / "tracks" / "fake_ring" / "ai" / "fast_lane.ai"
    line.write_bytes(half_way(line.read_bytes()))

    finding = list(install_findings(on("fake_ring"), root, None))[1]

    assert finding.message is Message.NO_CIRCUIT
    assert "record-lap" not in finding.says + finding.message.mend


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


@pytest.mark.parametrize(
    ("shipped", "users", "allowed"),
    [
        ("0", "[CUSTOM_AI]\nENABLED=1\n", True),
        ("1", "[CUSTOM_AI]\nENABLED=0\n", False),
        ("1", "[CUSTOM_AI]\nOTHER=0\n", True),
        ("0", "", False),
    ],
)
def test_what_the_users_documents_say_goes_before_the_games_folder(
    tmp_path: Path, shipped: str, users: str, allowed: bool
) -> None:
    root = tmp_path / "steamapps" / "common" / "assettocorsa"
    install(root, parse_track(TRACK), "fake_ring", custom_ai=True)
    behaviour = root / "extension" / "config" / "new_behaviour.ini"
    behaviour.write_text(f"[CUSTOM_AI]\nENABLED={shipped}\n", encoding="utf-8")
    own = user_settings(root) / "new_behaviour.ini"
    own.parent.mkdir(parents=True)
    own.write_text(users, encoding="utf-8")

    csp = list(install_findings(on("fake_ring"), root, None))[2]

    assert custom_ai_allowed(root, "fake_ring") is allowed
    assert csp.message is (Message.CSP if allowed else Message.CSP_OFF)
    if not allowed:
        assert str(own if "ENABLED" in users else behaviour) in csp.says


@pytest.mark.parametrize(
    "odd", [b"NAME=M\xfcller\n", b"KEY=before any section\n", b"[BASIC\n=\n[]\n\x00\n", b"\xff\xfe\n"]
)
def test_a_file_that_only_the_game_understands_is_read_all_the_same(root: Path, odd: bytes) -> None:
    for file in ("data_manifest.ini", "new_behaviour.ini"):
        path = root / "extension" / "config" / file
        path.write_bytes(odd + path.read_bytes())
    assert told(on("fake_ring"), root)[2] is Message.CSP


def test_a_layout_has_permissions_of_its_own_or_those_of_the_track(tmp_path: Path) -> None:
    install(tmp_path, parse_track(TRACK), "fake_ring", "short")
    assert told(on("fake_ring", "short"), tmp_path)[2] is Message.CSP
    shared = tmp_path / "content" / "tracks" / "fake_ring" / "data" / "surfaces.ini"
    own = shared.parents[1] / "short" / "data" / "surfaces.ini"
    own.parent.mkdir()
    own.write_text("[SURFACE_0]\nKEY=ROAD\n")
    findings = list(install_findings(on("fake_ring", "short"), tmp_path, None))
    assert findings[2].message is Message.CSP_FORBIDDEN
    assert str(own) in findings[2].says
    assert custom_ai_allowed(tmp_path, "fake_ring")
    assert not custom_ai_allowed(tmp_path, "fake_ring", "short")
    own.write_bytes(shared.read_bytes())
    assert custom_ai_allowed(tmp_path, "fake_ring", "short")


def test_a_spool_has_room_or_less_than_it_may_take(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert spool_finding(folder, 1).message is Message.SPOOL
    assert spool_finding(folder, 2**60).message is Message.SPOOL_SMALL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told() -> None:
    finding = spool_finding(Path("/proc/self/spool"), 1)
    assert finding.message is Message.SPOOL_LOCKED
    assert "/proc/self" in finding.says


def test_a_file_in_the_way_of_the_spool_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "spool"):
        finding = spool_finding(folder, 1)
        assert finding.message is Message.SPOOL_LOCKED
        assert "is a file" in finding.says


def test_a_locked_folder_in_the_way_of_the_spool_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    with locked_out(tmp_path / "locked"):
        assert spool_finding(tmp_path / "locked" / "spool", 1).message is Message.SPOOL_LOCKED


def test_a_disk_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.exists", lambda path: path is None)
    assert "no such disk" in spool_finding(Path("Q:/spool"), 1).says


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", mebibytes=8) as disk:
        assert spool_finding(disk.folder / "spool", 1).message is Message.SPOOL_FULL
