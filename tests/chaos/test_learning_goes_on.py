"""A run that is interrupted in the middle of learning goes on learning: what it knew is there, and grows."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from racing.track import parse_track
from scripts.demo import settings as demo_settings
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site
from tests.support.skill import next_versions, skills
from tests.support.waiting import wait_until
from train_cloud.store import WeightsRow

__all__ = ["s3"]

CARS = 16
UPDATES_BEFORE = 4_000
UPDATES_AFTER = 5_000
UPDATES_TO_GROW = 60_000
"""So long the run may take after the restart until it drives farther than each version before the kill: minutes."""
VERSIONS = 5
FIRST_VERSIONS = 3
KEPT_AT_ONCE = 0.6
"""Share of the distance that the first versions after the restart must reach, of that of the last before the kill.

They come from a checkpoint of up to `save_frequency` steps earlier, and the mean distance of a policy that is still
learning goes up and down from one version to the next (150 to 320 m at this point). A trainer that had
forgotten what it knew would be far below: an untrained network gets 45 m.
"""
LEARNING_SECONDS = 240.0


def newest_serial(site: Site) -> int:
    """The serial of the newest version in the store."""
    store = site.store()
    try:
        row = store.latest_weights()
        assert row is not None
        return row.serial
    finally:
        store.close()


def windows(site: Site, updates: int) -> Iterator[list[WeightsRow]]:
    """VERSIONS versions after one another, again and again until the trainer has made `updates` updates in all."""
    store = site.store()
    try:
        while store.progress().updates < updates:
            yield next_versions(site, VERSIONS, after=newest_serial(site))
    finally:
        store.close()


def wait_for_updates(site: Site, count: int) -> None:
    """Wait until the trainer has made `count` updates in all."""
    store = site.store()
    try:
        wait_until(lambda: store.progress().updates >= count, f"{count} updates are made", LEARNING_SECONDS)
    finally:
        store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trainer_killed_while_it_learns_is_not_set_back(tmp_path: Path, s3: MotoS3) -> None:
    settings = msgspec.to_builtins(demo_settings.demo_run(s3.bucket)) | {"save_frequency": 1_000}
    for name in ("run_id", "bucket"):
        del settings[name]
    track = parse_track(demo_settings.TRACK)
    with Site(tmp_path / "resumed", s3, **settings) as site:
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        car = ("--car", "simulated", "--cars", CARS, "--track", demo_settings.TRACK)
        site.start(BRIDGE, "bridge", "drive", *car, "--rate", "20", "--spool", site.spool)
        wait_for_updates(site, UPDATES_BEFORE)
        last = next_versions(site, VERSIONS)

        site.kill(TRAINER)
        saved = site.checkpoint_counters()
        serial = newest_serial(site)
        site.start_trainer()
        first = next_versions(site, FIRST_VERSIONS, after=serial)
        # Judged while the trainer learns on.
        before, at_once = skills(last, track), skills(first, track)
        wait_for_updates(site, saved.updates + UPDATES_AFTER)
        # A policy gets worse for some thousand updates on its way, in lives without a kill too: it has to come back.
        later: list[float] = []
        for versions in windows(site, saved.updates + UPDATES_TO_GROW):
            later.append(float(np.mean(skills(versions, track))))
            if later[-1] > max(before):
                break

        site.check_running(RECEIVER, TRAINER, BRIDGE)
        print(
            f"mean distances in m: {before} before the kill, {at_once} right after it, "
            f"{later} later, each the mean of {VERSIONS} versions"
        )
        assert saved.steps > 0
        assert np.mean(at_once) >= KEPT_AT_ONCE * np.mean(before[-FIRST_VERSIONS:])
        assert later[-1] > max(before)
        final = site.terminate(TRAINER)
        assert final == 0
        assert site.checkpoint_counters().steps > saved.steps
