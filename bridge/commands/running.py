"""How `drive` and `demonstrate` run: for the run of their pairing, to the end, with an exit code.

The driving parts are imported when it runs, so that `--help` answers at once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event
from typing import TYPE_CHECKING, NoReturn

import typer

from bridge.assetto_corsa.session import Stopped
from bridge.commands.options import give_up, look_up_of, pairing_of
from runtime.exit_codes import ExitCode

if TYPE_CHECKING:
    from bridge.driving.drive import Drive


def run_to_the_end(
    assembled: "Callable[..., AbstractContextManager[Drive]]",
    uri: str | None,
    pairing_command: str | None,
    allow_plain: bool,
    stop: Event,
) -> NoReturn:
    """Run the drive that `assembled(pairing, stop=…, look_up=…)` makes ready, and exit; gives up on wrong settings."""
    from bridge.driving.garage import SettingsError

    look_up = look_up_of(uri, pairing_command, allow_plain, stop)
    pairing = pairing_of(uri, allow_plain, look_up, stop)
    try:
        with assembled(pairing, stop=stop, look_up=look_up) as ready:
            ended = ready.run()
    except Stopped:
        ended = ExitCode.OK
    except SettingsError as error:
        give_up(str(error), error.exit_code)
    finally:
        # A look-up that is still at work would hold up the end.
        stop.set()
    raise typer.Exit(int(ended))
