"""`make demo`: the whole system on this machine, until a car that was taught by it laps cleanly on its own.

Starts the receiver, the trainer, the dashboard and a bridge with a simulated car as processes of their own, which talk
as they will between a gaming PC and a spot instance; the run's data goes into a folder in place of a bucket. Ends with
exit code 0 when two versions of the policy, one after the other, have driven three clean laps in a row from each of
three starts, with 1 and a sentence when they have not in time; whichever way it ends, no process is left.
Where nothing moves any more, it says so with the last words of each process.
"""

import errno
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from racing.track import Track, parse_track
from racing.track_file import TrackError
from runtime.exit_codes import ExitCode
from runtime.files import write_private
from runtime.logs import configure_logging, fields
from runtime.progress import Progress, duration
from runtime.signals import stop_on_signals
from scripts.demo import report as demo_report
from scripts.demo import settings as demo_settings
from scripts.demo.folder import fresh_folder
from scripts.demo.judge import LAPS_IN_A_ROW, Judge
from scripts.processes.crew import Crew, EndedEarly
from scripts.processes.folder import UnusableFolder
from scripts.processes.telling import print_link, say_that_it_ends
from train_cloud.environment import bridge_options, task_config
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.run_folder import files
from train_cloud.run_folder.keys import METRICS
from train_cloud.store import Store, StoreError
from wire.pairing import new_token

START_SECONDS = 300.0
"""A process that is not up after this time never will be."""
STANDSTILL_SECONDS = 30.0
"""When nothing has moved for so long, that is told, and again after the same time."""
CLOSING_SECONDS = 10.0
"""What the orderly end of every process, the picture and the table take on a busy machine."""

_log = logging.getLogger("demo")


class DemoFailed(Exception):
    """The demo did not do what it promises; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one demo works with."""

    folder: Path
    track_spec: str
    track: Track
    cars: int
    seconds: float
    whole_time: bool
    began: float
    stop: threading.Event

    def time_left(self) -> float:
        """Seconds until the learning must stop, so that the whole demo ends in time."""
        return self.began + self.seconds - CLOSING_SECONDS - time.monotonic()

    def wait_for(self, crew: Crew, what: str, ready: Callable[[], bool]) -> None:
        """Return when `ready`; raise when told to stop, when a process ends, or when it takes too long."""
        standstill = Standstill(crew)
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            crew.check()
            if self.stop.wait(0.1):
                raise KeyboardInterrupt
            standstill.look(what)
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what} was not up after {START_SECONDS:.0f} s; the logs are in {self.folder}/logs.")


class Standstill:
    """Says on standard error when what is looked at has not changed for STANDSTILL_SECONDS, with the last words."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._seen: object = None
        self._moved = self._told = time.monotonic()

    def look(self, now: object) -> None:
        """`now` is how things stand; a text is what is waited for."""
        at = time.monotonic()
        if now != self._seen:
            self._seen, self._moved, self._told = now, at, at
        elif at - self._told >= STANDSTILL_SECONDS:
            self._told = at
            what = f"{now} is not up yet" if isinstance(now, str) else "Nothing has moved"
            words = self._crew.all_last_words()
            print(f"{what} after {at - self._moved:.0f} s. The last words of each process:\n{words}", file=sys.stderr)


def start_processes(crew: Crew, scene: Scene) -> RunConfig:
    """Everything, in the order in which one needs the other; returns the run's configuration."""
    pairing = scene.folder / "instance" / files.PAIRING
    run = demo_settings.demo_run(BucketConfig(folder=str(scene.folder.absolute() / "bucket")))
    config, token = scene.folder / files.RUN_CONFIG, scene.folder / files.TOKEN
    config.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2))
    write_private(token, new_token().encode())
    common = ["--config", str(config), "--folder", str(pairing.parent)]
    crew.start("receiver", "train_cloud.receiver", *common, environment={files.TOKEN_VARIABLE: str(token)})
    crew.start("trainer", "train_cloud.trainer", *common)
    # On a port that the system chooses, so that two demos can run at once; and no browser warns of a certificate.
    crew.start("dashboard", "train_cloud.dashboard", *common, "--listen-port", "0", "--plain")
    scene.wait_for(crew, "The receiver", pairing.exists)
    car = ["--car", "simulated", "--cars", str(scene.cars), "--track", scene.track_spec]
    car += ["--spool", str(scene.folder / "spool"), *bridge_options(run).split()]
    uri = pairing.read_text(encoding="utf-8").strip()
    crew.start("bridge", "bridge", "drive", *car, environment={"AC_BRIDGE_URI": uri})
    scene.wait_for(crew, "The dashboard", (pairing.parent / files.DASHBOARD_URL).exists)
    print_link(pairing.parent)
    return run


def watch_it_learn(crew: Crew, scene: Scene, store: Store, judge: Judge) -> None:
    """Show how far it is until a policy has passed, or until the time is over; raise when none has, or one ends."""
    standstill = Standstill(crew)
    with Progress("learning to lap") as progress:
        while judge.passed is None or scene.whole_time:
            crew.check()
            if judge.error is not None:
                raise DemoFailed(f"The learned policy could not be judged: {judge.error}") from judge.error
            if scene.stop.wait(0.25):
                raise KeyboardInterrupt
            if scene.time_left() <= 0:
                if judge.passed is not None:
                    return
                raise DemoFailed(
                    f"No policy drove {LAPS_IN_A_ROW} clean laps in a row, and the next one too, from every start "
                    f"within {duration(scene.seconds)}. A busy "
                    f"machine needs longer: try again with MINUTES=20. The logs are in {scene.folder / 'logs'}."
                )
            steps, updates = store.total_steps(), store.progress().updates
            standstill.look((steps, updates))
            progress.update(
                steps,
                updates=updates,
                clean_laps=f"{judge.latest.clean if judge.latest else 0}/{LAPS_IN_A_ROW}",
                time_left=duration(scene.time_left()),
            )


def play(scene: Scene) -> None:
    """The demo itself, from the first process to the table, which an interrupted one shows, too.

    Raises DemoFailed, EndedEarly, KeyboardInterrupt, StoreError, OSError.
    """
    with Crew(scene.folder / "logs") as crew:
        run = start_processes(crew, scene)
        store = Store(scene.folder / "instance" / files.STORE)
        judge = Judge(store, scene.track, task_config(run), scene.whole_time)
        judge.start()
        failure: DemoFailed | KeyboardInterrupt | None = None
        try:
            watch_it_learn(crew, scene, store, judge)
        except (DemoFailed, KeyboardInterrupt) as error:
            failure = error
        # In this order everything that was driven is trained on no more, but saved: the last experience by the
        # receiver, the last checkpoint and metrics by the trainer.
        for name in ("bridge", "trainer", "receiver"):
            crew.end(name)
        best = judge.passed or judge.latest
        drive = judge.drive(best) if best else None
        metrics = demo_report.demo_metrics(judge, best, drive, run, scene.track_spec, time.monotonic() - scene.began)
        (scene.folder / METRICS).write_bytes(msgspec.json.format(msgspec.json.encode(metrics), indent=2))
        if drive is not None:
            demo_report.draw_lap(scene.folder / "lap.png", scene.track, drive, judge.reference)
        demo_report.print_table(metrics)
        print(f"The lap is drawn in {scene.folder / 'lap.png'}, the figures are in {scene.folder / METRICS}.")
        if failure is not None:
            raise failure


def demo(
    track: Annotated[
        str, typer.Option(envvar="AC_DEMO_TRACK", help="seed:NUMBER, seed:NUMBER:METRES or a CSV")
    ] = demo_settings.TRACK,
    minutes: Annotated[
        float, typer.Option(envvar="AC_DEMO_MINUTES", min=0.1, help="longest time that it may take")
    ] = demo_settings.MINUTES,
    whole_time: Annotated[
        bool, typer.Option(envvar="AC_DEMO_WHOLE_TIME", help="learn on until the time is over")
    ] = False,
    cars: Annotated[int, typer.Option(min=1, max=64, help="simulated cars at once")] = demo_settings.CARS,
    output: Annotated[Path, typer.Option(envvar="AC_DEMO_OUTPUT", help="where the outcome goes")] = Path("demo-output"),
) -> None:
    """Teach a simulated car to lap on this machine, through every part of the system."""
    began = time.monotonic()
    configure_logging("demo")
    stop = stop_on_signals()
    say_that_it_ends(stop)
    try:
        # The track first: a slip in its name must not cost the last demo's outcome.
        scene = Scene(output, track, parse_track(track), cars, minutes * 60.0, whole_time, began, stop)
        with fresh_folder(output):
            play(scene)
        code = ExitCode.OK
    except KeyboardInterrupt:
        print("Stopped; every process of the demo has ended.", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except TrackError as error:
        print(error, file=sys.stderr)
        code = ExitCode.USAGE
    except UnusableFolder as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except (DemoFailed, EndedEarly, StoreError) as error:
        print(error, file=sys.stderr)
        code = ExitCode.FAILED
    except OSError as error:
        full = error.errno == errno.ENOSPC
        why = "its disk is full; free some space, or name another folder with OUTPUT=" if full else error.strerror
        print(f"The demo cannot go on in {output}: {why or error}. The logs are in {output}/logs.", file=sys.stderr)
        code = ExitCode.DISK_FULL if full else ExitCode.FAILED
    # The judge may still be driving in its thread: it holds nothing that needs an orderly end.
    _log.info("demo ended", extra=fields(code=int(code), seconds=time.monotonic() - began))
    raise typer.Exit(int(code))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    app()
