"""`make demo`: the whole system on this machine, until a car that was taught by it laps cleanly on its own.

Starts an S3 server, the receiver, the trainer and a bridge with a simulated car as processes of their own, which talk
as they will between a gaming PC and a spot instance. Ends with exit code 0 when the learned policy has driven
three clean laps in a row, with 1 and a sentence when it has not in time; whichever way it ends, no process is left.
"""

import logging
import os
import shutil
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
from scripts.demo.crew import Crew, EndedEarly
from scripts.demo.judge import LAPS_IN_A_ROW, Judge
from train_cloud.environment import bridge_options, task_config
from train_cloud.object_store import s3_client
from train_cloud.run_config import RunConfig
from train_cloud.run_folder import files
from train_cloud.run_folder.keys import METRICS
from train_cloud.store import Store
from wire.pairing import new_token

START_SECONDS = 90.0
"""A process that is not up after this time never will be."""
CLOSING_SECONDS = 10.0
"""What the orderly end of every process, the picture and the table take on a busy machine."""

MARKER = "made-by-the-demo.txt"
"""Only a folder with this file in it is emptied by the next demo."""

_log = logging.getLogger("demo")


class UnusableFolder(Exception):
    """The outcome cannot go where it was told to; the text is a sentence."""


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
        """Return when `ready`; raise when told to stop, when a process ends, or after START_SECONDS."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            crew.check()
            if self.stop.wait(0.1):
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what} was not up after {START_SECONDS:.0f} s; the logs are in {self.folder}/logs.")


def start_processes(crew: Crew, scene: Scene) -> RunConfig:
    """S3, receiver, trainer, bridge, in the order in which one needs the other; returns the run's configuration."""
    # Any credentials will do for the demo's S3 server; the person's own must not be looked for, nor sent anywhere.
    os.environ.update(AWS_ACCESS_KEY_ID="demo", AWS_SECRET_ACCESS_KEY="demo")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    url, pairing = scene.folder / "s3-url.txt", scene.folder / "instance" / files.PAIRING
    crew.start("s3", "scripts.demo.s3_server", str(url))
    scene.wait_for(crew, "The S3 server", url.exists)
    run = demo_settings.demo_run(url.read_text(encoding="utf-8"))
    s3_client(run.bucket).create_bucket(Bucket=run.bucket.name)
    config, token = scene.folder / files.RUN_CONFIG, scene.folder / files.TOKEN
    config.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2))
    write_private(token, new_token().encode())
    common = ["--config", str(config), "--folder", str(pairing.parent)]
    crew.start("receiver", "train_cloud.receiver", *common, environment={files.TOKEN_VARIABLE: str(token)})
    crew.start("trainer", "train_cloud.trainer", *common)
    scene.wait_for(crew, "The receiver", pairing.exists)
    car = ["--car", "simulated", "--cars", str(scene.cars), "--track", scene.track_spec]
    car += ["--spool", str(scene.folder / "spool"), *bridge_options(run).split()]
    uri = pairing.read_text(encoding="utf-8").strip()
    crew.start("bridge", "bridge", "drive", *car, environment={"AC_BRIDGE_URI": uri})
    return run


def watch_it_learn(crew: Crew, scene: Scene, store: Store, judge: Judge) -> None:
    """Show how far it is until a policy has passed, or until the time is over; raise when none has, or one ends."""
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
                    f"No policy drove {LAPS_IN_A_ROW} clean laps in a row within {duration(scene.seconds)}. A busy "
                    f"machine needs longer: try again with MINUTES=20. The logs are in {scene.folder / 'logs'}."
                )
            progress.update(
                store.total_steps(),
                updates=store.progress().updates,
                clean_laps=f"{judge.latest.clean if judge.latest else 0}/{LAPS_IN_A_ROW}",
                time_left=duration(scene.time_left()),
            )


def play(scene: Scene) -> None:
    """The demo itself, from the first process to the table. Raises DemoFailed, EndedEarly, KeyboardInterrupt."""
    with Crew(scene.folder / "logs") as crew:
        run = start_processes(crew, scene)
        store = Store(scene.folder / "instance" / files.STORE)
        judge = Judge(store, scene.track, task_config(run), scene.whole_time)
        judge.start()
        failure: DemoFailed | None = None
        try:
            watch_it_learn(crew, scene, store, judge)
        except DemoFailed as error:
            failure = error
        # In this order everything that was driven is trained on no more, but saved: the last experience by the
        # receiver, the last checkpoint and metrics by the trainer.
        for name in ("bridge", "trainer", "receiver"):
            crew.end(name)
        metrics = demo_report.demo_metrics(judge, run, scene.track_spec, time.monotonic() - scene.began)
        (scene.folder / METRICS).write_bytes(msgspec.json.format(msgspec.json.encode(metrics), indent=2))
        if best := judge.passed or judge.latest:
            demo_report.draw_lap(scene.folder / "lap.png", scene.track, best.drive, judge.reference)
        demo_report.print_table(metrics)
        print(f"The lap is drawn in {scene.folder / 'lap.png'}, the figures are in {scene.folder / METRICS}.")
    if failure is not None:
        raise failure


def fresh_folder(folder: Path) -> None:
    """Make the folder, or empty that of an earlier demo; raises UnusableFolder, above all for one of somebody else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = list(folder.iterdir())
        if held and not (folder / MARKER).is_file():
            raise UnusableFolder(
                f"The folder {folder} holds something that no demo wrote. Name another one with --output, or delete it."
            )
        # Written first and kept: a demo that is killed right here finds its own folder again.
        (folder / MARKER).write_text("The next `make demo` into this folder deletes everything in it.\n", "utf-8")
        for entry in held:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != MARKER:
                entry.unlink()
        (folder / "instance").mkdir()
    except OSError as error:
        raise UnusableFolder(
            f"The outcome cannot go into {folder}: {error.strerror or error}. Name another folder with --output."
        ) from error


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
    output: Annotated[Path, typer.Option(help="where the outcome goes")] = Path("demo-output"),
) -> None:
    """Teach a simulated car to lap on this machine, through every part of the system."""
    began = time.monotonic()
    configure_logging("demo")
    stop = stop_on_signals()
    try:
        # The track first: a slip in its name must not cost the last demo's outcome.
        scene = Scene(output, track, parse_track(track), cars, minutes * 60.0, whole_time, began, stop)
        fresh_folder(output)
        play(scene)
        code = ExitCode.OK
    except KeyboardInterrupt:
        print("Stopped; every process of the demo has ended.", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except (TrackError, UnusableFolder) as error:
        print(error, file=sys.stderr)
        code = ExitCode.USAGE
    except (DemoFailed, EndedEarly) as error:
        print(error, file=sys.stderr)
        code = ExitCode.FAILED
    # The judge may still be driving in its thread: it holds nothing that needs an orderly end.
    _log.info("demo ended", extra=fields(code=int(code), seconds=time.monotonic() - began))
    raise typer.Exit(int(code))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    app()
