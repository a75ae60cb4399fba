"""`ac-bridge cloud-drive`: this PC's car, driven by a driver in the cloud: frames up, chunks of controls down."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.game_options import Car, CarKind, GameOptions, chosen_car, game_settings, with_game_options
from bridge.commands.options import (
    USUAL_TRACK,
    AllowPlain,
    LogFormatOption,
    PairingCommand,
    Rate,
    TaskOptions,
    TrackToDrive,
    Uri,
    give_up,
)
from bridge.commands.pair import pair_unless_paired
from bridge.commands.running import run_to_the_end
from bridge.pairing.file import config_folder
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals

_SPOOL_MIB = 64


@with_game_options
def cloud_drive(
    *,
    uri: Uri = None,
    car: Car = CarKind.AUTO,
    track: TrackToDrive = None,
    rate: Rate = None,
    task: TaskOptions = None,
    game: GameOptions,
    spool: Annotated[
        Path | None,
        typer.Option(help="Folder by which the receiver knows this PC's car again; default: in your config."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="End after so many steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes the starts repeatable.")] = None,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
    log_format: LogFormatOption = None,
) -> None:
    """Let a driver in the cloud drive: frames up, controls down, always in real time. Ends with Ctrl-C, orderly."""
    from bridge.driving.garage import Settings
    from bridge.stream.driving import assembled_cloud_drive

    configure_logging("bridge", format=log_format)
    if car is CarKind.RECORDED:
        give_up("A recording has been driven already. Name another car, or send it with `ac-bridge drive`.")
    car = chosen_car(car, track, None, game.wait)
    settings = Settings(
        recording=None,
        track=track or USUAL_TRACK,
        cars=1,
        rate=rate,
        real_time=True,
        task=tuple(task or ()),
        spool=spool or config_folder() / "cloud-drive",
        spool_limit_bytes=_SPOOL_MIB * 2**20,
        steps=steps,
        seed=seed,
        game=game_settings(game, car, track, None),
    )
    if uri is None and pairing_command is None:
        pair_unless_paired(allow_plain)
    stop = stop_on_signals()
    run_to_the_end(partial(assembled_cloud_drive, settings=settings), uri, pairing_command, allow_plain, stop)
