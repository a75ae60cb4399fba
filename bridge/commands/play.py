"""`ac-bridge play`: a learned policy drives, without a run in the cloud."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.assetto_corsa.session import Stopped, opened_session
from bridge.commands.game_options import Car, CarKind, GameOptions, chosen_car, game_settings, with_game_options
from bridge.commands.options import USUAL_TRACK, LogFormatOption, Rate, TaskOptions, TrackToDrive, give_up
from racing.task import Task, TaskConfig
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals

if TYPE_CHECKING:
    from racing.policy import Policy


@with_game_options
def play(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A policy.safetensors, as `make fetch` brings it.")],
    car: Car = CarKind.AUTO,
    track: TrackToDrive = None,
    rate: Rate = None,
    task: TaskOptions = None,
    laps: Annotated[
        int | None, typer.Option(min=1, help="End after so many laps; default: drive until Ctrl-C.")
    ] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Simulated car: keep to the wall clock.")] = False,
    game: GameOptions,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes the starts repeatable.")] = None,
    log_format: LogFormatOption = None,
) -> None:
    """Let a learned policy drive the game's car, or a simulated one. Ends with Ctrl-C, orderly."""
    from bridge.driving.drive import CannotDrive
    from bridge.driving.garage import UNUSABLE, SettingsError, exit_code_of, task_config
    from bridge.driving.play import play_game, play_simulated

    configure_logging("bridge", format=log_format)
    stop = stop_on_signals()
    car = chosen_car(car, track, None, game.wait)
    settings = game_settings(game, car, track, None)
    try:
        config = task_config(task or (), rate)
        policy = _policy(model, config)
        if settings is not None:
            session = opened_session(settings, stop, seed)
            with closing(session.car):
                play_game(session, Task(session.track, config), policy, laps, typer.echo, stop)
        elif car is CarKind.SIMULATED:
            starts = secrets.randbits(32) if seed is None else seed
            simulated = Task(parse_track(track or USUAL_TRACK), config)
            play_simulated(simulated, policy, laps, typer.echo, stop, real_time, starts)
        else:
            give_up("A recording drives itself; a policy drives --car assetto-corsa or --car simulated.")
    except Stopped:
        return
    except (CannotDrive, *UNUSABLE) as error:
        give_up(str(error), ExitCode.FAILED if isinstance(error, CannotDrive) else exit_code_of(error))
    except SettingsError as error:
        give_up(str(error), error.exit_code)


def _policy(model: Path, config: TaskConfig) -> "Policy":
    from experience import environment
    from racing.policy_file import PolicyError

    try:
        return environment.racing(config).policy(model.read_bytes())
    except PolicyError as error:
        give_up(str(error))
    except OSError as error:
        give_up(f"The model {model} cannot be read ({error.strerror}). Give the path of a policy.safetensors.")
