"""The game is found where Steam put it, and its line where the game keeps it; else a sentence says what to do."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.assetto_corsa.files.install import InstallError, find_fast_lane, find_install, installed_track
from racing.track import Track, TrackError
from tests.support.fast_lane_writer import write_fast_lane
from tests.support.unprivileged import locked_out

TRACK = Track.generate(3, 1200.0)
on_linux = pytest.mark.skipif(sys.platform == "win32", reason="Steam's folders on Linux")

LIBRARIES = """"libraryfolders"
{
\t"0"
\t{
\t\t"path"\t\t"%s"
\t\t"contentstatsid"\t\t"5312131411351214"
\t\t"apps"
\t\t{
\t\t\t"228980"\t\t"449178347"
\t\t}
\t}
\t"1"
\t{
\t\t"path"\t\t"%s"
\t\t"apps"
\t\t{
\t\t\t"244210"\t\t"35321312312"
\t\t}
\t}
}
"""
LIBRARIES_OF_OLD = """"LibraryFolders"
{
\t"TimeNextStatsReport"\t\t"1561832478"
\t"ContentStatsID"\t\t"-158337411110787451"
\t"1"\t\t"%s"
\t"2"\t\t"%s"
}
"""


def game_in(folder: Path) -> Path:
    (folder / "content" / "tracks").mkdir(parents=True)
    return folder


def steam_in(home: Path, place: str, libraries: str | None = None, kept: str = "steamapps") -> Path:
    steam = home / place
    (steam / kept).mkdir(parents=True)
    if libraries is not None:
        (steam / kept / "libraryfolders.vdf").write_text(libraries, encoding="utf-8")
    return steam


def test_what_the_user_names_comes_first(tmp_path: Path) -> None:
    named, told = game_in(tmp_path / "named"), game_in(tmp_path / "told")
    assert find_install(named, {"AC_ROOT": str(told)}, tmp_path) == named
    assert find_install(None, {"AC_ROOT": str(told)}, tmp_path) == told


@pytest.mark.parametrize(("make", "what"), [(True, "has no content/tracks"), (False, "is no folder")])
def test_a_wrong_name_is_refused_and_nothing_else_is_tried(tmp_path: Path, make: bool, what: str) -> None:
    game_in(tmp_path / ".steam/steam/steamapps/common/assettocorsa")
    wrong = tmp_path / "wrong"
    if make:
        wrong.mkdir()
    for given_root, environ, by in ((wrong, {}, "--ac-root"), (None, {"AC_ROOT": str(wrong)}, "AC_ROOT")):
        with pytest.raises(InstallError, match=f"{by} says .* {what}.*acs.exe"):
            find_install(given_root, environ, tmp_path)


@pytest.mark.parametrize("name", ["~nosuchuser9/ac", "a\0b"])
def test_a_name_that_no_folder_can_have_is_a_sentence(name: str) -> None:
    for given_root, environ in ((Path(name), {}), (None, {"AC_ROOT": name})):
        with pytest.raises(InstallError, match=r"says that Assetto Corsa is in .*acs\.exe"):
            find_install(given_root, environ)


@on_linux
def test_a_locked_folder_is_a_sentence(tmp_path: Path) -> None:
    game = game_in(tmp_path / "locked" / "ac")
    steam_in(tmp_path / "locked", ".steam/steam")
    with locked_out(tmp_path / "locked"):
        with pytest.raises(InstallError, match="no folder that can be read"):
            find_install(game)
        with pytest.raises(InstallError, match="Steam was not found either"):
            find_install(None, {}, tmp_path / "locked")
        with pytest.raises(TrackError, match="record-lap"):
            find_fast_lane(game, "spa")


@on_linux
@pytest.mark.parametrize(
    "place", [".local/share/Steam", ".steam/steam", ".var/app/com.valvesoftware.Steam/.local/share/Steam"]
)
def test_the_game_is_found_in_steams_own_folder(tmp_path: Path, place: str) -> None:
    game = game_in(steam_in(tmp_path, place) / "steamapps/common/assettocorsa")
    assert find_install(None, {}, tmp_path) == game


@on_linux
@pytest.mark.parametrize("libraries", [LIBRARIES, LIBRARIES_OF_OLD])
@pytest.mark.parametrize("kept", ["steamapps", "config"])
def test_the_game_is_found_in_a_library_on_another_disk(tmp_path: Path, libraries: str, kept: str) -> None:
    game = game_in(tmp_path / 'disk "two"' / "steamapps/common/assettocorsa")
    other = str(tmp_path / 'disk "two"').replace('"', '\\"')
    steam_in(tmp_path / "home", ".steam/steam", libraries % (tmp_path / "gone", other), kept)
    assert find_install(None, {}, tmp_path / "home") == game


@on_linux
def test_a_game_that_is_nowhere_is_told_with_the_places(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"not found. Steam was not found either.*--ac-root or AC_ROOT"):
        find_install(None, {}, tmp_path)
    steam = steam_in(tmp_path, ".steam/steam", "\x00 no VDF \\")
    with pytest.raises(InstallError, match=f"Looked in {steam}/steamapps/common/assettocorsa"):
        find_install(None, {}, tmp_path)


def test_a_track_is_read_with_and_without_a_layout(tmp_path: Path) -> None:
    tracks = game_in(tmp_path) / "content/tracks"
    write_fast_lane(tracks / "spa", TRACK)
    write_fast_lane(tracks / "monza" / "junior", TRACK)
    assert installed_track(tmp_path, "spa").name == "spa"
    junior = installed_track(tmp_path, "monza", "junior", TRACK.length)
    assert junior.name == "monza/junior"
    assert junior.length == pytest.approx(TRACK.length, rel=0.01)


def test_names_are_found_as_windows_would_find_them(tmp_path: Path) -> None:
    tracks = game_in(tmp_path) / "content/tracks"
    path = write_fast_lane(tracks / "Monza" / "Junior", TRACK)
    assert find_fast_lane(tmp_path, "monza", "junior").samefile(path)


def test_a_missing_line_is_told_with_the_way_without_it(tmp_path: Path) -> None:
    tracks = game_in(tmp_path) / "content/tracks"
    write_fast_lane(tracks / "monza", TRACK)
    with pytest.raises(TrackError, match=r"no line for the track monza/junior: .*is missing.*record-lap"):
        find_fast_lane(tmp_path, "monza", "junior")
    with pytest.raises(TrackError, match="no line for the track spa: "):
        find_fast_lane(tmp_path, "spa")


@given(name=st.sampled_from(["", "..", ".", "a/b", "a\\b", "..\\x", "C:", "a\0b"]))
def test_a_name_that_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(TrackError, match="no folder's name"):
        find_fast_lane(Path("game"), name)
    if name:
        with pytest.raises(TrackError, match="no folder's name"):
            find_fast_lane(Path("game"), "monza", name)
