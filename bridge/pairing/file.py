"""The pairing string in the user's configuration folder, so that it is given once and never typed again.

It is a secret: the file is its owner's alone (0600), and nothing here prints it.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from runtime.files import write_private
from wire.pairing import Pairing, PairingError, format_pairing

FOLDER_VARIABLE = "AC_BRIDGE_CONFIG_DIR"
URI_VARIABLE = "AC_BRIDGE_URI"
_FILE = "pairing.txt"


class NotPaired(PairingError):
    """No pairing string was given, and none is stored."""


def config_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where this user's settings live: $AC_BRIDGE_CONFIG_DIR, or the system's usual place."""
    if chosen := environment.get(FOLDER_VARIABLE):
        return Path(chosen)
    if platform == "win32" and (roaming := environment.get("APPDATA")):
        return Path(roaming) / "ac-training"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ac-training"
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "ac-training"


def store_pairing(pairing: Pairing, folder: Path) -> Path:
    """Write the pairing string whole or not at all, readable by its owner only; returns the file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / _FILE
    write_private(path, f"{format_pairing(pairing)}\n".encode("ascii"))
    return path


def found_uri(given: str | None, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The pairing string to use: the given one, else the environment's, else the stored one.

    Raises:
        NotPaired: there is none.
        PairingError: the stored one cannot be read.
    """
    if text := given or environment.get(URI_VARIABLE):
        return text
    path = folder / _FILE
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NotPaired(
            "This PC is not paired with a run. Get the pairing string from the run's owner (it is in pairing.txt in "
            "the receiver's folder) and give it to `ac-bridge pair`, to `--uri`, or in the environment variable "
            f"{URI_VARIABLE}."
        ) from None
    except (OSError, UnicodeDecodeError):
        raise PairingError(f"The stored pairing in {path} cannot be read. Run `ac-bridge pair` again.") from None
