"""`ac-bridge record`, `replay` and `record-lap`: the game's pages into a file and back, and a track from a driven lap.

None of them touches the controls.
"""

import errno
import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from bridge.assetto_corsa.files.fast_lane import NoCircuit
from bridge.assetto_corsa.files.install import InstallError, find_install, installed_track
from bridge.assetto_corsa.reading.layout import text
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.reading.patience import PatientPages
from bridge.assetto_corsa.recording.lap_recorder import ONLY_CIRCUITS, LapRecorder, lap_sample, track_from_lap
from bridge.assetto_corsa.recording.playing import play, recorded
from bridge.assetto_corsa.recording.recording import RecordingDamaged, RecordingReader, RecordingWriter
from bridge.commands.options import give_up
from racing.car import FloatArray
from racing.track import Track, TrackError
from runtime.exit_codes import ExitCode
from runtime.signals import stop_on_signals

_POLL_SECONDS = 0.005


def record(
    file: Annotated[Path, typer.Argument(help="The recording to write; an existing one is replaced.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long; otherwise with Ctrl-C.")] = None,
) -> None:
    """Record the game's shared memory, without the player's names, for a bug report. A few MiB a minute."""
    stop, until = stop_on_signals(), time.monotonic() + (math.inf if seconds is None else seconds)
    try:
        records = recorded(lambda: stop.is_set() or time.monotonic() >= until)
        # No game is found out before a file is made.
        if (first := next(records, None)) is None:
            give_up("Nothing was recorded.")
        count = 0
        with RecordingWriter(file) as writer:
            try:
                for page in chain((first,), records):
                    writer.write(page)
                    count += 1
            except GameError as error:
                typer.echo(f"The recording ends here: {error}", err=True)
    except GameError as error:
        give_up(str(error), ExitCode.FAILED)
    except OSError as error:
        give_up(f"{file} cannot be written: {error.strerror}. Name another file, or free the disk.")
    typer.echo(f"Recorded {count} pages into {file} ({writer.bytes_written / 2**20:.1f} MiB).")


def replay(
    file: Annotated[Path, typer.Argument(help="A recording that `ac-bridge record` wrote.")],
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at its end, until Ctrl-C.")] = False,
) -> None:
    """Play a recording into shared memory, at its own pace, as if the game ran here."""
    stop = stop_on_signals()
    try:
        reader = RecordingReader(file)
        typer.echo(f"Playing {file}.")
        play(reader, stop.is_set, loop)
    except (GameError, RecordingDamaged) as error:
        give_up(str(error), ExitCode.FAILED)
    typer.echo("It ends early: the recorder was killed." if reader.cut_short else "Played.")


def record_lap(
    out: Annotated[Path, typer.Argument(help="The track file (CSV) to write, for --track.")],
    left: Annotated[float, typer.Option(min=1.5, max=50.0, help="Road to the left of the driven line, m.")] = 4.0,
    right: Annotated[float, typer.Option(min=1.5, max=50.0, help="Road to the right of the driven line, m.")] = 4.0,
) -> None:
    """Make a track from a lap that you drive, along the middle of the road, where the game has no fast_lane.ai."""
    _check_writable(out)
    stop = stop_on_signals()
    try:
        with GamePages(csp=False) as game:
            pages = PatientPages(game)
            while (static := pages.static()) is None and not stop.is_set():
                time.sleep(_POLL_SECONDS)
            if static is not None:
                _check_circuit(text(static.track), text(static.trackConfiguration))
            lap = _driven_lap(pages, stop.is_set)
        if lap is None or static is None:
            give_up("No lap was driven to its end, so there is no track.", ExitCode.INTERRUPTED)
        track = track_from_lap(lap, text(static.track) or "lap", left, right)
    except (GameError, TrackError) as error:
        give_up(str(error), ExitCode.FAILED)
    _keep(track, out)
    typer.echo(f"{out}: {track.length:.0f} m. Give --track {out} to drive.")


def _check_writable(out: Path) -> None:
    """Before the lap is driven, not behind it; gives up with a sentence."""
    try:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if out.exists() and not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".record-lap-"):
            pass
    except OSError as error:
        give_up(f"{out} cannot be written: {error.strerror}. Name another file.")


def _check_circuit(track: str, layout: str) -> None:
    """Raises NoCircuit where the game's own line says that no lap will ever end."""
    try:
        installed_track(find_install(), track, layout)
    except NoCircuit:
        raise
    except (TrackError, InstallError):
        # Which is why the lap is driven.
        return


def _keep(track: Track, out: Path) -> None:
    """Write the track; where that fails now, elsewhere: a driven lap must not be lost. Gives up with what was done."""
    try:
        track.to_csv(out)
        return
    except OSError as error:
        why = f"{out} cannot be written any more: {error.strerror}."
    for folder in (Path.home(), Path(tempfile.gettempdir())):
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=f"{out.stem}-", suffix=".csv", dir=folder)
            os.close(descriptor)
            track.to_csv(name)
            give_up(f"{why} The track is in {name} instead: move it, or give --track {name}.", ExitCode.FAILED)
    give_up(f"{why} Nor is there room elsewhere, so the lap is lost. Free the disk.", ExitCode.DISK_FULL)


def _driven_lap(pages: PatientPages, stopped: Callable[[], bool]) -> FloatArray | None:
    typer.echo(f"Drive over the line and one lap to it again, along the middle of the road; {ONLY_CIRCUITS}.")
    recorder = LapRecorder()
    told = ""
    while not stopped():
        snapshot = pages.read()
        sample = None if snapshot is None else lap_sample(snapshot)
        if sample is not None and (lap := recorder.add(sample)) is not None:
            return lap
        state = "The lap has begun." if recorder.recording else recorder.given_up
        if state != told:
            told = state
            typer.echo(state)
        time.sleep(_POLL_SECONDS)
    return None
