"""What is told to whom listens: at once, the newest alone, to a bounded number, and nothing is done for nobody."""

import gc
import socket
import time
import tracemalloc
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
import pytest

from racing.track import Track
from tests.support.dashboards import LivingRun, ThreadedDashboard
from tests.support.waiting import wait_until
from train_cloud.dashboard.live import LOOK_SECONDS, MOST_LISTENERS
from train_cloud.dashboard.standing import SILENT_SECONDS
from train_cloud.live_file import LiveCar, LiveFile, write_live
from train_cloud.run_folder.files import LIVE


def car(place: float, at: float) -> LiveCar:
    return LiveCar("a" * 32, "pc-a", at, place, 1.5, 42.0, 4, 0.8, 0.0, -0.1, 3, 12.5, -0.2)


def test_a_look_comes_at_once_and_then_as_a_sign_of_life(dashboard: ThreadedDashboard) -> None:
    with dashboard.browser().log_in().stream() as stream:
        assert stream.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        first = stream.next("look")
        assert first["run_id"] == "dashboard-test"
        assert first["verdict"]["word"] == "learning"
        assert first["bridges"][0]["connected"] is True
        assert stream.next("look")["now"] > first["now"]


def test_what_is_committed_is_told_and_where_a_car_is_within_moments(
    run: LivingRun, dashboard: ThreadedDashboard
) -> None:
    track = Track.generate(7, 1200.0)
    sha256 = run.announce(track)
    with dashboard.browser().log_in().stream() as stream:
        while stream.next("look")["revisions"]["track"] != sha256:
            pass
        delays = []
        for place in (100.0, 200.0, 300.0):
            began = time.time()
            write_live(run.folder / LIVE, LiveFile(began, (car(place, began),), ((50.0, 7.0),)))
            live = stream.next("live")
            delays.append(time.time() - began)
            assert live["at"] == began
            seen, spot = track.position_at(np.array([place, 50.0]), np.array([1.5, 7.0])).tolist()
            assert [live["cars"][0]["x"], live["cars"][0]["y"]] == pytest.approx(seen, abs=0.01)
            assert live["spots"] == [pytest.approx(spot, abs=0.01)]
            assert "place" not in live["cars"][0]
        nowhere = msgspec.structs.replace(car(0.0, time.time()), place=None, gap=None)
        write_live(run.folder / LIVE, LiveFile(time.time(), (nowhere,)))
        while (told := stream.next("live")["cars"][0])["x"] is not None:
            pass
        assert (told["y"], told["speed"]) == (None, 42.0)
        print(f"from event to listener: {sorted(delays)} s")
        run.progress(5_100, 4_600)
        while stream.next("look")["progress"]["updates"] != 4_600:
            pass


@pytest.mark.slow
@pytest.mark.parametrize(("who", "word"), [("trainer", "trainer_down"), ("receiver", "receiver_down")])
def test_a_process_that_is_silent_is_told_within_five_seconds(
    run: LivingRun, dashboard: ThreadedDashboard, who: str, word: str
) -> None:
    with dashboard.browser().log_in().stream() as stream:
        before = stream.next("look")
        run.alive.remove(who)
        while (look := stream.next("look"))["verdict"]["word"] != word:
            assert look["verdict"]["word"] == "learning"
            before = look
    # By the dashboard's own clock, however slow this machine is: no look was late, and the next comes soon.
    assert before["now"] - run.last_beat(who) <= SILENT_SECONDS < look["now"] - run.last_beat(who)
    assert SILENT_SECONDS + LOOK_SECONDS < 5.0


def test_a_cut_link_is_told(run: LivingRun, dashboard: ThreadedDashboard) -> None:
    with dashboard.browser().log_in().stream() as stream:
        stream.next("look")
        run.cut()
        while (look := stream.next("look"))["verdict"]["word"] != "link_down":
            pass
        assert look["bridges"][0]["connected"] is False


def test_who_logs_out_hears_no_more(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    with browser.stream() as stream:
        stream.next("look")
        browser.post("/logout")
        with pytest.raises(EOFError):
            stream.next("none of this kind ever comes")


@pytest.mark.slow
def test_fifty_may_listen_one_more_is_refused_and_memory_does_not_grow(
    run: LivingRun, dashboard: ThreadedDashboard
) -> None:
    browser = dashboard.browser().log_in()
    run.announce(Track.generate(7, 1200.0))
    with ExitStack() as stack:
        streams = [stack.enter_context(browser.stream()) for _ in range(MOST_LISTENERS)]
        for stream in streams:
            stream.next("look")
        refused = browser.get("/stream")
        assert refused.status == 503
        assert refused.text == "50 listen already, and no more can. Close other windows of this page.\n"
        assert "Retry-After" in refused.headers
        # The first is so slow that it takes nothing any more; the others go on, and what it misses is not kept.
        looks = [streams[1].next("look") for _ in range(3)]
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        looks += [streams[1].next("look") for _ in range(4)]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len({look["now"] for look in looks}) == len(looks)
        assert grown < 2 * 2**20
    # The places of those who have gone are free again.
    wait_until(lambda: browser.ask("HEAD", "/stream").status == 200, "there is room")
    with browser.stream() as stream:
        stream.next("look")


@pytest.mark.slow
def test_while_nobody_listens_nothing_is_read(
    run: LivingRun, dashboard: ThreadedDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = dashboard.reading.look

    def counted() -> dict[str, Any]:
        looks.append(1)
        return look()

    monkeypatch.setattr(dashboard.reading, "look", counted)
    browser = dashboard.browser().log_in()
    with browser.stream() as stream:
        stream.next("look")
        stream.next("look")
    wait_until(lambda: _quiet(looks), "nothing is read any more", every=1.2)
    run.progress(6_000, 5_500)
    with browser.stream() as stream:
        assert stream.next("look")["progress"]["updates"] == 5_500


def _quiet(looks: list[int]) -> bool:
    """Whether nobody has looked since the last time that this was asked."""
    quiet = bool(looks) and looks[-1] == 0
    looks.append(0)
    return quiet


def test_a_listener_that_never_reads_costs_a_socket_and_no_more(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    with socket.create_connection(("127.0.0.1", dashboard.port)) as stuck:
        stuck.sendall(f"GET /stream HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n\r\n".encode())
        with browser.stream() as stream:
            for _ in range(3):
                stream.next("look")


def test_the_store_cannot_be_written_by_it(run: LivingRun, dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    with browser.stream() as stream:
        stream.next("look")
    store = dashboard.reading._store
    assert store is not None
    with pytest.raises(Exception, match="opened for reading only"), store.writing():
        pass
    assert {file.name for file in run.folder.iterdir()} <= {"store.db", "store.db-wal", "store.db-shm"}
