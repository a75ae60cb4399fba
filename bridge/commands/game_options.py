"""The options that choose the car and say how the real game is driven, shared by `drive` and `play`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

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
    BackendKind,
    typer.Option(
        help="How steering and pedals reach the game; auto: csp where CSP's settings switch Custom AI on, else the "
        "first that answers, in this order."
    ),
]


@dataclass(frozen=True)
class GameOptions:
    """How the real game is driven, as the command line says it."""

    ac_root: AcRoot = None
    backend: Backend = BackendKind.AUTO
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the game when it does not run yet, and for CSP.")] = (
        False
    )
    panic_key: Annotated[
        str,
        typer.Option(
            help=f"Key that stops driving at once, whatever window is in front: {', '.join(PANIC_KEYS)}. On Linux it "
            "is the signal SIGUSR1.",
        ),
    ] = "end"
    ignore_human: Annotated[
        bool,
        typer.Option(
            "--ignore-human",
            help="Drive on when somebody steers or brakes; default: let go of the car. With csp the game ignores wheel "
            "and pedals anyway; use the panic key.",
        ),
    ] = False
    any_window: Annotated[
        bool, typer.Option("--any-window", help="Drive on when the game's window is not in front (Windows).")
    ] = False
    steer_rate: Annotated[
        float | None,
        typer.Option(
            metavar="LOCKS",
            help="Game: most change of steering a second, 1 from straight to full lock; default: no limit.",
        ),
    ] = None
    pedal_rate: Annotated[
        float | None,
        typer.Option(
            metavar="PEDALS",
            help="Game: most change of throttle less brake a second, 1 for a whole pedal; default: no limit.",
        ),
    ] = None
    smoothing: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Game: time constant of a low pass before these limits; default: none. What is applied is what is "
            "recorded.",
        ),
    ] = 0.0


def with_game_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer, which knows no groups of options: each field of its parameter `game` is an option.

    All parameters of `command` are keyword-only.
    """

    def run(**options: Any) -> None:
        game = GameOptions(**{field.name: options.pop(field.name) for field in fields(GameOptions)})
        command(game=game, **options)

    options = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type) for f in fields(GameOptions)
    ]
    parameters = []
    for own in signature(command).parameters.values():
        parameters += options if own.name == "game" else [own]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # typer looks here
    return run


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


def game_settings(options: GameOptions, car: CarKind, track: str | None, cars: int | None) -> GameSettings | None:
    """What is chosen for the real game, None where another car is driven; gives up where it does not fit together."""
    try:
        shaping = ControlShaping(options.steer_rate, options.pedal_rate, options.smoothing)
    except ValueError as error:
        give_up(f"The controls cannot be shaped like this: {error}. Mend --steer-rate, --pedal-rate or --smoothing.")
    if car is not CarKind.ASSETTO_CORSA:
        if shaping.on:
            give_up(
                "--steer-rate, --pedal-rate and --smoothing shape the controls of the game's car, and another one is "
                "driven here; leave them out."
            )
        return None
    if cars is not None:
        give_up("--cars goes with simulated cars; the game's car is one.")
    if track is not None and track.startswith("seed:"):
        give_up("--track seed:... is for simulated cars; for the game give a CSV file, or leave --track out.")
    if options.panic_key not in PANIC_KEYS:
        give_up(f"--panic-key {options.panic_key} is not one of {', '.join(PANIC_KEYS)}.")
    return GameSettings(
        root=options.ac_root,
        track=track,
        backend=options.backend,
        wait=options.wait,
        panic_key=options.panic_key,
        yield_to_human=not options.ignore_human,
        need_window=not options.any_window,
        shaping=shaping,
    )
