"""`ac-bridge pair`: remembers the run that this PC drives for."""

import os
from typing import Annotated

import typer

from bridge.commands.options import AllowPlain, give_up
from bridge.pairing.file import URI_VARIABLE, config_folder, store_pairing
from wire.pairing import PairingError, parse_pairing


def pair(
    uri: Annotated[
        str | None,
        typer.Argument(
            metavar="URI",
            help="Pairing string; asked for when it is not given, which is better: other users of this PC can see it "
            "here.",
        ),
    ] = None,
    allow_plain: AllowPlain = False,
) -> None:
    """Remember the run that this PC drives for, so that `drive` needs no pairing string."""
    text = uri or os.environ.get(URI_VARIABLE) or typer.prompt("Pairing string", hide_input=True)
    try:
        pairing = parse_pairing(text, allow_plain)
        path = store_pairing(pairing, config_folder())
    except PairingError as error:
        give_up(str(error))
    except OSError as error:
        give_up(f"The pairing cannot be stored: {error}. Set AC_BRIDGE_CONFIG_DIR to a folder of yours.")
    typer.echo(f"Paired with {pairing.url} (stored in {path}). Now: ac-bridge drive")
