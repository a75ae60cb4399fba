"""`ac-bridge export-lap`: a lap out of a recording, or of the reference driver, as files for the racer's own tools.

Needs neither a run nor the game. What was driven is read first and a wrong choice told before anything is written.
"""

import errno
import math
from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.game_options import AcRoot
from bridge.commands.options import give_up
from racing.lap import Lap, best_lap
from racing.lap_files import FORMATS, LapFileError, check_format, file_stem, stint_stem, write
from runtime.exit_codes import ExitCode
from runtime.progress import lap_text

_RATE = 50.0
_REFERENCE_LAPS, _MOST_REFERENCE_LAPS = 2, 20
_FOR = {
    "motec": "for MoTeC i2; keep the two beside each other",
    "motec-csv": "for ac-tracer",
    "csv": "a row a sample, SI units",
    "parquet": "a row a sample, SI units",
}


def export_lap(
    recording: Annotated[
        Path | None,
        typer.Option(help="Laps that were recorded: by `ac-bridge record FILE.acpages`, or telemetry (CSV)."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            help="Without --recording, the one that the reference driver drives in the simulator: seed:NUMBER, "
            "seed:NUMBER:METRES, or a CSV file. For telemetry, the CSV file of its track; for FILE.acpages only in "
            "place of the game's own files."
        ),
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; repeatable. Default: motec.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the files; it is made if need be.")] = Path(),
    lap: Annotated[
        str, typer.Option(metavar="best|NUMBER|all", help="Which: the fastest clean one, one by its number, or all.")
    ] = "best",
    name: Annotated[str | None, typer.Option(help="Who drove, as the files say it.")] = None,
    pace: Annotated[float, typer.Option(min=0.2, max=1.0, help="Of the reference driver: share of his speed.")] = 1.0,
    rate: Annotated[
        float | None,
        typer.Option(min=10.0, max=250.0, help=f"Samples a second, Hz; default {_RATE:g}, or what telemetry has."),
    ] = None,
    steering_lock: Annotated[
        float | None,
        typer.Option(
            min=10.0,
            max=2000.0,
            help="How far the steering wheel turns to one side, degrees. Without it steering is in percent of that; "
            "telemetry has 320 unless this says something else.",
        ),
    ] = None,
    ac_root: AcRoot = None,
) -> None:
    """Write a lap for MoTeC i2, ac-tracer or your own programs. Example: ac-bridge export-lap --recording my.acpages"""
    from bridge.driving.garage import UNUSABLE, SettingsError, exit_code_of

    forms = list(dict.fromkeys(form or ["motec"]))
    number = _lap_number(lap)
    try:
        for one in forms:
            check_format(one)
        if recording is None:
            laps = _of_the_reference(track, number, pace, rate, name, steering_lock)
        else:
            laps = _of_a_recording(recording, track, pace, rate, name, steering_lock, ac_root)
    except LapFileError as error:
        give_up(str(error))
    except SettingsError as error:
        give_up(str(error), error.exit_code)
    except UNUSABLE as error:
        give_up(str(error), exit_code_of(error))
    chosen = _chosen(laps, lap, number)
    _write(laps, chosen, output, forms)


def _lap_number(lap: str) -> int | None:
    """The number of a lap, None for best and all."""
    if lap in ("best", "all"):
        return None
    if not (lap.isascii() and lap.isdigit() and int(lap[:9]) > 0):
        give_up(f"--lap {lap[:40]} is not understood: give best, all, or the number of a lap, from 1 on.")
    return int(lap[:9])


def _of_the_reference(
    track: str | None, number: int | None, pace: float, rate: float | None, name: str | None, lock: float | None
) -> list[Lap]:
    from bridge.driving.lap_sources import reference_laps

    if track is None:
        give_up("Name what to export: --recording FILE, or --track seed:7 for a lap of the reference driver.")
    if lock is not None:
        give_up("--steering-lock is about a steering wheel, and the simulated car has none; leave it out.")
    if number is not None and number > _MOST_REFERENCE_LAPS:
        give_up(f"The reference driver drives {_MOST_REFERENCE_LAPS} laps at most, of which none is lap {number}.")
    laps = max(number or 0, _REFERENCE_LAPS)
    return reference_laps(track, laps, pace, rate or _RATE, name or "reference driver")


def _of_a_recording(
    recording: Path,
    track: str | None,
    pace: float,
    rate: float | None,
    name: str | None,
    lock: float | None,
    root: Path | None,
) -> list[Lap]:
    from bridge.driving.lap_sources import PAGES, recorded_laps

    if pace != 1.0:
        give_up("--pace is the reference driver's, and a recording is as it was driven; leave it out.")
    if recording.suffix != PAGES and track is None:
        give_up("--recording needs --track FILE for telemetry: without its track nobody knows where a lap begins.")
    if recording.suffix != PAGES and rate is not None:
        give_up("--rate is for recordings of the game; telemetry has the rows that it has. Leave it out.")
    lock = None if lock is None else math.radians(lock)
    laps = recorded_laps(recording, rate or _RATE, track or "", root, name or "human", lock)
    if not laps:
        give_up(
            f"The recording {recording} holds no whole lap, from the line to the line without a pause or a jump, so "
            "there is nothing to export. Where the recorder could not keep up, a lower --rate bears longer gaps.",
            ExitCode.FAILED,
        )
    return laps


def _chosen(laps: list[Lap], lap: str, number: int | None) -> list[Lap]:
    if lap == "all":
        return laps
    if number is None:
        return [best_lap(laps)]
    if number > len(laps):
        give_up(f"There is no lap {number}: {_told(laps)}")
    return [laps[number - 1]]


def _told(laps: list[Lap]) -> str:
    """How many laps there are, which was the best and how fast, a sentence."""
    best = best_lap(laps)
    how = "" if best.clean else ", though no lap was clean"
    many = "1 whole lap was" if len(laps) == 1 else f"{len(laps)} whole laps were"
    return f"{many} driven, the best ({best.name}) in {lap_text(best.time)}{how}."


def _write(laps: list[Lap], chosen: list[Lap], output: Path, forms: list[str]) -> None:
    typer.echo(_told(laps))
    stem = file_stem(chosen[0]) if len(chosen) == 1 else stint_stem(chosen)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for one in forms:
            files = write(chosen, output / stem, one)
            typer.echo(f"Wrote {' and '.join(map(str, files))} ({_FOR[one]}).")
    except OSError as error:
        full = error.errno == errno.ENOSPC
        give_up(
            f"{output} does not take the files: {error.strerror}. Name another folder with --output, or free the disk.",
            ExitCode.DISK_FULL if full else ExitCode.USAGE,
        )
