"""`ac-bridge drive`: checks the options and puts a drive together.

The parts are imported when the command runs, so that `--help` and `pair` answer at once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.commands.environment_options import NumEnvs, Outside, OutsideOption, OwnEnvironment, check_options
from bridge.commands.game_options import Car, CarKind, GameOptions, chosen_car, game_settings, with_game_options
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


@with_game_options
def drive(
    *,
    uri: Uri = None,
    env: OwnEnvironment = None,
    num_envs: NumEnvs = None,
    outside: OutsideOption = None,
    car: Car = CarKind.AUTO,
    track: Annotated[
        str | None,
        typer.Option(
            help=f"seed:NUMBER, seed:NUMBER:METRES, or a CSV file; {USUAL_TRACK} is the default. The game's track is "
            "known from its own files; a CSV file takes their place. A recording needs the one that it was driven on."
        ),
    ] = None,
    cars: Annotated[int | None, typer.Option(min=1, max=1024, help="Simulated cars at once; 1 is the default.")] = None,
    rate: Rate = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Keep to the wall clock, and never wait for the trainer.")
    ] = False,
    task: TaskOptions = None,
    game: GameOptions,
    recording: Annotated[Path | None, typer.Option(help="Recorded telemetry (CSV), for --car recorded.")] = None,
    link: Annotated[
        Path | None,
        typer.Option(help="Simulated cars obey as late as over this link (doctor --record-link), as the run wants it."),
    ] = None,
    spool: SpoolFolder = None,
    spool_limit_mib: SpoolLimit = 2048,
    steps: Annotated[int | None, typer.Option(min=1, help="End after so many steps, once they are stored.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes starts and exploration repeatable.")] = None,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
    log_format: LogFormatOption = None,
) -> None:
    """Drive for a run: experience up, weights down. Ends with Ctrl-C, orderly."""
    from bridge.driving.drive import Drive
    from bridge.driving.environment_garage import EnvironmentSettings, assembled_environment_drive
    from bridge.driving.garage import Settings, assembled_drive

    of_cars = {"--track": track, "--cars": cars, "--task": task, "--recording": recording, "--link": link}
    given = [name for name, value in of_cars.items() if value is not None]
    given += ["--car"] * (car is not CarKind.AUTO) + ["An option of the game"] * (game != GameOptions())
    check_options(env, num_envs, outside, rate, real_time, given)
    configure_logging("bridge", format=log_format)
    if uri is None and pairing_command is None:
        pair_unless_paired(allow_plain)
    stop = stop_on_signals()
    shared: dict[str, Any] = {
        "rate": rate,
        "spool": spool or config_folder() / "spool",
        "spool_limit_bytes": spool_limit_mib * 2**20,
        "steps": steps,
        "seed": seed,
    }
    assembled: Callable[..., AbstractContextManager[Drive]]
    if env is not None:
        outside = outside or Outside.WARN
        own = EnvironmentSettings(name=env, count=num_envs or 1, outside=outside.value, **shared)
        assembled = partial(assembled_environment_drive, settings=own)
    else:
        car = chosen_car(car, track, cars, game.wait)
        settings = Settings(
            recording=_recording_for(car, recording, track, {"--cars": cars, "--seed": seed}),
            track=track or USUAL_TRACK,
            cars=1 if cars is None else cars,
            real_time=real_time,
            task=tuple(task or ()),
            game=game_settings(game, car, track, cars),
            link=_link_for(car, link),
            **shared,
        )
        assembled = partial(assembled_drive, settings=settings)
    run_to_the_end(assembled, uri, pairing_command, allow_plain, stop)


def _link_for(car: CarKind, link: Path | None) -> Path | None:
    if link is not None and car is not CarKind.SIMULATED:
        give_up("--link goes with --car simulated: nothing makes another car obey late. Leave it out.")
    return link


def _recording_for(
    car: CarKind, recording: Path | None, track: str | None, of_simulated_cars: dict[str, int | None]
) -> Path | None:
    """The recording to play, if any, after a check of the options that go with it or do not."""
    if car is not CarKind.RECORDED:
        if recording is not None:
            give_up("--recording goes with --car recorded; add that, or leave the recording out.")
        return None
    if recording is None:
        give_up("--car recorded needs --recording FILE, the telemetry to play.")
    if track is None:
        give_up("--car recorded needs --track FILE: what a recording is worth depends on the track it was driven on.")
    for name, value in of_simulated_cars.items():
        if value is not None:
            give_up(f"{name} has no effect on a recording, which is one car that drives as it did; leave it out.")
    return recording
