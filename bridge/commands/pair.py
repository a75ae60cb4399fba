"""`ac-bridge pair`: remembers the run that this PC drives for."""

import getpass
import os
import sys
from typing import Annotated

import typer

from bridge.commands.options import AllowPlain, give_up
from bridge.pairing.file import URI_VARIABLE, NotPaired, config_folder, found_uri, store_pairing
from wire.pairing import PairingError, parse_pairing


def pair(
    uri: Annotated[
        str | None,
        typer.Argument(
            metavar="URI",
            help="Pairing string; asked for, or read from a pipe, when it is not given, which is better: other users "
            "of this PC can see it here.",
        ),
    ] = None,
    allow_plain: AllowPlain = False,
) -> None:
    """Remember the run that this PC drives for, so that `drive` needs no pairing string."""
    text = uri or os.environ.get(URI_VARIABLE) or _asked()
    try:
        pairing = parse_pairing(text, allow_plain)
        path = store_pairing(pairing, config_folder())
    except PairingError as error:
        give_up(str(error))
    except OSError as error:
        give_up(f"The pairing cannot be stored: {error}. Set AC_BRIDGE_CONFIG_DIR to a folder of yours.")
    typer.echo(f"Paired with {pairing.url} (stored in {path}). Now: ac-bridge drive, or ac-bridge serve-env")


def pair_unless_paired(allow_plain: bool) -> None:
    """Ask for the pairing string on a terminal, where none is known yet; elsewhere nobody would answer."""
    try:
        found_uri(None, config_folder())
    except NotPaired:
        if sys.stdin is not None and sys.stdin.isatty():
            pair(None, allow_plain)
    except PairingError:
        # Who is about to use it says what is wrong with it.
        return


def _asked() -> str:
    """The pairing string from the terminal, which does not show it, or the first line of a pipe."""
    if sys.stdin.isatty():
        # Asks once the terminal shows nothing any more; typer asks before, and what is pasted in between is lost.
        return getpass.getpass("Pairing string: ")
    text = sys.stdin.buffer.readline().decode("utf-8-sig", errors="replace").strip()
    if not text:
        give_up("No pairing string came. Paste it where `ac-bridge pair` asks for it, or pipe it in as the first line.")
    return text
