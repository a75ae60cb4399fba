"""A receiver process with a certificate of an authority: no pin, and renewed files cut no connection."""

import socket
import ssl
import threading
from pathlib import Path

import msgspec
import pytest

from bridge.link.exchange import Introduction
from bridge.spool import Spool
from experience.environment import racing
from runtime.exit_codes import ExitCode
from scripts.cloud.own_run import OwnRun, Place
from tests.support.authority import NAME, Authority, authority
from tests.support.links import running
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import blob, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.receiver.__main__ import _receive
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.run_folder.files import TOKEN_VARIABLE
from wire.pairing import format_pairing

__all__ = ["authority", "s3"]


def shown(port: int) -> bytes | None:
    """The certificate (DER) that a new connection is shown, by who trusts only the system's authorities."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as plain:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=NAME).getpeercert(binary_form=True)


def config_in(folder: Path, s3: MotoS3) -> RunConfig:
    changes = {"run_id": "named-test", "listen_host": "127.0.0.1", "listen_port": 0, "public_host": NAME}
    files = {"tls_certificate": str(folder / "fullchain.pem"), "tls_key": str(folder / "privkey.pem")}
    config = run_config(segment_seconds=0.2, max_lead_steps=10**9, **changes, **files)
    return msgspec.structs.replace(config, bucket=s3.bucket)


@pytest.mark.slow
def test_renewed_files_are_shown_to_new_bridges_and_cut_none_that_is_there(
    authority: Authority, s3: MotoS3, tmp_path: Path
) -> None:
    first, renewed = authority.certify(NAME), authority.certify(NAME)
    first.write(tmp_path)
    config = config_in(tmp_path, s3)
    introduction = Introduction(racing(task_config(config)), False, 1, "test")
    with receiver_process(config, tmp_path / "work") as receiver, Spool(tmp_path / "spool") as spool:
        pairing = receiver.pairing()
        assert format_pairing(pairing) == f"wss://bridge:{pairing.token}@{NAME}:{pairing.port}/"
        with running(pairing, spool, introduction) as link:
            numbers = iter(range(1, 100))

            def one_more_is_safe() -> None:
                spool.append(blob(next(numbers)), 20)
                link.notify()
                wait_until(lambda: link.all_safe, "a batch is safe")

            one_more_is_safe()
            assert shown(pairing.port) == first.der
            (tmp_path / "fullchain.pem").write_bytes(renewed.chain[:200])
            wait_until(lambda: "only a part of one" in receiver.log_text(), "half a file is refused")
            assert shown(pairing.port) == first.der
            renewed.write(tmp_path)
            wait_until(lambda: shown(pairing.port) == renewed.der, "new connections see the new certificate")
            one_more_is_safe()
        own = OwnRun(Place(receiver.folder / "run.json", receiver.folder)).look()
        assert own.bridges_unknown_because is None
        # One connection all along, and its batches.
        assert receiver.log_text().count("bridge connected") == 1
        assert "PRIVATE" not in receiver.log_text()


@pytest.mark.slow
def test_an_expired_certificate_is_told_and_served_and_one_for_another_name_is_not(
    authority: Authority, s3: MotoS3, tmp_path: Path
) -> None:
    authority.certify(NAME, days=(-3, -1)).write(tmp_path)
    with receiver_process(config_in(tmp_path, s3), tmp_path / "work") as receiver:
        pairing = receiver.pairing()
        assert "The certificate has expired" in receiver.log_text()
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            shown(pairing.port)
    authority.certify("racing.example.org").write(tmp_path)
    with receiver_process(config_in(tmp_path, s3), tmp_path / "work") as receiver:
        assert receiver.process.wait(120) == ExitCode.USAGE
        assert "is for racing.example.org, not for localhost (public_host)" in receiver.log_text()
        assert "Traceback" not in receiver.log_text()


def test_who_cannot_have_its_certificate_leaves_no_string_of_the_receiver_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("0123456789abcdefToken")
    (tmp_path / "pairing.txt").write_text("where the last one listened")
    monkeypatch.setenv(TOKEN_VARIABLE, str(tmp_path / "token"))
    files = {"tls_certificate": str(tmp_path / "nowhere.pem"), "tls_key": str(tmp_path / "key.pem")}
    with pytest.raises(ConfigError, match="cannot be read"):
        _receive(run_config(public_host=NAME, **files), tmp_path, False, False, threading.Event())
    assert not (tmp_path / "pairing.txt").exists()
