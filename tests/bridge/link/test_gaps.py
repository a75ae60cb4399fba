"""Whatever the network does to the link, its thread does not hold up the control loop of the same process.

No length of time is promised here, which another machine would break: the gaps of a thread that wants to run each
millisecond are compared with those beside a link that makes its TLS settings anew for each dial, as it once did.
"""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.link import dialing
from bridge.spool import Spool
from runtime.pinned_https import client_context
from tests.support.certificates import certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.gaps import Ticker
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer

SECONDS = 1.5


@pytest.fixture(autouse=True)
def many_dials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "DIAL_INTERVAL_S", (0.05, 0.07))


@contextmanager
def linked(folder: Path, pinned: bool = True) -> Iterator[FaultProxy]:
    """A link to a receiver by way of what is to have the fault; `pinned` to the receiver's certificate or another."""
    (context, pin), (_, other) = certificate(folder, "receiver"), certificate(folder, "other")
    with (
        Spool(folder / "spool") as spool,
        WireServer(tls=context) as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        running(replace(server.pairing, port=proxy.port, pin=pin if pinned else other), spool) as link,
    ):
        if pinned:
            append(spool, link, 5)
            wait_until(lambda: link.all_stored, "the link stands")
        yield proxy


def held_up(folder: Path, fault: str) -> float:
    """By how much, in all, a ticker was held up during some seconds of `fault`, s."""
    folder.mkdir()
    with linked(folder) as proxy, Ticker() as ticker:
        for _ in range(10):
            getattr(proxy, fault)()
            time.sleep(SECONDS / 10)  # the outage itself, not a wait for a condition
    return sum(ticker.gaps)


def test_a_dial_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {fault: held_up(tmp_path / fault, fault) for fault in ("refuse", "black_hole", "cut")}

    def anew(pinned: bool) -> ssl.SSLContext:
        del pinned
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    monkeypatch.setattr(dialing, "client_context", anew)
    before = held_up(tmp_path / "before", "refuse")
    assert all(held < before / 2 for held in found.values()), (found, before)


def test_the_tls_settings_are_made_once_and_need_no_authorities_where_a_pin_is_checked() -> None:
    assert client_context(True) is client_context(True)
    assert client_context(False) is client_context(False)
    assert client_context(True).cert_store_stats()["x509"] == 0
    assert client_context(False).verify_mode is ssl.CERT_REQUIRED
