"""What the doctor says of the game: of a running fake one in each of its states, and of figures that decide."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.assetto_corsa.reading import assumptions
from bridge.assetto_corsa.reading.layout import Static, Status
from bridge.doctor.game import game_findings
from bridge.doctor.messages import Finding, Message
from bridge.doctor.watching import Watched, wait_until_live, watch
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

HEALTHY = Watched(static=Static(), status=Status.LIVE, packets=333.0, pictures=100.0, longest_gap=0.01)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGame]:
    with FakeGame(tmp_path_factory.mktemp("game")) as running:
        yield running


@pytest.fixture
def game(running: FakeGame, monkeypatch: pytest.MonkeyPatch) -> FakeGame:
    """The running game in its menu, at its usual rates."""
    monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
    running.tell("rates", physics_hz=333.0, graphics_hz=100.0)
    running.tell("restart", into="menu")
    return running


def seen(seconds: float = 0.3) -> list[Finding]:
    return list(game_findings(watch(seconds, lambda: False)))


def messages(watched: Watched) -> list[Message]:
    return [finding.message for finding in game_findings(watched)]


def test_no_game_and_memory_of_something_else_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    assert [finding.message for finding in seen()] == [Message.NO_GAME]
    for name in ("acpmf_physics", "acpmf_graphics", "acpmf_static"):
        (tmp_path / name).write_bytes(b"short")
    (finding,) = seen()
    assert finding.message is Message.PAGES_UNUSABLE
    assert "5 bytes" in finding.says


def test_a_live_game_is_named_with_its_car_and_track(game: FakeGame) -> None:
    game.live()
    watched = watch(1.0, lambda: False)

    def comes() -> bool:
        """Whether the game had the time to write; on a busy machine it is looked at again."""
        nonlocal watched
        watched = watch(1.0, lambda: False)
        return watched.packets > 100.0 and watched.pictures > 30.0

    wait_until(comes, "packets and pictures")
    assert watched.live
    first, second, *_ = game_findings(watched)
    assert first.says == "runs: ks_fake_gt3 on fake_ring"
    assert second.message is Message.LIVE


@pytest.mark.parametrize("mode", ["menu", "pause", "replay"])
def test_a_game_that_nobody_drives_is_not_live(game: FakeGame, mode: str) -> None:
    game.live()
    game.tell("mode", mode=mode)
    wait_until(lambda: game.graphics("status") != Status.LIVE, "the page to show it")
    last = seen()[-1]
    assert last.message is Message.NOT_LIVE
    assert mode in last.says


def test_a_game_that_died_has_left_its_memory_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGame(tmp_path) as game:
        game.live()
    monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
    assert [finding.message for finding in seen()] == [Message.STANDS_STILL]


@pytest.mark.parametrize("mode", ["menu", "pause", "replay"])
def test_a_game_that_died_while_nobody_drove_is_not_taken_for_a_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with FakeGame(tmp_path) as game:
        game.live()
        game.tell("mode", mode=mode)
        wait_until(lambda: game.graphics("status") != Status.LIVE, "the page to show it")
    monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
    assert [finding.message for finding in seen()] == [Message.STANDS_STILL]


def test_where_nothing_moves_nothing_is_said_to_run(game: FakeGame) -> None:
    game.tell("mode", mode="off")
    wait_until(lambda: game.graphics("status") == Status.OFF, "the page to show it")
    assert [finding.message for finding in seen()] == [Message.STANDS_STILL]
    assert "menu before the session" in Message.STANDS_STILL.mend


def test_a_capped_game_writes_too_rarely(game: FakeGame) -> None:
    game.live()
    game.tell("rates", physics_hz=20.0, graphics_hz=20.0)
    told = {finding.message for finding in seen(1.0)}
    assert {Message.PACKETS_FEW, Message.FRAMES_CAPPED} <= told


def test_a_healthy_game_is_ok_and_each_figure_alone_can_be_wrong() -> None:
    ok = [Message.GAME, Message.LIVE, Message.PACKETS, Message.FRAMES]
    assert messages(HEALTHY) == ok
    assert messages(replace(HEALTHY, longest_gap=0.25))[2] is Message.PACKETS_GAPS
    assert messages(replace(HEALTHY, packets=39.0))[2] is Message.PACKETS_FEW
    assert messages(replace(HEALTHY, pictures=30.0))[3] is Message.FRAMES_CAPPED
    assert messages(replace(HEALTHY, still=2.0))[-1] is Message.STANDS_STILL
    assert messages(replace(HEALTHY, pictures=60.1, uneven=0.05))[3] is Message.FRAMES_EVEN
    assert messages(replace(HEALTHY, pictures=60.1, uneven=0.4))[3] is Message.FRAMES
    assert messages(replace(HEALTHY, pictures=66.0, uneven=0.05))[3] is Message.FRAMES


def test_a_faster_drive_needs_more_packets() -> None:
    watched = replace(HEALTHY, packets=100.0)
    assert [finding.message for finding in game_findings(watched, rate=50.0)][2] is Message.PACKETS
    assert [finding.message for finding in game_findings(watched, rate=60.0)][2] is Message.PACKETS_FEW


def test_assumptions_are_told_by_what_the_drive_showed() -> None:
    verdict = assumptions.Judgement
    judged = (
        assumptions.JudgedAssumption("heading", verdict.HOLDS, "0.010 rad"),
        assumptions.JudgedAssumption("steering", verdict.CONTRADICTED, "steerAngle goes to 450"),
        assumptions.JudgedAssumption("time", verdict.NOT_SEEN, "the lap's clock did not run"),
    )
    told = list(game_findings(replace(HEALTHY, assumptions=judged)))[4:]
    assert [finding.message for finding in told] == [
        Message.ASSUMPTION_WRONG,
        Message.ASSUMPTIONS,
        Message.ASSUMPTIONS_UNSEEN,
    ]
    assert told[0].says == "steering is not what we take it for: steerAngle goes to 450"


def test_waiting_for_a_live_game_ends_with_it_or_with_patience(game: FakeGame) -> None:
    wait_until_live(0.1, lambda: False)
    game.live()
    # Longer than a test may take.
    wait_until_live(3600.0, lambda: False)
