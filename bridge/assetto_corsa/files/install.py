"""Finds the game's folder on this PC, and in it the line of the track that is driven.

Promises a folder that holds the game's tracks, or a sentence that says where was looked and how to name it. It looks
where it is told (--ac-root, AC_ROOT), else through Steam's library folders, as they are on Windows and on Linux; the
registry is asked on Windows only. Changes nothing there.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bridge.assetto_corsa.files.fast_lane import fast_lane_track
from racing.track import Track, TrackError

ROOT_VARIABLE = "AC_ROOT"
_GAME = Path("steamapps", "common", "assettocorsa")
_LIBRARIES = (Path("steamapps", "libraryfolders.vdf"), Path("config", "libraryfolders.vdf"))
_TRACKS = Path("content", "tracks")
_LINUX_STEAM = (
    ".local/share/Steam",
    ".steam/steam",
    ".steam/root",
    ".var/app/com.valvesoftware.Steam/.local/share/Steam",
    "snap/steam/common/.local/share/Steam",
)
"""Under the home folder: Steam's own, its links, Flatpak's and Snap's."""
# Today a library is a block with a "path"; until 2021 it was a number with the path itself.
_LIBRARY = re.compile(r'"(?:path|\d+)"\s+"((?:[^"\\]|\\.)*)"')


class InstallError(ValueError):
    """The game's folder is not found; the text says where was looked and what to do."""


def find_install(given: Path | None = None, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """Return the game's folder, which holds content/tracks: the one `given` (--ac-root), else AC_ROOT's, else Steam's.

    `home` is the user's folder, if not the one that the system says. Raises InstallError: it is not where the user
    says, or in none of Steam's libraries.
    """
    if given is not None:
        return _checked(given, "--ac-root")
    if named := environ.get(ROOT_VARIABLE):
        return _checked(Path(named), ROOT_VARIABLE)
    looked = []
    for steam in _steam_folders(environ, home):
        for library in _libraries(steam):
            game = library / _GAME
            if is_folder(game / _TRACKS):
                return game
            looked.append(str(game))
    where = f"Looked in {', '.join(dict.fromkeys(looked))}." if looked else "Steam was not found either."
    raise InstallError(
        f"The folder of Assetto Corsa was not found. {where} Name the folder that holds acs.exe and content with "
        f"--ac-root or {ROOT_VARIABLE}."
    )


def find_fast_lane(root: Path, track: str, layout: str = "") -> Path:
    """The file of the game's line for a track and layout of the static page; TrackError says what to do without."""
    folder = root / _TRACKS
    for name in (track, layout) if layout else (track,):
        if not name or name in {".", ".."} or re.search(r'[/\\:*?"<>|\0]', name):
            raise TrackError(f"The game names a track {track!r} with layout {layout!r}, which is no folder's name.")
        folder = _entry(folder, name)
    path = _entry(_entry(folder, "ai"), "fast_lane.ai")
    if not os.path.isfile(path):  # noqa: PTH113 - a locked folder is no error here, as it is with Path.is_file
        raise TrackError(
            f"The game has no line for the track {full_name(track, layout)}: {path} is missing. Drive a lap of it "
            "instead, and the track is made from that: ac-bridge record-lap"
        )
    return path


def installed_track(root: Path, track: str, layout: str = "", spline_length: float | None = None) -> Track:
    """Return the track that the game drives on, from its own files; the other arguments are of the static page.

    `layout` is its trackConfiguration, empty where the track has but one; the file has to match `spline_length`, its
    trackSPlineLength, m, unless that is None or 0. Raises TrackError: there is no line for it, or an unusable one.
    """
    return fast_lane_track(find_fast_lane(root, track, layout), full_name(track, layout), spline_length)


def full_name(track: str, layout: str) -> str:
    """The track with its layout, which may be empty, as the user knows it."""
    return f"{track}/{layout}" if layout else track


def is_folder(path: Path) -> bool:
    """Whether it is a folder that can be looked into; one behind a locked door or on a sleeping drive is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _checked(folder: Path, named_by: str) -> Path:
    try:
        folder = folder.expanduser()
    except RuntimeError:
        raise InstallError(
            f"{named_by} says that Assetto Corsa is in {folder}, but there is no such user. Name the folder that holds "
            "acs.exe and content."
        ) from None
    if not is_folder(folder / _TRACKS):
        there = is_folder(folder)
        what = "has no content/tracks in it that could be read" if there else "is no folder that can be read"
        raise InstallError(
            f"{named_by} says that Assetto Corsa is in {folder}, but that {what}. Name the folder that holds acs.exe "
            "and content."
        )
    return folder


def _steam_folders(environ: Mapping[str, str], home: Path | None) -> Iterator[Path]:
    if sys.platform == "win32":
        yield from _from_registry()
        for variable in ("ProgramFiles(x86)", "ProgramFiles"):
            if folder := environ.get(variable):
                yield Path(folder, "Steam")
    else:
        # A user without a home folder has no Steam in it.
        with suppress(RuntimeError):
            home = Path.home() if home is None else home
            yield from (home / folder for folder in _LINUX_STEAM)


def _from_registry() -> Iterator[Path]:
    if sys.platform != "win32":
        return
    import winreg

    places = (
        (winreg.HKEY_CURRENT_USER, r"Software\Valve\Steam", "SteamPath"),
        (winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\WOW6432Node\Valve\Steam", "InstallPath"),
        (winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Valve\Steam", "InstallPath"),
    )
    for hive, key, name in places:
        # Steam may not have written this one.
        with suppress(OSError), winreg.OpenKey(hive, key) as opened:
            yield Path(str(winreg.QueryValueEx(opened, name)[0]))


def _libraries(steam: Path) -> Iterator[Path]:
    """Steam's own folder, then the libraries that it has on other disks, if it is there at all."""
    if not is_folder(steam):
        return
    yield steam
    for file in _LIBRARIES:
        with suppress(OSError):
            paths = _LIBRARY.findall((steam / file).read_text(encoding="utf-8", errors="replace"))
            # A block of a library also lists its games: numbers with sizes.
            yield from (Path(re.sub(r"\\(.)", r"\1", path)) for path in paths if not path.isdigit())


def _entry(folder: Path, name: str) -> Path:
    """The entry of this name; on Linux also one in other case, as the game, a Windows program, would find it."""
    exact = folder / name
    try:
        if exact.exists():
            return exact
        return next((entry for entry in folder.iterdir() if entry.name.casefold() == name.casefold()), exact)
    except OSError:
        return exact
