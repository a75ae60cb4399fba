"""`ac-bridge demonstrate`: a human, a recording or the reference driver shows the run how it is done."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bridge.assetto_corsa.session import GameSettings
from bridge.commands.game_options import AcRoot, CarKind, chosen_car
from bridge.commands.options import (
    USUAL_TRACK,
    AllowPlain,
    LogFormatOption,
    PairingCommand,
    Rate,
    SpoolFolder,
    SpoolLimit,
    TaskOptions,
    Uri,
    give_up,
)
from bridge.commands.pair import pair_unless_paired
from bridge.commands.running import run_to_the_end
from bridge.pairing.file import config_folder
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals

_REFERENCE_LAPS = 2


class DriverKind(StrEnum):
    """Who shows it."""

    HUMAN = "human"
    REFERENCE = "reference"


def demonstrate(
    uri: Uri = None,
    car: Annotated[
        CarKind,
        typer.Option(help="assetto-corsa: drive it yourself; simulated: the reference driver does. auto: the first."),
    ] = CarKind.AUTO,
    driver: Annotated[
        DriverKind | None, typer.Option(help="Who drives: you in the game, the reference driver a simulated car.")
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Laps that were recorded: by `ac-bridge record FILE.acpages`, or telemetry (CSV)."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            help=f"For a simulated car seed:NUMBER, seed:NUMBER:METRES, or a CSV file; {USUAL_TRACK} is the default. A "
            "CSV file in place of the game's own files, and for telemetry the one that it was driven on."
        ),
    ] = None,
    laps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="End after so many whole, clean laps, once they are stored. Default: with Ctrl-C, with the recording, "
            f"or for the reference driver {_REFERENCE_LAPS}.",
        ),
    ] = None,
    pace: Annotated[
        float, typer.Option(min=0.2, max=1.0, help="Of the reference driver: share of his speed, for a lazy one.")
    ] = 1.0,
    rate: Rate = None,
    task: TaskOptions = None,
    ac_root: AcRoot = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the game when it does not run yet.")] = False,
    new_car: Annotated[
        bool, typer.Option("--new-car", help="The run is about another car than the one that was driven for it last.")
    ] = False,
    spool: SpoolFolder = None,
    spool_limit_mib: SpoolLimit = 2048,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
    log_format: LogFormatOption = None,
) -> None:
    """Show the run laps of your own: drive the game by hand, and nothing is sent to it. Ends with Ctrl-C, orderly."""
    from bridge.driving.demonstration_garage import PAGES, Shown, assembled_demonstration
    from bridge.driving.garage import Settings

    configure_logging("bridge", format=log_format)
    if recording is not None:
        car = _recorded(car, driver, wait)
        if track is None and recording.suffix != PAGES:
            give_up("--recording needs --track FILE for telemetry: what it is worth depends on where it was driven.")
    else:
        car = _driven(car, driver, track, wait)
    simulated = car is CarKind.SIMULATED
    if pace != 1.0 and not simulated:
        give_up("--pace is the reference driver's, who drives simulated cars only; leave it out.")
    if uri is None and pairing_command is None:
        pair_unless_paired(allow_plain)
    stop = stop_on_signals()
    settings = Settings(
        recording=recording,
        track=track or (USUAL_TRACK if simulated else ""),
        cars=1,
        rate=rate,
        real_time=False,
        task=tuple(task or ()),
        spool=spool or config_folder() / "spool",
        spool_limit_bytes=spool_limit_mib * 2**20,
        steps=None,
        seed=None,
        game=GameSettings(root=ac_root, track=track, wait=wait) if car is CarKind.ASSETTO_CORSA else None,
    )
    shown = Shown(_REFERENCE_LAPS if simulated and laps is None else laps, pace, new_car, ac_root)
    assembled = partial(assembled_demonstration, settings=settings, shown=shown)
    run_to_the_end(assembled, uri, pairing_command, allow_plain, stop)


def _recorded(car: CarKind, driver: DriverKind | None, wait: bool) -> CarKind:
    if car not in (CarKind.AUTO, CarKind.RECORDED) or driver is not None or wait:
        give_up("--recording plays what was driven; leave --car, --driver and --wait out.")
    return CarKind.RECORDED


def _driven(car: CarKind, driver: DriverKind | None, track: str | None, wait: bool) -> CarKind:
    """The game's car for a human, a simulated one for the reference driver; gives up where they do not fit."""
    if car is CarKind.RECORDED:
        give_up("--car recorded needs --recording FILE, the laps to play.")
    if car is CarKind.AUTO and driver is DriverKind.REFERENCE:
        car = CarKind.SIMULATED
    chosen = chosen_car(car, track, None, wait)
    if chosen is CarKind.SIMULATED and (car is CarKind.AUTO or driver is DriverKind.HUMAN):
        give_up(
            "You drive the game, and Assetto Corsa does not run here. Start it, or add --wait; or have the reference "
            "driver show laps of a simulated car: --car simulated --driver reference."
        )
    if chosen is CarKind.ASSETTO_CORSA and driver is DriverKind.REFERENCE:
        give_up("The reference driver knows simulated cars only: --car simulated --driver reference.")
    if chosen is CarKind.ASSETTO_CORSA and track is not None and track.startswith("seed:"):
        give_up("--track seed:... is for simulated cars; for the game give a CSV file, or leave --track out.")
    return chosen
