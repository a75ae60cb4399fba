"""Reads what the settings of the Custom Shaders Patch (CSP) say about Custom AI. Changes nothing."""

import re
from dataclasses import dataclass
from pathlib import Path

_BEHAVIOUR = "new_behaviour.ini"


@dataclass(frozen=True, slots=True)
class CustomAISwitch:
    """Whether Custom AI is switched on, and the file that decides it."""

    on: bool
    file: Path


def custom_ai_switch(root: Path) -> CustomAISwitch:
    """Whether CSP's settings switch Custom AI on; `root` is the game's folder."""
    file = root / "extension" / "config" / _BEHAVIOUR
    return CustomAISwitch(setting(file, "CUSTOM_AI", "ENABLED") == "1", file)


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
