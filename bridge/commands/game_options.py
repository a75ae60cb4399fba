"""The options that choose the car and say how the real game is driven, shared by `drive` and `play`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bridge.assetto_corsa.controls.controls import ControlShaping
from bridge.assetto_corsa.controls.safety import PANIC_KEYS
from bridge.assetto_corsa.session import BackendKind, GameSettings, GameUnclear, game_runs
from bridge.commands.options import give_up

_log = logging.getLogger(__name__)


class CarKind(StrEnum):
    """What is driven."""

    AUTO = "auto"
    ASSETTO_CORSA = "assetto-corsa"
    SIMULATED = "simulated"
    RECORDED = "recorded"


Car = Annotated[
    CarKind,
    typer.Option(
        help="What to drive. auto: Assetto Corsa's car when the game runs on this PC, else a simulated one; also a "
        "simulated one when --cars or a --track seed:... asks for it, and the game with --wait."
    ),
]
AcRoot = Annotated[
    Path | None, typer.Option("--ac-root", help="Folder of Assetto Corsa; default: $AC_ROOT, or as Steam says.")
]
Backend = Annotated[
    BackendKind, typer.Option(help="How steering and pedals reach the game; auto tries the others in this order.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the game when it does not run yet.")]
PanicKey = Annotated[
    str,
    typer.Option(
        "--panic-key",
        help=f"Key that stops driving at once, whatever window is in front: {', '.join(PANIC_KEYS)}. On Linux it is "
        "the signal SIGUSR1.",
    ),
]
IgnoreHuman = Annotated[
    bool,
    typer.Option(
        "--ignore-human",
        help="Drive on when somebody steers or brakes; default: let go of the car. With csp the game ignores wheel and "
        "pedals anyway; use the panic key.",
    ),
]
AnyWindow = Annotated[
    bool, typer.Option("--any-window", help="Drive on when the game's window is not in front (Windows).")
]
SteerRate = Annotated[
    float | None,
    typer.Option(
        "--steer-rate",
        metavar="LOCKS",
        help="Game: most change of steering a second, 1 from straight to full lock; default: no limit.",
    ),
]
PedalRate = Annotated[
    float | None,
    typer.Option(
        "--pedal-rate",
        metavar="PEDALS",
        help="Game: most change of throttle less brake a second, 1 for a whole pedal; default: no limit.",
    ),
]
Smoothing = Annotated[
    float,
    typer.Option(
        "--smoothing",
        metavar="SECONDS",
        help="Game: time constant of a low pass before these limits; default: none. What is applied is what is "
        "recorded.",
    ),
]


def chosen_shaping(
    car: CarKind, steer_rate: float | None, pedal_rate: float | None, smoothing: float
) -> ControlShaping:
    """The options that shape controls; gives up where they make no sense or another car is driven."""
    try:
        shaping = ControlShaping(steer_rate, pedal_rate, smoothing)
    except ValueError as error:
        give_up(f"The controls cannot be shaped like this: {error}. Mend --steer-rate, --pedal-rate or --smoothing.")
    if shaping.on and car is not CarKind.ASSETTO_CORSA:
        give_up(
            "--steer-rate, --pedal-rate and --smoothing shape the controls of the game's car, and another one is "
            "driven here; leave them out."
        )
    return shaping


def chosen_car(car: CarKind, track: str | None, cars: int | None, wait: bool) -> CarKind:
    """What `auto` means here and now, and says so; gives up where it cannot be told, or `wait` makes no sense."""
    simulated = cars is not None or (track is not None and track.startswith("seed:"))
    if wait and (car not in (CarKind.AUTO, CarKind.ASSETTO_CORSA) or simulated):
        give_up("--wait waits for the game, and another car is asked for; leave one of them out.")
    if car is not CarKind.AUTO:
        return car
    if wait:
        return CarKind.ASSETTO_CORSA
    try:
        if simulated or not game_runs():
            return CarKind.SIMULATED
    except GameUnclear as unclear:
        give_up(str(unclear))
    _log.info("Assetto Corsa runs on this PC, so its car is driven; for a simulated one, add --car simulated")
    return CarKind.ASSETTO_CORSA


def game_settings(
    track: str | None,
    cars: int | None,
    ac_root: Path | None,
    backend: BackendKind,
    wait: bool,
    panic_key: str,
    ignore_human: bool,
    any_window: bool,
    shaping: ControlShaping,
) -> GameSettings:
    """The options for the real game; gives up where they do not fit it."""
    if cars is not None:
        give_up("--cars goes with simulated cars; the game's car is one.")
    if track is not None and track.startswith("seed:"):
        give_up("--track seed:... is for simulated cars; for the game give a CSV file, or leave --track out.")
    if panic_key not in PANIC_KEYS:
        give_up(f"--panic-key {panic_key} is not one of {', '.join(PANIC_KEYS)}.")
    return GameSettings(ac_root, track, backend, wait, panic_key, not ignore_human, not any_window, shaping)
