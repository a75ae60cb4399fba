"""Connections that show no token, over real sockets: they are bounded, and never keep out who has one."""

import logging
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import CONFIG, Client, ReceiverProcess, ThreadedReceiver, hello
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.receiver.door import RESERVED_FILES, Door
from train_cloud.throttle import network_of
from wire.messages import Ack

__all__ = ["s3"]

HELLO = hello(CONFIG)
not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files to set")


def knock(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection that says nothing, from an address of its own."""
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(host, 0))


def set_file_limit(receiver: ReceiverProcess, files: int) -> None:
    """How many files the running receiver may have open from now on."""
    subprocess.run(["prlimit", f"--pid={receiver.process.pid}", f"--nofile={files}:"], check=True)


def is_cut_off(caller: socket.socket) -> bool:
    caller.settimeout(0.001)
    try:
        return caller.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_who_waits_longest_makes_room_and_a_bridge_of_the_same_address_gets_in(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with ExitStack() as callers:
        waiting = [callers.enter_context(knock(receiver.port)) for _ in range(3 * CONFIG.max_bridges)]
        with receiver.client() as client:
            client.begin(HELLO)
            client.store(1)
            wait_until(lambda: sum(map(is_cut_off, waiting)) > 2 * CONFIG.max_bridges, "the oldest are cut off")
            assert not any(map(is_cut_off, waiting[-CONFIG.max_bridges + 1 :]))
            client.store(2)
    said = [record for record in caplog.records if "to make room" in record.message]
    assert len(said) == 1


def test_an_address_that_fills_its_share_costs_another_address_nothing(receiver: ThreadedReceiver) -> None:
    with ExitStack() as callers:
        stranger = callers.enter_context(knock(receiver.port, "127.0.0.2"))
        for host in ("127.0.0.3", "127.0.0.4", "127.0.0.5"):
            for _ in range(CONFIG.max_bridges + 4):
                callers.enter_context(knock(receiver.port, host))
        with receiver.client() as client:
            client.begin(HELLO)
        assert not is_cut_off(stranger)


def test_open_sessions_are_never_cut_off_to_make_room(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client, ExitStack() as callers:
        client.begin(HELLO)
        for _ in range(5 * CONFIG.max_bridges):
            callers.enter_context(knock(receiver.port))
        client.store(1, 2)


def test_a_request_without_end_is_refused(receiver: ThreadedReceiver) -> None:
    with knock(receiver.port) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        answer = b""
        with suppress(OSError):
            for number in range(40):
                caller.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
        with suppress(OSError):
            while piece := caller.recv(4096):
                answer += piece
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
        wait_until(lambda: is_cut_off(caller), "it is cut off")


def test_a_port_that_is_taken_is_an_oserror() -> None:
    with Door("127.0.0.1", 0, 4) as door:
        door.listen()
        with pytest.raises(OSError, match=r"in use|\[Errno"):
            Door("127.0.0.1", door.getsockname()[1], 4)


@pytest.mark.slow
@not_on_windows
def test_few_file_handles_keep_neither_bridges_nor_the_backup_out(s3: MotoS3, tmp_path: Path) -> None:
    """Under a limit that strangers could use up, sessions are served, experience gets safe and the log stays short."""
    changes = {"run_id": "few-files", "listen_host": "127.0.0.1", "listen_port": 0, "segment_seconds": 0.2}
    config = msgspec.structs.replace(run_config(**changes), bucket=s3.bucket)
    receiver = ReceiverProcess(config, tmp_path)
    try:
        pairing = receiver.pairing()
        set_file_limit(receiver, RESERVED_FILES + 32)
        began = time.monotonic()
        with ExitStack() as callers:
            for _ in range(300):
                callers.enter_context(knock(pairing.port))
            with Client(pairing) as client:
                client.begin(hello(config))
                client.store(1, 2)
                client.hear(Ack, lambda ack: ack.safe_through == 2)
        log = receiver.log_text()
        assert "Traceback" not in log
        assert "backup failed" not in log
        assert log.count("to make room") <= 1 + (time.monotonic() - began) / 60
    finally:
        receiver.kill()


@pytest.mark.slow
@not_on_windows
def test_without_any_file_handle_the_log_stays_short_and_the_bucket_is_not_blamed(s3: MotoS3, tmp_path: Path) -> None:
    changes = {"run_id": "no-files", "listen_host": "127.0.0.1", "listen_port": 0, "segment_seconds": 0.2}
    config = msgspec.structs.replace(run_config(**changes), bucket=s3.bucket)
    receiver = ReceiverProcess(config, tmp_path)
    try:
        pairing = receiver.pairing()
        began = time.monotonic()
        with Client(pairing) as client, ExitStack() as callers:
            client.begin(hello(config))
            client.store(1)
            client.hear(Ack, lambda ack: ack.safe_through == 1)
            set_file_limit(receiver, 3)
            client.store(2)
            for _ in range(50):
                callers.enter_context(knock(pairing.port))
            wait_until(
                lambda: "no file handle left for the call" in receiver.log_text(), "the backup says why it fails"
            )
        set_file_limit(receiver, 1024)
        with Client(pairing) as client:
            client.begin(hello(config))
            wait_until(lambda: "backup works again" in receiver.log_text(), "the backup works again")
        log = receiver.log_text()
        assert "cannot be reached" not in log
        assert "Traceback" not in log
        assert log.count("to make room") <= 1 + (time.monotonic() - began) / 60
    finally:
        receiver.kill()


@pytest.mark.parametrize(
    ("listen", "dial"), [("::", ("127.0.0.1", "::1")), ("::1", ("::1",)), ("0.0.0.0", ("127.0.0.1",))]
)
def test_all_addresses_are_of_both_kinds_where_ipv6_is_asked_for(listen: str, dial: tuple[str, ...]) -> None:
    with Door(listen, 0, 4) as door:
        door.listen()
        for host in ("127.0.0.1", "::1"):
            with suppress(ConnectionRefusedError):
                socket.create_connection((host, door.getsockname()[1]), timeout=120).close()
                assert host in dial
                _, peer = door.accept()
                assert network_of(peer[0]) == network_of(host)
                continue
            assert host not in dial
