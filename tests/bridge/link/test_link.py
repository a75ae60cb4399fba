"""The link brings the spool to the receiver, whatever the receiver and the network do, and takes weights with care."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.link import dialing
from bridge.link import link as link_module
from bridge.link.link import Driven, Link
from bridge.spool import Spool, SpooledBatch
from runtime.exit_codes import ExitCode
from tests.support.certificates import certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.links import INTRODUCTION, append, check_back_within, running
from tests.support.receivers import ThreadedReceiver
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from tests.support.wire_server import TOKEN, WireServer
from wire.messages import Ack, Drain, Error, ErrorCode, FlowControl, TransitionBatch
from wire.pairing import Pairing


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as spool:
        yield spool


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


def test_what_is_spooled_before_and_after_the_dial_arrives_in_order(spool: Spool, server: WireServer) -> None:
    blobs = append(spool, None, 100)
    with running(server.pairing, spool) as link:
        blobs += append(spool, link, 100)
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_the_spool_forgets_only_what_is_safe(spool: Spool, server: WireServer) -> None:
    server.safe_at_once = False
    append(spool, None, 10)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.all_stored, "all is stored")
        assert not link.all_safe
        assert spool.safe_through == 0
        server.safe[spool.stream] = 7
        append(spool, link, 1)
        wait_until(lambda: spool.safe_through == 7, "seven are forgotten")
        assert spool.read(7) is None
        assert spool.read(8) is not None


def test_a_cut_receiver_gets_each_batch_once(spool: Spool, server: WireServer) -> None:
    with running(server.pairing, spool) as link:
        blobs = []
        for _ in range(3):
            blobs += append(spool, link, 30)
            wait_until(lambda: link.state.stored_through > 0, "some are stored")
            server.vanish()
            blobs += append(spool, link, 30)
            server.listen()
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_a_receiver_that_forgot_what_was_not_safe_gets_it_again(spool: Spool, server: WireServer) -> None:
    server.safe_at_once = False
    blobs = append(spool, None, 10)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.all_stored, "all is stored")
        server.vanish()
        del server.stored[spool.stream][4:]
        server.listen()
        wait_until(lambda: server.stored[spool.stream] == blobs, "all is stored again")
        wait_until(lambda: link.unsent_steps == 0, "the link has heard of it")


def test_a_receiver_that_knows_more_than_the_spool_makes_a_fresh_stream(spool: Spool, server: WireServer) -> None:
    old = spool.stream
    server.stored[old] = [b"from another life"] * 5
    blobs = append(spool, None, 3)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.all_safe, "all is safe")
    assert spool.stream != old
    assert server.stored[spool.stream] == blobs


def test_another_run_makes_a_fresh_stream_of_what_is_left(spool: Spool, server: WireServer) -> None:
    append(spool, None, 5)
    spool.forget_through(spool.stream, 3)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.all_safe, "all is safe")
        blobs = append(spool, link, 1)
        wait_until(lambda: link.all_safe, "the next one is safe")
    assert len(server.stored[spool.stream]) == 3
    assert server.stored[spool.stream][-1:] == blobs


@pytest.mark.slow
def test_a_fresh_stream_waits_until_the_old_one_is_forgotten(spool: Spool, server: WireServer) -> None:
    old = spool.stream
    server.stored[old] = [b"from another life"] * 5
    complaints = [Error(ErrorCode.DUPLICATE_BRIDGE, "You are here already.")] * 2
    server.refuse_hello = lambda hello: complaints.pop() if hello.stream != old and complaints else None
    blobs = append(spool, None, 3)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_the_lead_counts_what_waits_in_the_spool(spool: Spool, server: WireServer) -> None:
    server.stored_steps, server.trained_steps, server.max_lead_steps = 500, 450, 70
    server.refuse_batch = lambda _batch: Error(ErrorCode.DISK_FULL, "no room")
    append(spool, None, 3)
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.state.max_lead_steps == 70, "the welcome is heard")
        assert link.lead_steps == 500 + 30 - 450
        server.push(FlowControl(600, 590, 70))
        wait_until(lambda: link.lead_steps == 600 + 30 - 590, "the pace is heard")


def test_a_full_receiver_gets_the_batch_later(spool: Spool, server: WireServer) -> None:
    refused: list[int] = []

    def refuse(batch: TransitionBatch) -> Error | None:
        refused.append(batch.number)
        return Error(ErrorCode.DISK_FULL, "the disk is full") if len(refused) <= 5 else None

    server.refuse_batch = refuse
    blobs = append(spool, None, 5)
    with running(server.pairing, spool) as link:
        took = wait_until(lambda: link.all_safe, "all is safe")
        assert server.connections == 1
    assert server.stored[spool.stream] == blobs
    assert took >= 0.9


class StuckSpool(Spool):
    """A spool on a disk that stands still while `works` is not set."""

    works = threading.Event()

    def read(self, number: int) -> SpooledBatch | None:
        """Read it, when the disk works."""
        assert self.works.wait(120)
        return super().read(number)

    def forget_through(self, stream: str, number: int) -> None:
        """Forget, when the disk works."""
        assert self.works.wait(120)
        super().forget_through(stream, number)


@pytest.mark.slow
def test_a_disk_that_stands_still_does_not_silence_the_link(
    tmp_path: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SUSPECT_SECONDS", 60.0)
    with closing(StuckSpool(tmp_path)) as spool:
        spool.works.set()
        with running(server.pairing, spool) as link:
            blobs = append(spool, link, 1)
            wait_until(lambda: link.all_safe and spool.safe_through == 1, "the first is safe and forgotten")
            server.safe_at_once = False
            blobs += append(spool, link, 3)
            wait_until(lambda: link.all_stored, "some are stored")
            spool.works.clear()
            server.safe[spool.stream] = 3
            server.push(Ack(4, 3))
            blobs += append(spool, link, 30)
            before = server.pings
            wait_until(lambda: server.pings >= before + 5, "the receiver is asked for signs of life", 30.0)
            server.push(FlowControl(600, 590, 70))
            wait_until(lambda: link.state.max_lead_steps == 70, "the pace is heard")
            assert link.state.connected
            assert not link.all_stored
            assert spool.safe_through == 1
            spool.works.set()
            wait_until(
                lambda: link.all_stored and spool.safe_through == 3, "the rest is sent, and what is safe forgotten"
            )
            assert len(server.requests) == 1
    assert server.stored[spool.stream] == blobs


def test_an_instance_that_idleness_would_have_ended_stays_for_who_drives(spool: Spool, server: WireServer) -> None:
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.state.connected, "connected")
        server.push(Drain("nothing new was driven"))
        wait_until(lambda: link.state.draining, "the warning is heard")
        append(spool, link, 2)
        wait_until(lambda: link.all_stored, "what was driven is stored")
        assert not link.state.draining
        assert link.state.connected


def test_a_draining_receiver_is_dialled_again(spool: Spool, server: WireServer) -> None:
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.state.connected, "connected")
        server.push(Drain("spot notice"))
        wait_until(lambda: link.state.draining, "the drain is heard")
        server.vanish()
        blobs = append(spool, link, 5)
        server.listen()
        wait_until(lambda: link.all_safe, "all is safe")
        assert not link.state.draining
    assert server.stored[spool.stream] == blobs


@pytest.mark.parametrize("code", [ErrorCode.WRONG_SIGNATURE, ErrorCode.DUPLICATE_BRIDGE, ErrorCode.BAD_MESSAGE])
def test_a_refusal_is_final_and_says_what_to_do(spool: Spool, server: WireServer, code: ErrorCode) -> None:
    server.refuse_hello = lambda _hello: Error(code, "Not you.")
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    assert link.refusal.exit_code is ExitCode.REFUSED
    assert "Not you." in link.refusal.text
    assert len(server.hellos) == 1


def test_whoever_drives_another_task_is_told_the_options_that_set_it(spool: Spool, server: WireServer) -> None:
    server.refuse_hello = lambda _hello: Error(ErrorCode.WRONG_SIGNATURE, "This run is another task.")
    with running(server.pairing, spool) as link:
        wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    assert "--rate and --task" in link.refusal.text


def test_a_wrong_token_is_final_and_not_repeated_in_the_text(spool: Spool, server: WireServer) -> None:
    wrong = "z" * 30
    with running(Pairing("127.0.0.1", server.port, wrong, tls=False), spool) as link:
        wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    assert "does not accept this token" in link.refusal.text
    assert "pairing.txt in the receiver's folder" in link.refusal.text
    assert wrong not in link.refusal.text
    assert len(server.requests) == 1


def test_another_protocol_version_is_final(spool: Spool) -> None:
    with WireServer(subprotocol="ac-training.v0") as server, running(server.pairing, spool) as link:
        wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    assert "another version" in link.refusal.text


def test_the_real_receiver_of_another_version_is_final(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = ThreadedReceiver(run_config(), tmp_path)
    monkeypatch.setattr(dialing, "PROTOCOL", "ac-training.v0")
    with running(receiver.pairing, spool) as link:
        wait_until(lambda: link.refusal is not None, "the link gives up")
    receiver.close()
    assert link.refusal is not None
    assert "another version" in link.refusal.text


def test_closing_sends_what_is_unsent_first(spool: Spool, server: WireServer) -> None:
    link = Link(server.pairing, spool, INTRODUCTION)
    link.start()
    blobs = append(spool, link, 50)
    link.close(timeout=120)
    assert server.stored[spool.stream] == blobs


def test_closing_without_a_receiver_keeps_its_time(spool: Spool) -> None:
    link = Link(Pairing("127.0.0.1", 9, TOKEN, tls=False), spool, INTRODUCTION)
    link.start()
    append(spool, link, 1)
    # Who waited for a receiver would wait for ever.
    link.close(timeout=0.5)
    assert not any(thread.name == "link" for thread in threading.enumerate())


FAULTS = ("cut", "refuse", "black_hole", "cut_in_mid_frame")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "pinned"])
@pytest.mark.parametrize(
    "outage", [pytest.param(0.1, id="short"), pytest.param(6.5, id="long", marks=pytest.mark.slow)]
)
def test_the_bridge_is_back_within_two_seconds(
    spool: Spool, tmp_path: Path, fault: str, tls: bool, outage: float
) -> None:
    context, pin = certificate(tmp_path, "receiver") if tls else (None, None)
    with (
        WireServer(tls=context) as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        running(pairing := replace(server.pairing, port=proxy.port, pin=pin), spool) as link,
    ):
        wait_until(lambda: link.state.connected, "connected")
        if fault == "cut_in_mid_frame":
            proxy.cut_after(100)
            append(spool, link, 1)
            wait_until(lambda: not link.state.connected, "the cut is noticed")
        else:
            getattr(proxy, fault)()
            append(spool, link, 1)
        time.sleep(outage)  # the outage itself, not a wait for a condition
        proxy.resume()
        check_back_within(2.0, link, pairing, tmp_path / "other", INTRODUCTION)


@pytest.mark.slow
def test_a_half_open_link_is_noticed(spool: Spool, server: WireServer) -> None:
    with (
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        running(Pairing("127.0.0.1", proxy.port, TOKEN, tls=False), spool) as link,
    ):
        wait_until(lambda: link.state.connected, "connected")
        proxy.black_hole()
        noticed = wait_until(lambda: not link.state.connected, "the silence is noticed", 20.0)
        assert noticed > 1.0


def test_it_says_how_the_bridge_stands_about_once_a_second(tmp_path: Path) -> None:
    with WireServer() as server, Spool(tmp_path / "spool") as spool, running(server.pairing, spool) as link:
        wait_until(lambda: bool(server.reports), "the first report comes")
        link.driven = Driven(50, 2, 0.012)
        wait_until(lambda: server.reports[-1].off_period_steps == 2, "what is driven is reported")
        told = server.reports[-1]
        assert 0.0 < told.steps_per_second <= 1000.0
        assert (told.policy_version, told.unsent_steps, told.action_age) == (0, 0, 0.012)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_track_is_announced_where_it_is_asked_for(tmp_path: Path, wanted: bool) -> None:
    introduction = replace(INTRODUCTION, track=b"a track")
    with WireServer() as server, Spool(tmp_path / "spool") as spool:
        server.wants_track = wanted
        with running(server.pairing, spool, introduction):
            wait_until(lambda: bool(server.reports), "the bridge is linked")
        assert server.tracks == ([b"a track"] if wanted else [])
        assert server.hellos[0].track == hashlib.sha256(b"a track").hexdigest()
