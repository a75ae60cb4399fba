"""The command `ac-bridge`: `pair` this PC with a run once, then `drive` for it, or `play` what was learned.

Puts the commands together, each of which has its module in bridge/commands/. What goes wrong because of the arguments
is a sentence on standard error and exit code 2 (USAGE), or 4 (DISK_FULL) where the spool has no room to begin with.
"""

import io
import os
import sys
from collections.abc import Callable

import typer

from bridge.commands.bind import bind
from bridge.commands.cloud_drive import cloud_drive
from bridge.commands.demonstrate import demonstrate
from bridge.commands.doctor import doctor
from bridge.commands.drive import drive
from bridge.commands.export_lap import export_lap
from bridge.commands.pair import pair
from bridge.commands.play import play
from bridge.commands.recordings import record, record_lap, replay
from bridge.commands.serve_env import serve_env
from bridge.commands.stream import stream

# A traceback with local variables, which typer would print, could show the token.
app = typer.Typer(
    name="ac-bridge",
    help="Drives on the PC for a training run in the cloud.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EXAMPLES: dict[Callable[..., None], str] = {
    pair: "ac-bridge pair",
    drive: "ac-bridge drive --wait",
    demonstrate: "ac-bridge demonstrate --laps 3",
    play: "ac-bridge play models/my-run/20000/policy.safetensors --laps 5",
    stream: "ac-bridge stream --rate 10 --keep",
    cloud_drive: "ac-bridge cloud-drive --wait",
    serve_env: "ac-bridge serve-env --env CartPole-v1",
    doctor: "ac-bridge doctor",
    bind: "ac-bridge bind",
    record: "ac-bridge record laps.acpages",
    replay: "ac-bridge replay laps.acpages",
    export_lap: "ac-bridge export-lap --recording laps.acpages --format motec",
    record_lap: "ac-bridge record-lap my-track.csv",
}
"""The commands in the order of the help, each with a line that one may type."""
for _command, _example in EXAMPLES.items():
    app.command(epilog=f"Example: {_example}")(_command)


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
