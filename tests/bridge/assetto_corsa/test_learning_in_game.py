"""SAC learns through the game as it does through the simulator: the same trainer, and a bridge that drives the game."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from racing.track import parse_track
from scripts import demo_settings
from tests.chaos.test_learning_goes_on import next_versions, skills, wait_for_updates
from tests.support.fake_game import FakeGame
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site

__all__ = ["s3"]

UPDATES = 3_600
LAST_VERSIONS = 3


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="the fake game's pages are files here")
def test_a_policy_gets_farther_for_what_was_driven_in_the_game(
    tmp_path: Path, s3: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.to_builtins(demo_settings.demo_run(s3.endpoint_url))
    for name in ("run_id", "bucket"):
        del settings[name]
    # The game drives twenty steps a second, not thousands: each is learned from more often.
    settings |= {"learning_starts": 200, "updates_per_step": 4.0}
    with FakeGame(tmp_path, demo_settings.TRACK) as game, Site(tmp_path / "site", s3, **settings) as site:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        first = next_versions(site, 1)
        car = ("--car", "assetto-corsa", "--ac-root", game.root)
        site.start(BRIDGE, "bridge", "drive", *car, "--rate", "20", "--spool", site.spool)
        wait_for_updates(site, UPDATES)
        store = site.store()
        newest = store.latest_weights()
        store.close()
        assert newest is not None
        last = [newest, *next_versions(site, LAST_VERSIONS - 1, after=newest.serial)]
        site.check_running(RECEIVER, TRAINER, BRIDGE)
    track = parse_track(demo_settings.TRACK)
    before, after = skills(first, track), skills(last, track)
    print(f"mean distances in m: {before} at first, {after} after {UPDATES} updates")
    assert np.mean(after) > before[0]
