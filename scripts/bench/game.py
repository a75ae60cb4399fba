"""`python -m scripts.bench.game`: minutes until one car in the game has learned three clean laps, in real time.

A person's laps in the fake game of tests/ are recorded as pages, and `ac-bridge demonstrate --recording` brings them
into the run's stream; then `ac-bridge drive` explores in the one fake game at 20 steps a second. Game, bridges,
receiver and trainer are processes of their own; the bucket is moto's. It has learned when the product says so: a
version that was sent to be judged has driven three clean laps in a row without exploration.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experience.policy_driver import LAPS
from racing.evaluation import drive_laps, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from scripts.bench.measuring import head, options, row
from scripts.bench.setting import setting
from tests.support.fake_game import FakeGame
from tests.support.filmed_game import Filmed
from tests.support.moto_s3 import BUCKET, MotoS3
from tests.support.site import BRIDGE, RECEIVER, SMALL, TRAINER, Site
from train_cloud.run_config import defaults_of
from train_cloud.run_folder.keys import METRICS
from train_cloud.trainer.verdict import JudgedBy

TRACK: Final = "seed:7:1200"
GOAL_MINUTES: Final = 15.0
SETTINGS: Final[dict[str, Any]] = {"save_frequency": 500}
"""Of run.json, where they are not racing's defaults: a policy is judged every 25 s."""
DEMONSTRATION = "demonstration"
_LOOK_SECONDS = 1.0
_SHOWN_SECONDS = 60.0
_BELOW_THE_BRIDGE = 5
"""Real-time priority; the thread that drives has a higher one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The demonstration: so many laps at this share of the reference driver's speed."""

    laps: int = 2
    pace: float = 0.9


class Lesson:
    """A car that learns in the game, from when its demonstration begins to be sent."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._began = time.monotonic()
        self._judged: list[dict[str, Any]] = []

    @property
    def minutes(self) -> float:
        """Of real time so far."""
        return (time.monotonic() - self._began) / 60.0

    def look(self) -> dict[str, Any]:
        """The run's metrics in the bucket, {} before the first; AssertionError where a process has ended."""
        self.site.check_running(RECEIVER, TRAINER, BRIDGE)
        metrics: dict[str, Any] = json.loads(self.site.objects.find(METRICS) or b"{}")
        return metrics

    def new_judgement(self, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
        """The newest judgement by the game, once: clean laps in a row from its one start, the best in s."""
        newest: dict[str, Any] | None = metrics.get("judged", {}).get("newest")
        if newest is None or newest["by"] != JudgedBy.BRIDGES or newest in self._judged:
            return None
        self._judged.append(newest)
        return newest


@contextmanager
def lesson(
    folder: Path, s3: MotoS3, track: str, shown: Shown, seed: int = 0, settings: Mapping[str, Any] = SETTINGS
) -> Iterator[Lesson]:
    """Everything runs until the block ends; `folder` is empty."""
    film = folder / "film"
    film.mkdir(parents=True)
    filmed = Filmed(film, parse_track(track), shown.pace)
    filmed.drive_laps(shown.laps)
    recording = filmed.file()
    filmed.game.close()
    task = defaults_of("racing", "sac")
    changes = {name: value for name, value in task.items() if name in SMALL} | {"seed": seed, **settings}
    with ExitStack() as opened:
        site = opened.enter_context(Site(folder / f"game-{seed}", s3, **changes))
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        site.wait_for_trainer()
        game = opened.enter_context(FakeGame(folder / "pc", track))
        with suppress(PermissionError):
            # On a gaming PC it need not share the processor with a trainer: each hiccup of 0.1 s ends an episode.
            os.sched_setscheduler(game.process.pid, os.SCHED_RR, os.sched_param(_BELOW_THE_BRIDGE))
        pc: tuple[object, ...] = ("--ac-root", game.root, "--spool", folder / "pc" / "spool")
        learning = Lesson(site)
        site.start(DEMONSTRATION, "bridge", "demonstrate", "--recording", recording, *pc)
        assert site.wait_for_end(DEMONSTRATION, _SHOWN_SECONDS) == ExitCode.OK, site.log(DEMONSTRATION)
        game.live()
        drive = ("--car", "assetto-corsa", "--rate", "20", "--seed", seed, *pc)
        site.start(BRIDGE, "bridge", "drive", *drive, environment=game.environment)
        yield learning


def main() -> ExitCode:
    """Learn once for each seed and print; FAILED where it took longer than GOAL_MINUTES."""
    wanted = options(
        __doc__,
        track=(TRACK, "as the bridge names it"),
        laps=(Shown().laps, "demonstrated laps"),
        pace=(Shown().pace, "of the demonstrations, share of the reference driver's"),
        seeds=((0,), "seeds, one after the other"),
        minutes=(2 * GOAL_MINUTES, "after which it is given up"),
        settings=(json.dumps(SETTINGS), "fields of run.json that are not its defaults"),
    )
    track = parse_track(wanted.track)
    reference = drive_laps(reference_actions(ReferenceDriver(track)), track, 2).laps[-1].time
    shown, missed = Shown(wanted.laps, wanted.pace), False
    print(setting("numpy", "torch") + f"; the reference driver laps in {reference:.1f} s\n")
    print(head("seed", "minutes", "steps", "updates", "clean laps", "best lap s", "laps while exploring", "load"))
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    server = MotoS3()
    server.client().create_bucket(Bucket=BUCKET)
    for seed in wanted.seeds:
        with (
            tempfile.TemporaryDirectory() as folder,
            lesson(Path(folder), server, wanted.track, shown, seed, json.loads(wanted.settings)) as learning,
        ):
            missed |= not _learns(learning, seed, wanted.minutes)
    server.stop()
    return ExitCode.FAILED if missed else ExitCode.OK


def _learns(learning: Lesson, seed: int, most_minutes: float) -> bool:
    """Print a row for each judgement until one has LAPS clean laps; whether that was within GOAL_MINUTES."""
    while learning.minutes < most_minutes:
        metrics = learning.look()
        judged = learning.new_judgement(metrics)
        if judged is not None:
            clean, best = judged["clean_laps"][0], judged["best_lap_s"]
            driven = f"{metrics['clean_laps']} clean of {metrics['laps']}"
            steps = metrics["steps"] - metrics["demonstrations"]
            minutes, load = f"{learning.minutes:.1f}", f"{os.getloadavg()[0]:.1f}"
            print(row(seed, minutes, steps, metrics["updates"], clean, best or "-", driven, load), flush=True)
            if clean >= LAPS:
                return learning.minutes <= GOAL_MINUTES
        time.sleep(_LOOK_SECONDS)
    return False


if __name__ == "__main__":
    sys.exit(main())
