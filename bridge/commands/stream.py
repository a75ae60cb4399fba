"""`ac-bridge stream`: tells a run what a car does, frame by frame; nothing is sent to the car."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.assetto_corsa.session import GameSettings, Stopped
from bridge.commands.game_options import AcRoot, CarKind, chosen_car
from bridge.commands.options import (
    USUAL_TRACK,
    AllowPlain,
    LogFormatOption,
    PairingCommand,
    SpoolLimit,
    Uri,
    give_up,
    look_up_of,
    pairing_of,
)
from bridge.commands.pair import pair_unless_paired
from bridge.pairing.file import config_folder
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals
from wire.messages import MAX_FRAMES

if TYPE_CHECKING:
    from bridge.stream.sources import Source

_PAGES = ".acpages"


def stream(
    uri: Uri = None,
    rate: Annotated[float, typer.Option(min=1.0, max=60.0, help="Frames a second, Hz.")] = 10.0,
    car: Annotated[
        CarKind,
        typer.Option(
            help="assetto-corsa: whoever drives it; simulated: the reference driver's. auto: as it runs here."
        ),
    ] = CarKind.AUTO,
    source: Annotated[
        Path | None, typer.Option(help="Laps that were recorded, .acpages or telemetry (CSV); streamed once.")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            help=f"For a simulated car seed:NUMBER, seed:NUMBER:METRES, or a CSV file; {USUAL_TRACK} is the default. "
            "For the game a CSV file in place of its own files; for telemetry the one that it was driven on."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Lose nothing while the link is down; default: the newest wins.")
    ] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, max=MAX_FRAMES, help="With --keep: frames to a batch; 10 is the default.")
    ] = None,
    reconnect_delay: Annotated[
        float | None,
        typer.Option(min=0.1, max=3600.0, metavar="SECONDS", help="Between two calls while nobody answers."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Speak JSON, not MessagePack.")] = False,
    ac_root: AcRoot = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the game when it does not run yet.")] = False,
    spool: Annotated[Path | None, typer.Option(help="Folder where kept frames wait; default: in your config.")] = None,
    spool_limit_mib: SpoolLimit = 2048,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
    log_format: LogFormatOption = None,
) -> None:
    """Stream what a car does: the game's while you drive, recorded laps, a simulated one. Ends with Ctrl-C, orderly."""
    from bridge.driving.garage import SettingsError
    from bridge.stream import sources, streaming

    configure_logging("bridge", format=log_format)
    if batch is not None and not keep:
        give_up("--batch goes with --keep: what is not kept goes frame by frame, the newest first.")
    if source is not None and (car is not CarKind.AUTO or wait):
        give_up("--source streams what was driven; leave --car and --wait out.")
    if source is not None and track is None and source.suffix != _PAGES:
        give_up("--source needs --track FILE for telemetry: where it was driven.")
    if source is None:
        car = chosen_car(car, track, None, wait)
    if car is CarKind.RECORDED:
        give_up("Recorded laps are named with --source FILE; leave --car out.")
    if car is CarKind.ASSETTO_CORSA and track is not None and track.startswith("seed:"):
        give_up("--track seed:... is for simulated cars; for the game give a CSV file, or leave --track out.")
    if uri is None and pairing_command is None:
        pair_unless_paired(allow_plain)
    stop = stop_on_signals()
    settings = streaming.Settings(
        rate=rate,
        keep=keep,
        batch=batch or 10,
        text=json,
        redial_seconds=reconnect_delay,
        spool=spool or config_folder() / "telemetry",
        spool_limit_bytes=spool_limit_mib * 2**20,
    )
    look_up = look_up_of(uri, pairing_command, allow_plain, stop)
    pairing = pairing_of(uri, allow_plain, look_up, stop)
    game = GameSettings(root=ac_root, track=track, wait=wait) if car is CarKind.ASSETTO_CORSA else None
    source_of: Callable[[], Source]
    if source is not None:
        source_of = partial(sources.recording, source, track or "", ac_root, rate, stop)
    elif game is not None:
        source_of = partial(sources.game, game, rate, stop)
    else:
        source_of = partial(sources.reference, track or USUAL_TRACK, rate, stop)
    try:
        ended = streaming.stream(pairing, source_of, settings, stop, look_up)
    except Stopped:
        ended = ExitCode.OK
    except SettingsError as error:
        give_up(str(error), error.exit_code)
    finally:
        # A look-up that is still at work would hold up the end.
        stop.set()
    raise typer.Exit(int(ended))
