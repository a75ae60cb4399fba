"""The doctor records a link over a real receiver and a proxy that delays, and says what it found."""

import asyncio
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.doctor.link_recording import CannotRecord, _call, round_trips
from racing.link_model import read_link
from tests.bridge.commands.test_doctor_command import doctor
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import CONFIG, ThreadedReceiver
from wire.pairing import Pairing, format_pairing

pytestmark = pytest.mark.slow


def test_a_delayed_link_is_recorded_and_the_run_is_left_alone(tmp_path: Path) -> None:
    receiver = ThreadedReceiver(CONFIG, tmp_path)
    try:
        with FaultProxy(("127.0.0.1", receiver.port), latency=0.03) as proxy:
            pairing = replace(receiver.pairing, port=proxy.port)
            file = tmp_path / "link.json"
            ended = doctor(
                *(tmp_path, "--uri", format_pairing(pairing), "--allow-plain"),
                *("--record-link", "0.12", "--link", str(file)),
            )
        assert ended.returncode == 0, ended.stderr
        assert "round trips:" in ended.stdout
        assert "ac-bridge drive --car simulated --link" in ended.stdout
        assert pairing.token not in ended.stdout + ended.stderr
        assert 0.06 <= read_link(file).delays[0] < 0.5
        assert receiver.store.read_batches(0, 10) == []
    finally:
        receiver.close()


def test_what_a_cut_has_taken_is_no_short_delay(tmp_path: Path) -> None:
    receiver = ThreadedReceiver(CONFIG, tmp_path)
    trips: list[float] = []
    try:
        with FaultProxy(("127.0.0.1", receiver.port), latency=0.4) as proxy:
            sent: list[int] = []

            def cut_later() -> bool:
                sent.append(1)
                if len(sent) == 10:
                    proxy.cut()
                return False

            asyncio.run(_call(replace(receiver.pairing, port=proxy.port), 5.0, trips, cut_later))
        assert len(sent) >= 10
        assert min(trips, default=1.0) >= 0.4
    finally:
        receiver.close()


def test_where_nobody_answers_nothing_is_written(tmp_path: Path) -> None:
    nobody = Pairing("127.0.0.1", 9, "abcdefghijklmnop0123456789", tls=False)
    with pytest.raises(CannotRecord, match="only 0 messages were answered"):
        round_trips(nobody, 0.1, lambda: False)
    file = tmp_path / "link.json"
    ended = doctor(
        *(tmp_path, "--uri", format_pairing(nobody), "--allow-plain", "--record-link", "0.1", "--link", str(file)),
    )
    assert ended.returncode == 1
    assert "could not be recorded" in ended.stderr
    assert re.search(r"of which 100 are needed.*\. `ac-bridge doctor` says what is wrong\.", ended.stderr, re.S)
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    nobody = Pairing("127.0.0.1", 9, "abcdefghijklmnop0123456789", tls=False)
    file = tmp_path / "nowhere" / "link.json"
    ended = doctor(
        *(tmp_path, "--uri", format_pairing(nobody), "--allow-plain", "--record-link", "600", "--link", str(file)),
    )
    assert ended.returncode != 0
    assert "The link cannot be written to" in ended.stderr
    assert "Recording" not in ended.stderr


def test_it_ends_at_once_when_it_is_stopped() -> None:
    nobody = Pairing("127.0.0.1", 9, "abcdefghijklmnop0123456789", tls=False)
    began = time.monotonic()
    with pytest.raises(CannotRecord):
        round_trips(nobody, 3600.0, lambda: time.monotonic() > began + 0.5)
