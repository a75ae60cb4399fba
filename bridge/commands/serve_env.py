"""`ac-bridge serve-env`: environments of this PC, stepped from the cloud."""

import hashlib
import secrets
import uuid
from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.options import AllowPlain, LogFormatOption, PairingCommand, Uri, give_up, look_up_of, pairing_of
from bridge.link.refusal import Refused
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals
from wire.messages import Hello, Role


def serve_env(
    *,
    env: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="What may be made and stepped: an id that Gymnasium knows, such as CarRacing-v3, or module:attribute "
            "of your own code; repeatable. Nothing else of this PC can be reached.",
        ),
    ],
    num_envs: Annotated[
        int, typer.Option(min=1, max=4096, help="Environments at the same time, of all names together.")
    ] = 1,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that step the environments of one vector. Default: one a processor where a trial of a few "
            "steps says that it pays, else one; 1 tries nothing.",
        ),
    ] = None,
    uri: Uri = None,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
    log_format: LogFormatOption = None,
) -> None:
    """Let a run in the cloud step environments on this PC. Ends with Ctrl-C, orderly."""
    from bridge.serve_env.host import Host
    from bridge.serve_env.offers import OfferError, offers_of
    from bridge.serve_env.serving import Serving

    configure_logging("bridge", format=log_format)
    stop = stop_on_signals()
    try:
        offers = offers_of(env, Path.cwd())
    except OfferError as error:
        give_up(str(error))
    look_up = look_up_of(uri, pairing_command, allow_plain, stop)
    pairing = pairing_of(uri, allow_plain, look_up, stop)
    hello = introduction(list(offers), num_envs)
    try:
        Serving(pairing, hello, lambda answer: Host(offers, num_envs, answer, processes), stop, look_up).run()
    except Refused as refusal:
        give_up(str(refusal), refusal.exit_code)
    finally:
        stop.set()


def introduction(names: list[str], most: int) -> Hello:
    """What a process that serves these environments says first."""
    from bridge.driving.garage import software

    return Hello(
        bridge=hashlib.sha256(str(uuid.getnode()).encode()).hexdigest()[:12],
        stream=secrets.token_hex(16),
        role=Role.SERVE_ENV,
        signature="",
        spaces="",
        real_time=False,
        cars=most,
        last_number=0,
        weights_version=0,
        software=software(),
        environments=tuple(names),
    )
