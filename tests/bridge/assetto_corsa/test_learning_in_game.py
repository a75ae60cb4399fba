"""SAC learns through the game as it does through the simulator: one trainer, several PCs, the same settings.

The simulator's side is marked slow: it is there to be compared with, and tests/chaos shows learning in it, too. What
one PC learns when laps were shown to it first is the short form of `make bench-game`.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from experience.codec import decode_batch
from experience.environment import racing
from racing.track import parse_track
from scripts.bench.game import Shown, lesson
from scripts.demo import settings as demo_settings
from tests.support.fake_game import FakeGame
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import RECEIVER, TRAINER, Site
from tests.support.skill import next_versions, skills
from tests.support.waiting import wait_until
from train_cloud.store import Store

__all__ = ["s3"]
pytestmark = [pytest.mark.game, pytest.mark.timeout(1200)]

PCS = 3
STEPS = 8_000
MOST_STEPS = 24_000
"""Most runs have learned after STEPS; one with an unlucky start may drive on until here."""
UPDATES_PER_STEP = 3.0
VERSIONS = 3
LEARNING_SECONDS = 700.0
QUARTER = STEPS // 4
FIRST_LAP_SECONDS = 600.0
GAIN = 3.0
"""Reward an episode: one that goes 50 m farther has 5 more, and an untrained policy gets about 0."""


@dataclass(frozen=True)
class Learned:
    """What came of a run: rewards an episode while it was driven, and metres of its policies in the simulator."""

    early_reward: float
    late_reward: float
    untrained_metres: float
    trained_metres: float


def learned(folder: Path, s3: MotoS3, in_game: bool) -> Learned:
    """Drive STEPS steps with PCS cars while a trainer learns from them, and on until it shows, up to MOST_STEPS."""
    settings = msgspec.to_builtins(demo_settings.demo_run(s3.bucket))
    for name in ("run_id", "bucket"):
        del settings[name]
    settings |= {"learning_starts": 500, "updates_per_step": UPDATES_PER_STEP, "max_lead_steps": 200}
    with ExitStack() as opened:
        site = opened.enter_context(Site(folder / f"run-{folder.name}", s3, **settings))
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        untrained = next_versions(site, 1)
        bridges = []
        for number in range(PCS):
            pc = folder / f"pc-{number}"
            arguments: tuple[object, ...] = ("--car", "simulated", "--track", demo_settings.TRACK)
            environment = {}
            if in_game:
                game = opened.enter_context(FakeGame(pc, demo_settings.TRACK))
                game.live()
                arguments, environment = ("--car", "assetto-corsa", "--ac-root", game.root), game.environment
            spool = ("--rate", "20", "--seed", number, "--spool", pc / "spool")
            bridges.append(f"bridge-{number}")
            site.start(bridges[-1], "bridge", "drive", *arguments, *spool, environment=environment)
        store = site.store()
        opened.callback(store.close)

        def driven() -> bool:
            """Whether the updates of enough steps were made, and the rewards tell of them."""
            steps = store.total_steps()
            if steps < STEPS or store.progress().updates < UPDATES_PER_STEP * STEPS:
                return False
            early, late = first_and_last(episode_rewards(store), steps)
            return late > early + GAIN or steps >= MOST_STEPS

        wait_until(driven, f"{STEPS} to {MOST_STEPS} steps and their updates", LEARNING_SECONDS, every=2.0)
        early, late = first_and_last(episode_rewards(store), store.total_steps())
        newest = store.latest_weights()
        assert newest is not None
        trained = [newest, *next_versions(site, VERSIONS - 1, after=newest.serial)]
        site.check_running(RECEIVER, TRAINER, *bridges)
        assert len({stream.bridge for stream in store.streams().values()}) == PCS
    track = parse_track(demo_settings.TRACK)
    metres = [float(np.mean(skills(versions, track))) for versions in (untrained, trained)]
    return Learned(early, late, *metres)


def first_and_last(rewards: list[tuple[int, float]], steps: int) -> tuple[float, float]:
    """Mean rewards of the episodes that ended in the first QUARTER steps, and in the last of so many."""
    early = [reward for at, reward in rewards if at < QUARTER]
    late = [reward for at, reward in rewards if at >= steps - QUARTER]
    return float(np.mean(early)), float(np.mean(late))


def episode_rewards(store: Store) -> list[tuple[int, float]]:
    """The step at which each episode ended, counted over all cars, and its reward."""
    found, steps = [], 0
    for row in store.read_batches(0, 10**6):
        batch = decode_batch(row.blob, racing().spaces.layout)
        found += [(steps + end.row, end.total_reward) for end in batch.episodes]
        steps += batch.steps
    return found


@pytest.mark.parametrize("place", ["game", pytest.param("simulator", marks=pytest.mark.slow)])
def test_what_several_pcs_drive_teaches(tmp_path: Path, s3: MotoS3, place: str) -> None:
    result = learned(tmp_path / place, s3, in_game=place == "game")
    print(f"{place}: {result}")
    assert result.late_reward > result.early_reward + GAIN
    assert result.trained_metres > 1.3 * result.untrained_metres


def test_one_pc_that_was_shown_laps_learns_to_lap(tmp_path: Path, s3: MotoS3) -> None:
    with lesson(tmp_path, s3, demo_settings.TRACK, Shown()) as learning:
        found: list[Any] = []

        def lapped() -> bool:
            """Whether a policy, explored with or judged, has driven a clean lap; those that were shown do not count."""
            found.append(learning.look())
            return bool(found[-1].get("clean_laps", 0) > 0)

        wait_until(lapped, "a clean lap of a policy", FIRST_LAP_SECONDS, every=1.0)
        print(f"{learning.minutes:.1f} minutes, {found[-1]['steps'] - found[-1]['demonstrations']} steps")
        assert found[-1]["demonstrations"] > found[-1]["human_lap_s"] * 20.0
        assert found[-1]["judged"]["newest"] is not None
