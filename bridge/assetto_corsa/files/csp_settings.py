"""Reads what the settings of the Custom Shaders Patch (CSP) say about Custom AI. Changes nothing.

They have two places: the game's folder, with what CSP brings along, and the user's documents, where Content Manager
writes what is chosen there. What the user's file says goes before the other, value by value.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_BEHAVIOUR = "new_behaviour.ini"
_IN_DOCUMENTS = Path("Assetto Corsa", "cfg", "extension")
_PROTON_USER = Path("compatdata", "244210", "pfx", "drive_c", "users", "steamuser")
"""The game's Windows user under Proton, in the folder steamapps; 244210 is the game's number at Steam."""


@dataclass(frozen=True, slots=True)
class CustomAISwitch:
    """Whether Custom AI is switched on, and the file that decides it."""

    on: bool
    file: Path


def custom_ai_switch(root: Path) -> CustomAISwitch:
    """Whether CSP's settings switch Custom AI on; `root` is the game's folder."""
    shipped = root / "extension" / "config" / _BEHAVIOUR
    places = [documents / _IN_DOCUMENTS / _BEHAVIOUR for documents in _documents(root)]
    for file in (*places, shipped):
        if value := setting(file, "CUSTOM_AI", "ENABLED"):
            return CustomAISwitch(value == "1", file)
    return CustomAISwitch(False, shipped)


if sys.platform == "win32":
    import ctypes

    def _documents(_root: Path) -> list[Path]:
        """The user's documents, wherever they were moved to (OneDrive)."""
        personal, longest = 5, 260
        path = ctypes.create_unicode_buffer(longest)
        failed = ctypes.windll.shell32.SHGetFolderPathW(None, personal, None, 0, path)
        return [] if failed else [Path(path.value)]

else:

    def _documents(root: Path) -> list[Path]:
        """Where the documents of the game's user under Proton may be, for a game in a library of Steam's."""
        user = root.absolute().parent.parent / _PROTON_USER
        return [user / "Documents", user / "My Documents"]


def setting(path: Path, section: str, key: str) -> str:
    """A value of one of the game's ini files, without its comment; empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return ""
    value = here = ""
    # As tolerant as the game, whose files hold any letters and keys before the first section: configparser is not.
    for line in lines:
        bare = re.split(";|//", line, maxsplit=1)[0].strip()
        name, _, text = bare.partition("=")
        if bare.startswith("[") and "]" in bare:
            here = bare[1 : bare.index("]")]
        elif here == section and name.strip().upper() == key:
            value = text.strip()
    return value
