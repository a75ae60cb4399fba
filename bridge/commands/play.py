"""`ac-bridge play`: a learned policy drives, without a run in the cloud."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.assetto_corsa.session import BackendKind
from bridge.commands.game_options import (
    AcRoot,
    AnyWindow,
    Backend,
    Car,
    CarKind,
    IgnoreHuman,
    PanicKey,
    PedalRate,
    Smoothing,
    SteerRate,
    Wait,
    chosen_car,
    chosen_shaping,
    game_settings,
)
from bridge.commands.options import give_up
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals

if TYPE_CHECKING:
    from threading import Event

    from bridge.assetto_corsa.session import GameSettings
    from bridge.driving.play import Wanted
    from racing.policy import Policy
    from racing.task import TaskConfig

_TRACK = "seed:7"


def play(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A policy.safetensors, as `make fetch` brings it.")],
    car: Car = CarKind.AUTO,
    track: Annotated[
        str | None,
        typer.Option(
            help=f"For a simulated car seed:NUMBER, seed:NUMBER:METRES, or a CSV file; {_TRACK} is the default. For "
            "the game a CSV file in place of its own files."
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=10.0, max=60.0, help="Control steps a second, Hz: that of the run.")
    ] = 20.0,
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Another setting of the run's task; repeatable.")
    ] = None,
    laps: Annotated[
        int | None, typer.Option(min=1, help="End after so many laps; default: drive until Ctrl-C.")
    ] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Simulated car: keep to the wall clock.")] = False,
    ac_root: AcRoot = None,
    backend: Backend = BackendKind.AUTO,
    wait: Wait = False,
    panic_key: PanicKey = "end",
    ignore_human: IgnoreHuman = False,
    any_window: AnyWindow = False,
    steer_rate: SteerRate = None,
    pedal_rate: PedalRate = None,
    smoothing: Smoothing = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes the starts repeatable.")] = None,
) -> None:
    """Let a learned policy drive the game's car, or a simulated one. Ends with Ctrl-C, orderly."""
    from bridge.driving.garage import SettingsError, task_config
    from bridge.driving.play import Wanted

    configure_logging("bridge")
    stop = stop_on_signals()
    car = chosen_car(car, track, None, wait)
    shaping = chosen_shaping(car, steer_rate, pedal_rate, smoothing)
    wanted = Wanted(laps, typer.echo)
    try:
        config = task_config(task or (), rate)
        policy = _policy(model, config)
        if car is CarKind.ASSETTO_CORSA:
            game = game_settings(track, None, ac_root, backend, wait, panic_key, ignore_human, any_window, shaping)
            ended = _in_game(game, config, policy, wanted, stop, seed)
        elif car is CarKind.SIMULATED:
            ended = _simulated(track or _TRACK, config, policy, wanted, stop, real_time, seed)
        else:
            give_up("A recording drives itself; a policy drives --car assetto-corsa or --car simulated.")
    except SettingsError as error:
        give_up(str(error), error.exit_code)
    raise typer.Exit(int(ended))


def _policy(model: Path, config: "TaskConfig") -> "Policy":
    from experience import environment
    from racing.policy import Policy, PolicyError

    try:
        return Policy.from_bytes(model.read_bytes(), environment.racing(config).signature)
    except PolicyError as error:
        give_up(str(error))
    except OSError as error:
        give_up(f"The model {model} cannot be read ({error.strerror}). Give the path of a policy.safetensors.")


def _in_game(
    game: "GameSettings", config: "TaskConfig", policy: "Policy", wanted: "Wanted", stop: "Event", seed: int | None
) -> ExitCode:
    from bridge.assetto_corsa.session import Stopped
    from bridge.driving.drive import CannotDrive
    from bridge.driving.garage import game_session
    from bridge.driving.play import play_game
    from racing.task import Task

    try:
        session = game_session(game, stop, seed)
    except Stopped:
        return ExitCode.OK
    try:
        play_game(session, Task(session.track, config), policy, wanted, stop)
    except CannotDrive as error:
        give_up(str(error), ExitCode.FAILED)
    finally:
        session.car.close()
    return ExitCode.OK


def _simulated(
    spec: str,
    config: "TaskConfig",
    policy: "Policy",
    wanted: "Wanted",
    stop: "Event",
    real_time: bool,
    seed: int | None,
) -> ExitCode:
    from bridge.driving.play import play_simulated
    from racing.task import Task
    from racing.track import TrackError, parse_track

    try:
        track = parse_track(spec)
    except TrackError as error:
        give_up(str(error))
    chosen = secrets.randbits(32) if seed is None else seed
    play_simulated(track, Task(track, config), policy, wanted, stop, real_time, chosen)
    return ExitCode.OK
