"""The command `ac-bridge`: `pair` this PC with a run once, then `drive` for it, or `play` what was learned.

Puts the commands together, each of which has its module in bridge/commands/. What goes wrong because of the arguments
is a sentence on standard error and exit code 2 (USAGE), or 4 (DISK_FULL) where the spool has no room to begin with.
"""

import io
import os
import sys

import typer

from bridge.commands.bind import bind
from bridge.commands.demonstrate import demonstrate
from bridge.commands.doctor import doctor
from bridge.commands.drive import drive
from bridge.commands.pair import pair
from bridge.commands.play import play
from bridge.commands.recordings import record, record_lap, replay
from bridge.commands.serve_env import serve_env

# A traceback with local variables, which typer would print, could show the token.
app = typer.Typer(
    name="ac-bridge",
    help="Drives on the PC for a training run in the cloud.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (pair, drive, demonstrate, play, serve_env, doctor, bind, record, replay, record_lap):
    app.command()(_command)


def main() -> None:
    """The command's entry point."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A console's code page may lack a letter of a folder's name; that must not end a drive.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except OSError as error:
        if _output_is_taken():
            raise
        # A full disk behind `>`; or on Windows a pipe that nobody reads any more, which is EINVAL there, not EPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"What there is to say cannot be written ({error.strerror}), so it ends here.")


def _output_is_taken() -> bool:
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True
