"""`python -m scripts.lap TRACK [--policy FILE]`: laps by the reference driver, or a learned policy, in the simulator.

Prints each lap's time and whether it was clean; exit code 0 when all laps were driven and clean, else 1.
"""

from pathlib import Path
from typing import Annotated

import typer

from experience import environment
from racing.evaluation import drive_laps, policy_actions, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from runtime.progress import lap_text


def lap(
    track: Annotated[str, typer.Argument(help="seed:NUMBER, seed:NUMBER:METRES, or a CSV file.")],
    policy: Annotated[Path | None, typer.Option(help="A policy.safetensors; default: the reference driver.")] = None,
    picture: Annotated[Path | None, typer.Option(help="A PNG to draw the last lap into.")] = None,
    laps: Annotated[int, typer.Option(min=1, help="Laps in a row.")] = 3,
    rate: Annotated[float, typer.Option(help="Control steps a second, Hz.")] = TaskConfig().control_hz,
) -> None:
    """Drive laps in a row from a rolling start and print them."""
    try:
        config = TaskConfig(control_hz=rate)
        circuit = parse_track(track)
        driver = reference_actions(ReferenceDriver(circuit))
        if policy is not None:
            driver = policy_actions(environment.racing(config).policy(policy.read_bytes()))
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(int(ExitCode.USAGE)) from error
    except OSError as error:
        typer.echo(f"The policy {policy} cannot be read ({error.strerror}). Give the path of a file.", err=True)
        raise typer.Exit(int(ExitCode.USAGE)) from error
    drive = drive_laps(driver, circuit, laps, config)
    if picture is not None:
        # matplotlib takes a second to load.
        from scripts.demo.report import draw_lap

        reference = drive_laps(reference_actions(ReferenceDriver(circuit)), circuit, 1, config)
        draw_lap(picture, circuit, drive, reference)
    for number, result in enumerate(drive.laps, 1):
        typer.echo(f"lap {number}: {lap_text(result.time)}{'' if result.clean else ', not clean'}")
    if drive.end:
        typer.echo(f"The drive ended in lap {len(drive.laps) + 1}: {drive.end.replace('_', ' ')}.")
    passed = not drive.end and all(result.clean for result in drive.laps)
    raise typer.Exit(int(ExitCode.OK if passed else ExitCode.FAILED))


if __name__ == "__main__":
    typer.run(lap)
