"""SAC learns through the game as it does through the simulator: one trainer, several PCs that drive in real time."""

from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest

from racing.track import parse_track
from scripts import demo_settings
from tests.support.fake_game import FakeGame
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import RECEIVER, TRAINER, Site
from tests.support.skill import next_versions, skills
from tests.support.waiting import wait_until
from train_cloud.store import WeightsRow

__all__ = ["s3"]
pytestmark = [pytest.mark.game, pytest.mark.timeout(900)]

PCS = 3
STEPS = 6_000
UPDATES_PER_STEP = 2.0
VERSIONS = 3
LEARNING_SECONDS = 420.0


def learned(folder: Path, s3: MotoS3, in_game: bool) -> tuple[list[WeightsRow], list[WeightsRow]]:
    """The first version of a fresh run, and the last ones after STEPS steps from PCS cars and the updates on them."""
    settings = msgspec.to_builtins(demo_settings.demo_run(s3.endpoint_url))
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
        updates = UPDATES_PER_STEP * STEPS
        wait_until(
            lambda: store.total_steps() >= STEPS and store.progress().updates >= updates,
            f"{STEPS} steps and {updates:.0f} updates",
            LEARNING_SECONDS,
            every=0.5,
        )
        newest = store.latest_weights()
        assert newest is not None
        last = [newest, *next_versions(site, VERSIONS - 1, after=newest.serial)]
        site.check_running(RECEIVER, TRAINER, *bridges)
        assert len({stream.bridge for stream in store.streams().values()}) == PCS
        return untrained, last


def test_what_is_driven_in_the_game_teaches_as_the_simulator_does(tmp_path: Path, s3: MotoS3) -> None:
    track = parse_track(demo_settings.TRACK)
    found = {}
    for place in ("simulator", "game"):
        untrained, last = learned(tmp_path / place, s3, in_game=place == "game")
        found[place] = np.mean(skills(untrained, track)), np.mean(skills(last, track))
        print(f"{place}: mean distance {found[place][0]:.0f} m untrained, {found[place][1]:.0f} m after {STEPS} steps")
    before, after = found["game"]
    assert after >= 2.0 * before
