"""The receiver as its own process: pairing over TLS, kills, orderly ends, refusals to start, a new instance from S3."""

import os
import socket
import ssl
import stat
import sys
import time
from http.client import HTTPSConnection
from pathlib import Path

import msgspec
import pytest

from experience.remote_calls import Make, body_of
from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import Client as Bridge
from tests.support.receivers import ReceiverProcess, blob, hello, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.remote.channel import Channel
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import CALLS
from train_cloud.store import Store, TrainerProgress
from wire.messages import Ack, Drain, EnvAction, TransitionBatch
from wire.pairing import basic_auth_header, check_pin, format_pairing

__all__ = ["s3"]

STREAM = "a" * 32
answers_sigterm = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can answer")


@pytest.fixture
def config(s3: MotoS3) -> RunConfig:
    changes = {"run_id": "process-test", "listen_host": "127.0.0.1", "listen_port": 0, "segment_seconds": 0.2}
    return msgspec.structs.replace(run_config(**changes), bucket=s3.bucket)


def stored(receiver: ReceiverProcess) -> list[tuple[int, bytes]]:
    store = Store(receiver.store_file)
    rows = [(row.number, row.blob) for row in store.read_batches(0, 10**6)]
    store.close()
    return rows


def expected(last: int) -> list[tuple[int, bytes]]:
    return [(number, blob(number)) for number in range(1, last + 1)]


@pytest.mark.slow
def test_the_pairing_string_is_private_and_pins_the_certificate(config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(config, tmp_path) as receiver:
        pairing = receiver.pairing()
        assert pairing.tls
        assert pairing.pin is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", pairing.port), timeout=120) as plain:
            shown = context.wrap_socket(plain).getpeercert(binary_form=True)
        assert shown is not None
        check_pin(shown, pairing.pin)
        if os.name == "posix":
            for name in ("pairing.txt", "tls.pem"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        receiver.terminate()
        assert pairing.token not in receiver.log_text()
        assert format_pairing(pairing) not in receiver.log_text()
    with receiver_process(config, tmp_path) as again:
        assert again.pairing().pin == pairing.pin


@pytest.mark.slow
@pytest.mark.parametrize(("asked_for", "state"), [(400, "done"), (500, "starting")])
def test_a_finished_run_that_is_prolonged_sends_no_bridge_home(
    config: RunConfig, tmp_path: Path, asked_for: int, state: str
) -> None:
    store = Store(tmp_path / "store.db")
    store.put_progress(TrainerProgress(399, 410, 399, "done"))
    store.close()
    prolonged = msgspec.structs.replace(config, total_timesteps=asked_for, learning_starts=100)
    with receiver_process(prolonged, tmp_path) as receiver:
        receiver.pairing()
        store = Store(receiver.store_file)
        assert store.progress() == TrainerProgress(399, 410, 399, state)
        store.close()


@pytest.mark.slow
def test_health_and_metrics_are_told_over_the_bridges_tls(config: RunConfig, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with receiver_process(config, tmp_path) as receiver:
        pairing = receiver.pairing()
        for path, headers in (("/healthz", {}), ("/metrics", {"Authorization": basic_auth_header(pairing.token)})):
            connection = HTTPSConnection("127.0.0.1", pairing.port, timeout=120, context=context)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            text = answer.read().decode()
            assert text == "ok\n" if path == "/healthz" else "ac_training_store_bytes " in text


@pytest.mark.slow
@answers_sigterm
def test_sigterm_drains_brings_everything_to_the_bucket_and_exits_0(config: RunConfig, tmp_path: Path) -> None:
    slow = msgspec.structs.replace(config, segment_seconds=3600.0)
    with receiver_process(slow, tmp_path) as receiver:
        with Bridge(receiver.pairing()) as bridge:
            bridge.begin(hello(config))
            bridge.store(1, 2, 3)
            receiver.process.terminate()
            bridge.hear(Drain)
            bridge.hear(Ack, lambda ack: ack.safe_through == 3)
        assert receiver.process.wait(120) == ExitCode.OK
        assert "everything stored is in the bucket" in receiver.log_text()


@pytest.mark.slow
@answers_sigterm
def test_a_trainer_that_says_nothing_does_not_hold_up_the_end(config: RunConfig, tmp_path: Path) -> None:
    channel = Channel(tmp_path / CALLS)
    with receiver_process(config, tmp_path) as receiver:
        receiver.pairing()
        channel.send(EnvAction.MAKE, body_of(Make("Nobodys-v0")), 600.0)
        # Nobody offers it, so that the time goes by in which the call arrives.
        assert channel.receive(1.0) is None
        began = time.monotonic()
        assert receiver.terminate() == ExitCode.OK
        # The library's own patience with a peer that does not say goodbye is 10 s.
        assert time.monotonic() - began < 9.0
    channel.close()


@pytest.mark.slow
def test_a_receiver_killed_at_any_moment_goes_on_where_it_was(config: RunConfig, tmp_path: Path) -> None:
    sent = 0
    for _ in range(3):
        with receiver_process(config, tmp_path) as receiver, Bridge(receiver.pairing()) as bridge:
            welcome = bridge.begin(hello(config))
            assert welcome.stored_through <= sent
            acknowledged = sent = welcome.stored_through
            for _ in range(20):
                sent += 1
                bridge.say(TransitionBatch(sent, blob(sent)))
            acknowledged = bridge.hear(Ack, lambda ack: ack.stored_through > acknowledged).stored_through  # noqa: B023 - at once
            receiver.kill()
            assert stored(receiver) == expected(len(stored(receiver)))
            assert len(stored(receiver)) >= acknowledged


@pytest.mark.slow
def test_an_instance_that_died_without_notice_is_replaced_from_the_bucket(config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(config, tmp_path / "first") as first, Bridge(first.pairing()) as bridge:
        bridge.begin(hello(config))
        bridge.store(1, 2, 3)
        safe = bridge.hear(Ack, lambda ack: ack.safe_through == 3).safe_through
        bridge.store(4, 5)
        first.kill()
    with receiver_process(config, tmp_path / "second") as second, Bridge(second.pairing()) as bridge:
        welcome = bridge.begin(hello(config, last_number=5))
        assert safe <= welcome.stored_through <= 5
        assert welcome.safe_through == welcome.stored_through
        assert welcome.stored_steps == 20 * welcome.stored_through
        bridge.store(*range(welcome.stored_through + 1, 8))
        second.terminate()
        assert stored(second) == expected(7)


@pytest.mark.slow
def test_receiving_goes_on_while_the_bucket_is_silent(s3: MotoS3, config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(config, tmp_path) as receiver, Bridge(receiver.pairing()) as bridge:
        s3.hang()
        bridge.begin(hello(config))
        for number in range(1, 30):
            bridge.store(number)
        assert all(message.safe_through == 0 for message in bridge.heard if isinstance(message, Ack))
        s3.heal()
        bridge.hear(Ack, lambda ack: ack.safe_through == 29, seconds=40)


@pytest.mark.slow
def test_plain_is_for_loopback_only(config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(config, tmp_path, "--plain") as receiver, Bridge(receiver.pairing()) as bridge:
        assert not receiver.pairing().tls
        bridge.begin(hello(config))
        bridge.store(1)
    open_to_all = msgspec.structs.replace(config, listen_host="0.0.0.0")
    with receiver_process(open_to_all, tmp_path, "--plain") as receiver:
        assert receiver.process.wait(120) == ExitCode.USAGE
        assert "--plain would send the token unencrypted" in receiver.log_text()


@pytest.mark.slow
def test_a_folder_of_another_run_is_refused(config: RunConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.set_meta("run_id", "other-run")
    store.close()
    with receiver_process(config, tmp_path) as receiver:
        assert receiver.process.wait(120) == ExitCode.REFUSED
        assert "belongs to the run 'other-run'" in receiver.log_text()


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_failure_in_a_sentence(config: RunConfig, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        same = msgspec.structs.replace(config, listen_port=taken.getsockname()[1])
        with receiver_process(same, tmp_path) as receiver:
            assert receiver.process.wait(120) == ExitCode.FAILED
            assert "Cannot listen" in receiver.log_text()
            assert "Traceback" not in receiver.log_text()


@pytest.mark.slow
def test_a_bucket_that_still_refuses_a_new_instance_is_waited_for(
    s3: MotoS3, config: RunConfig, tmp_path: Path
) -> None:
    s3.fail("403 Forbidden")
    with receiver_process(config, tmp_path) as receiver:
        wait_until(lambda: "waiting for the bucket" in receiver.log_text(), "the refusal is told", 20)
        assert "Check the role's permissions" in receiver.log_text()
        s3.heal()
        receiver.pairing()


@pytest.mark.slow
def test_a_bucket_that_does_not_exist_is_a_storage_failure_once_the_patience_is_over(
    config: RunConfig, tmp_path: Path
) -> None:
    nowhere = msgspec.structs.replace(config, bucket=msgspec.structs.replace(config.bucket, name="not-there"))
    with receiver_process(nowhere, tmp_path, patience_seconds=1.0) as receiver:
        assert receiver.process.wait(120) == ExitCode.STORAGE
        assert "the bucket does not exist" in receiver.log_text()


@pytest.mark.slow
@answers_sigterm
def test_systemd_hears_when_the_receiver_listens_lives_and_drains(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with receiver_process(config, tmp_path) as receiver:
            ready = manager.recv(4096).decode()
            assert ready.startswith("READY=1\nWATCHDOG=1\nSTATUS=listening on port ")
            assert [manager.recv(4096) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            assert receiver.terminate() == ExitCode.OK
        heard = [b""]
        while not heard[-1].startswith(b"STATUS=draining"):
            heard.append(manager.recv(4096))


@pytest.mark.slow
def test_a_wrong_configuration_is_a_usage_failure(config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(msgspec.structs.replace(config, tau=7.0), tmp_path) as receiver:
        assert receiver.process.wait(120) == ExitCode.USAGE
        assert "`tau`" in receiver.log_text()


@pytest.mark.slow
@answers_sigterm
def test_a_receiver_waiting_for_its_bucket_can_be_stopped(s3: MotoS3, config: RunConfig, tmp_path: Path) -> None:
    s3.fail()
    with receiver_process(config, tmp_path) as receiver:
        wait_until(lambda: "waiting for the bucket" in receiver.log_text(), "an attempt has failed", 20)
        assert receiver.terminate() == ExitCode.OK
