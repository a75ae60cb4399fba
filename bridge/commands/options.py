"""What several commands of `ac-bridge` share: the options that name a run, its pairing, and how a command gives up.

Giving up is a sentence on standard error and an exit code; no traceback, which could show the token.
"""

import sys
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated, Final, NoReturn

import typer

from bridge.pairing.command import NoAnswer, look_up_pairing
from bridge.pairing.file import URI_VARIABLE, config_folder, found_uri
from racing.task_config import TaskConfig
from runtime.exit_codes import ExitCode
from runtime.logs import FORMAT_VARIABLE, KEY_VALUE, WORDS, printable
from wire.pairing import Pairing, PairingError, parse_pairing

Uri = Annotated[
    str | None,
    typer.Option(
        "--uri",
        metavar="URI",
        help=f"Pairing string. Other users of this PC can see it here; better: `pair`, or ${URI_VARIABLE}.",
    ),
]
AllowPlain = Annotated[
    bool, typer.Option("--allow-plain", help="Accept ws:// (unencrypted) to another machine than this one.")
]

PairingCommand = Annotated[
    str | None,
    typer.Option(
        "--pairing-command",
        metavar="COMMAND",
        help="Prints the pairing string, for a run whose address changes with each instance; `drive` runs it at the "
        "start and while nobody answers.",
    ),
]
USUAL_TRACK: Final = "seed:7"
"""Of a simulated car."""
TrackToDrive = Annotated[
    str | None,
    typer.Option(
        help=f"For a simulated car seed:NUMBER, seed:NUMBER:METRES, or a CSV file; {USUAL_TRACK} is the default. For "
        "the game a CSV file in place of its own files."
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Control steps a second, Hz, the same as control_hz of the run's task. Default: "
        f"{TaskConfig().control_hz:g}, or for a recording the rate at which it was recorded."
    ),
]
SpoolFolder = Annotated[
    Path | None, typer.Option(help="Folder where experience waits until it is safe; default: in your config.")
]
SpoolLimit = Annotated[int, typer.Option(min=1, help="Most experience that may wait, MiB.")]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Another setting of the run's task, the same as there; repeatable. NAME is one of "
        f"{', '.join(sorted({one.name for one in fields(TaskConfig)} - {'control_hz'}))}.",
    ),
]


class LogFormat(StrEnum):
    """How the log speaks; as runtime.logs.FORMATS."""

    WORDS = WORDS
    KEY_VALUE = KEY_VALUE


LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option("--log-format", help=f"How the log speaks; default: words on a terminal, or ${FORMAT_VARIABLE}."),
]


def look_up_of(uri: str | None, command: str | None, allow_plain: bool, stop: Event) -> Callable[[], Pairing] | None:
    """What asks the pairing command, if there is one; gives up where both options say whom to call."""
    if command is not None and uri is not None:
        give_up("--uri and --pairing-command both say whom to call; leave one out.")
    return None if command is None else partial(look_up_pairing, command, allow_plain, stop)


def pairing_of(uri: str | None, allow_plain: bool, look_up: Callable[[], Pairing] | None, stop: Event) -> Pairing:
    """The run to drive for, from the options or the pairing command's first answer; gives up where neither has one."""
    while True:
        try:
            return parse_pairing(found_uri(uri, config_folder()), allow_plain) if look_up is None else look_up()
        except NoAnswer as error:
            # A bridge may be started before the instance that it waits for.
            if stop.is_set():
                raise typer.Exit(int(ExitCode.OK)) from None
            print(printable(f"{error} Asking again.", keep="\n"), file=sys.stderr, flush=True)
        except PairingError as error:
            give_up(str(error))


def give_up(sentence: str, exit_code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """End the command with this sentence and exit code."""
    print(printable(sentence, keep="\n"), file=sys.stderr)
    raise typer.Exit(int(exit_code))
