"""A driver in the cloud drives the fake game over 50 ms each way: a clean lap, and nothing that was not its own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from experience.batches import NOBODY, Batch
from experience.environment import racing
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import stored_batches
from tests.support.cloud_drives import DrivenSite, driven_site, end
from tests.support.fake_game import FakeGame
from tests.support.game_drive import GameBridge
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.game, pytest.mark.timeout(600)]
LAP_SECONDS = 120.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DrivenSite]:
    with driven_site(tmp_path) as running, running.driver("--reference") as driver:
        yield running
        assert end(driver) == ExitCode.OK, running.driver_log


def arrived(site: DrivenSite) -> list[Batch]:
    return stored_batches(site.receiver, racing().spaces.layout)


def test_it_laps_cleanly_and_a_pause_is_no_experience(site: DrivenSite, tmp_path: Path) -> None:
    with FakeGame(tmp_path, "seed:7:1200") as game:
        game.live()
        options = ["--spool", str(tmp_path / "spool"), "--seed", "3"]
        bridge = GameBridge(game, tmp_path, "cloud-drive", *options, uri=site.uri)
        try:
            wait_until(lambda: any(b.laps for b in arrived(site)), "a lap", LAP_SECONDS, every=1.0)
            game.tell("mode", mode="pause")
            bridge.says("waiting for the game. The game is paused")
            wait_until(lambda: reasons(site)[-1:] == ["interrupted"], "the episode's end")
            # What was driven before is on its way for a moment.
            pictures(game, 60)
            before = sum(batch.steps for batch in arrived(site))
            pictures(game, 60)
            assert sum(batch.steps for batch in arrived(site)) == before
            game.live()
            wait_until(lambda: sum(b.steps for b in arrived(site)) > before + 60, "it drives on", every=0.2)
            bridge.process.send_signal(signal.SIGINT)
            assert bridge.process.wait(120) == ExitCode.OK, bridge.text
            wait_until(lambda: reasons(site)[-1] == "stopped", "the end")
        finally:
            bridge.process.kill()
            bridge.process.wait()
    batches = arrived(site)
    assert all(lap.clean for batch in batches for lap in batch.laps)
    # A busy machine interrupts it, too.
    assert {"interrupted", "stopped"} <= set(reasons(site)) <= {"interrupted", "stopped", "off_track", "start"}
    assert {int(version) for batch in batches for version in batch.policy_versions} == {NOBODY}


def pictures(game: FakeGame, count: int) -> None:
    """Wait until the game has drawn so many."""
    packet = game.truth()["graphics_packet"]
    wait_until(lambda: game.truth()["graphics_packet"] > packet + count, "time to pass")


def reasons(site: DrivenSite) -> list[str]:
    return [ended.reason for batch in arrived(site) for ended in batch.episodes]
