"""Reading pages that a game writes: whole copies, duplicates, status, games that end and come back, CSP's car."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.assetto_corsa.reading.layout import Status, text
from bridge.assetto_corsa.reading.memory import GameNotRunning, Page, PageUnusable, create_page
from bridge.assetto_corsa.reading.pages import GamePages, PageUnsteady
from tests.support.game_pages import CAR, GRAPHICS, LIVE, PAUSE, PHYSICS, SIZES, STATIC, Moments, WrittenGame
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return tmp_path


def test_without_a_game_there_is_nothing_to_read_until_it_starts(folder: Path) -> None:
    pages = GamePages()
    with pytest.raises(GameNotRunning):
        pages.read()
    WrittenGame(folder).packet(7)
    assert pages.read().physics.packetId == 7


def test_a_game_that_has_made_only_one_page_is_not_running_yet(folder: Path) -> None:
    (folder / PHYSICS).write_bytes(bytes(580))
    pages = GamePages()
    with pytest.raises(GameNotRunning, match="acpmf_graphics"):
        pages.read()


def test_a_foreign_page_of_another_size_is_named(folder: Path) -> None:
    WrittenGame(folder)
    (folder / PHYSICS).write_bytes(bytes(579))
    with pytest.raises(PageUnusable, match="acpmf_physics has 579 bytes"):
        GamePages().read()


def test_a_packet_counts_once_also_where_its_number_wraps(folder: Path) -> None:
    game, pages = WrittenGame(folder), GamePages()
    seen = []
    for packet in (2**31 - 1, None, -(2**31), None, 0, None):
        if packet is not None:
            game.packet(packet)
        seen.append(pages.read().duplicate)
    assert seen == [False, True] * 3


@pytest.mark.parametrize("status", list(Status))
def test_the_status_is_that_of_the_game(folder: Path, status: Status) -> None:
    WrittenGame(folder).show(int(status))
    assert GamePages().read().status is status


def test_an_unknown_status_counts_as_off(folder: Path) -> None:
    WrittenGame(folder).show(77)
    assert GamePages().read().status is Status.OFF


def test_a_snapshot_does_not_change_when_the_game_goes_on(folder: Path) -> None:
    game, pages = WrittenGame(folder), GamePages()
    game.drive(velocity=(1.0, 0.0, 2.0))
    snapshot = pages.read()
    game.drive(velocity=(5.0, 0.0, 6.0))
    assert snapshot.physics.velocity[:] == [1.0, 0.0, 2.0]


def test_the_session_is_read_anew_each_time(folder: Path) -> None:
    game, pages = WrittenGame(folder), GamePages()
    game.put(STATIC, 134, "6H", *"monza\0".encode("utf-16-le")[::2])
    assert text(pages.static().track) == "monza"
    game.put(STATIC, 134, "4H", *"spa\0".encode("utf-16-le")[::2])
    assert text(pages.static().track) == "spa"


def test_a_copy_that_was_torn_is_taken_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game, pages = WrittenGame(folder), GamePages()
    pages.read()
    whole, tears = Page.read, iter([True, True, False])

    def read(page: Page) -> bytes:
        """The game writes its next packet between two copies, twice."""
        copy = whole(page)
        if page.name == PHYSICS and next(tears, False):
            game.drive()
        return copy

    monkeypatch.setattr(Page, "read", read)
    assert pages.read().physics.packetId == 3
    assert pages.retries == 2


def test_a_page_that_never_holds_still_is_an_error_and_no_endless_wait(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, pages, whole = WrittenGame(folder), GamePages(), Page.read

    def read(page: Page) -> bytes:
        game.packet()
        return whole(page)

    monkeypatch.setattr(Page, "read", read)
    with pytest.raises(PageUnsteady, match="something other than the game"):
        pages.read()


WRITER = """
import sys, time
from bridge.assetto_corsa.reading.memory import create_page
page, number = create_page("acpmf_physics", 580), 0
pages = [bytes([n]) * 580 for n in range(251)]
page.write(pages[0])
print("writing", flush=True)
while True:
    number = (number + 1) % 251
    page.write(pages[number])
    until = time.perf_counter() + 2e-5
    while time.perf_counter() < until:
        pass
"""


def test_copies_of_a_page_that_another_process_writes_without_pause_are_whole(folder: Path) -> None:
    WrittenGame(folder)
    with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            pages = GamePages()
            copies: set[bytes] = set()

            def many_packets_seen() -> bool:
                copies.update(bytes(pages.read().physics) for _ in range(1000))
                return len(copies) > 200

            wait_until(many_packets_seen, "packets of the writing process", 30.0)
            interrupted = times_put_to_sleep(writer.pid)
        finally:
            writer.kill()
    # A writer that is put to sleep within a write leaves a torn page that nobody can tell from a whole one.
    assert sum(len(set(copy)) > 1 for copy in copies) <= max(2, interrupted)


def times_put_to_sleep(pid: int) -> int:
    """How often another process took a core from this one; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    return int(status.split("nonvoluntary_ctxt_switches:")[1].split()[0])


def test_a_game_that_ended_is_noticed_and_its_successor_is_found(folder: Path) -> None:
    game, moments = WrittenGame(folder), Moments()
    pages = GamePages(moments)
    pages.read()
    game.vanish()
    moments.now += 0.9
    assert pages.read().duplicate
    moments.now += 0.2
    with pytest.raises(GameNotRunning):
        pages.read()
    game.come_back(packet=5)
    assert pages.read().physics.packetId == 5


def test_a_game_that_was_replaced_in_between_is_found_though_the_old_memory_is_still_mapped(folder: Path) -> None:
    game, moments = WrittenGame(folder), Moments()
    pages = GamePages(moments)
    pages.read()
    game.come_back(packet=5)
    assert pages.read().duplicate
    moments.now += 1.1
    fresh = pages.read()
    assert (fresh.physics.packetId, fresh.duplicate) == (5, False)


def test_a_pause_is_no_end_however_long_it_takes(folder: Path) -> None:
    game, moments = WrittenGame(folder), Moments()
    pages = GamePages(moments)
    pages.read()
    game.show(PAUSE)
    for _ in range(5):
        moments.now += 0.7
        snapshot = pages.read()
        assert (snapshot.status, snapshot.duplicate) == (Status.PAUSE, True)
    assert pages.still_seconds == pytest.approx(3.5)
    game.show(LIVE)
    game.drive()
    assert not pages.read().duplicate
    assert pages.still_seconds == 0.0


def test_the_car_of_csp_counts_once_it_moves_and_no_longer_when_csp_lets_go(folder: Path) -> None:
    game, moments = WrittenGame(folder, csp=True), Moments()
    pages = GamePages(moments)
    assert pages.read().car is None
    game.car_packet()
    car = pages.read().car
    assert car is not None
    assert car.packet_id == 1
    moments.now += 0.6
    assert pages.read().car is None
    moments.now += 1.1
    assert pages.read().car is None
    moments.now += 1.1
    game.car_packet()
    pages.read()
    game.car_packet()
    assert pages.read().car is not None


def test_the_car_of_csp_may_appear_later_and_may_be_left_out(folder: Path) -> None:
    game, moments = WrittenGame(folder), Moments()
    pages, plain = GamePages(moments), GamePages(moments, csp=False)
    assert pages.read().car is None
    (folder / CAR).write_bytes(bytes(SIZES[CAR]))
    moments.now += 1.1
    for _ in range(2):
        game.car_packet()
        found, left_out = pages.read().car, plain.read().car
    assert found is not None
    assert left_out is None


def test_a_read_costs_few_plain_copies(folder: Path) -> None:
    WrittenGame(folder, csp=True)
    pages = GamePages()
    with create_page(PHYSICS, SIZES[PHYSICS]) as physics, create_page(GRAPHICS, SIZES[GRAPHICS]) as graphics:

        def copy() -> None:
            physics.read()
            graphics.read()

        ratio = typical(pages.read) / typical(copy)
    # A copy of both pages takes 0.3 us here and a read 6 us, of the 100 us that it may take.
    assert ratio < 100.0


def typical(what: Callable[[], object]) -> float:
    times = []
    for _ in range(500):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
