"""Looks at what lies on this PC's disks: the game's folder, its line of the track, CSP's settings, room for the spool.

Promises to write nothing but one empty file into the spool's folder (or the nearest one above it), which it takes away.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bridge.assetto_corsa.files.csp_settings import custom_ai_switch, setting
from bridge.assetto_corsa.files.fast_lane import NoCircuit
from bridge.assetto_corsa.files.install import InstallError, find_install, installed_track, is_folder
from bridge.assetto_corsa.reading.layout import text
from bridge.doctor.game import track_name
from bridge.doctor.messages import Finding, Message, found
from bridge.doctor.watching import Watched
from racing.track import Track, TrackError, parse_track

OLDEST_CSP = (0, 1, 78)
LEAST_FREE_BYTES = 200 * 2**20
"""Below it the spool is full within minutes."""


def install_findings(watched: Watched, ac_root: Path | None, track: str | None) -> Iterator[Finding]:
    """Findings about the game's folder, the track (`track`, as --track of drive, goes before the game's) and CSP."""
    root: Path | None = None
    try:
        root = find_install(ac_root)
        yield found(Message.FOLDER, folder=root)
    except InstallError as error:
        yield found(Message.NO_FOLDER, reason=error)
    yield _line(watched, root, track)
    yield _csp(watched, root)


def spool_finding(folder: Path, limit_bytes: int) -> Finding:
    """Whether the spool can be written to, and has room."""
    # Not Path.exists, which raises behind a locked door.
    there = next((part for part in (folder, *folder.absolute().parents) if os.path.exists(part)), None)  # noqa: PTH110 - as said above
    if there is None:
        return found(Message.SPOOL_LOCKED, folder=folder, reason="there is no such disk")
    if not is_folder(there):
        return found(Message.SPOOL_LOCKED, folder=folder, reason=f"{there} is a file, and no folder")
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return found(Message.SPOOL_LOCKED, folder=there, reason=error.strerror or error)
    message = Message.SPOOL_SMALL if free < limit_bytes else Message.SPOOL
    amount = f"{free / 2**30:.1f} GiB" if free >= 2**30 else f"{free / 2**20:.0f} MiB"
    return found(Message.SPOOL_FULL if free < LEAST_FREE_BYTES else message, folder=folder, free=amount)


def _line(watched: Watched, root: Path | None, track: str | None) -> Finding:
    try:
        if track is not None:
            return _readable(parse_track(track))
        if watched.static is None:
            return found(Message.LINE_UNKNOWN)
        if root is None:
            return found(Message.LINE_UNREADABLE, reason="the install folder was not found, and in it no line")
        static = watched.static
        line = text(static.track), text(static.trackConfiguration), max(static.trackSPlineLength, 0.0)
        return _readable(installed_track(root, *line))
    except NoCircuit as error:
        return found(Message.NO_CIRCUIT, reason=error)
    except TrackError as error:
        return found(Message.LINE_UNREADABLE, reason=error)


def _readable(track: Track) -> Finding:
    width = float((track.width_left + track.width_right).mean())
    return found(Message.LINE, track=track.name, length=f"{track.length:.0f}", width=f"{width:.1f}")


def _csp(watched: Watched, root: Path | None) -> Finding:
    if root is None:
        return found(Message.CSP_UNKNOWN)
    config = root / "extension" / "config"
    version = setting(config / "data_manifest.ini", "VERSION", "SHADERS_PATCH")
    if not version:
        return found(Message.NO_CSP)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < OLDEST_CSP:
        return found(Message.CSP_OLD, version=version)
    switch = custom_ai_switch(root)
    if not switch.on:
        return found(Message.CSP_OFF, version=version, file=switch.file)
    if name := track_name(watched):
        surfaces = _surfaces(root, *name.split("/"))
        if setting(surfaces, "_EXTRA_PERMISSIONS", "ALLOW_CUSTOM_AI_MANIPULATION") != "1":
            return found(Message.CSP_FORBIDDEN, version=version, file=surfaces)
    return found(Message.CSP, version=version)


def _surfaces(root: Path, track: str, layout: str = "") -> Path:
    """The file with the track's permissions: the layout's own where it has one, else that of the whole track."""
    folder = root / "content" / "tracks" / track
    own, shared = (place / "data" / "surfaces.ini" for place in (folder / layout, folder))
    return shared if os.path.isfile(shared) and not os.path.isfile(own) else own  # noqa: PTH113 - as above
