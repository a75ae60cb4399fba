"""Whatever the network does to the link, its thread does not hold up the control loop of the same process.

No length of time is promised here, which another machine would break: the gaps of a thread that wants to run each
millisecond, and the processor time of everybody else, are compared with those beside a link that makes its TLS
settings anew for each dial, as it once did.
"""

import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.link import dialing, link
from bridge.spool import Spool
from runtime.pinned_https import client_context
from tests.support.certificates import certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.gaps import Ticker
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer

DIALS = 10
ROUNDS = 3


@pytest.fixture(autouse=True)
def dials(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When it was dialled; often."""
    real, moments = dialing.dial, list[float]()

    async def dial(*arguments: Any) -> Any:
        moments.append(time.monotonic())
        return await real(*arguments)

    monkeypatch.setattr(link, "dial", dial)
    for module in (dialing, link):
        monkeypatch.setattr(module, "DIAL_INTERVAL_S", (0.05, 0.07))
    monkeypatch.setattr(link, "SUSPECT_SECONDS", 0.0)
    return moments


def during(fault: str, folder: Path, dials: list[float]) -> Ticker:
    """What a ticker felt of a link and its receiver during so many dials with `fault` on the way between them."""
    folder.mkdir()
    (context, pin), (strange, _) = certificate(folder, "receiver"), certificate(folder, "stranger")
    with (
        Spool(folder / "spool") as spool,
        WireServer(tls=context) as server,
        WireServer(tls=strange) as stranger,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        running(replace(server.pairing, port=proxy.port, pin=pin), spool) as linked,
    ):
        append(spool, linked, 5)
        wait_until(lambda: linked.all_stored, "the link stands")
        if fault == "stranger":
            proxy.target = ("127.0.0.1", stranger.port)
        before = len(dials)

        def dialled() -> bool:
            (proxy.cut if fault == "stranger" else getattr(proxy, fault))()
            return len(dials) >= before + DIALS

        with Ticker() as ticker:
            wait_until(dialled, "it is dialled often enough", every=0.1)
    return ticker


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refuse", "black_hole", "cut", "stranger"])
def test_a_dial_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dials: list[float], fault: str
) -> None:
    def anew(pinned: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = not pinned, ssl.CERT_NONE
        return context

    now, once = list[Ticker](), list[Ticker]()
    # In turns; of each the quietest round counts, for one that the machine disturbed says nothing of either.
    for number in range(ROUNDS):
        for made, tickers in ((client_context, now), (anew, once)):
            monkeypatch.setattr(dialing, "client_context", made)
            tickers.append(during(fault, tmp_path / f"{made.__name__}-{number}", dials))
    said = [ticker.longest(5) for ticker in (*now, *once)]
    assert min(one.others_seconds for one in now) < min(one.others_seconds for one in once) / 2, said
    assert min(sum(one.gaps) for one in now) < min(sum(one.gaps) for one in once), said


def test_the_tls_settings_are_made_once_and_need_no_authorities_where_a_pin_is_checked() -> None:
    assert client_context(True) is client_context(True)
    assert client_context(False) is client_context(False)
    assert client_context(True).cert_store_stats()["x509"] == 0
    assert client_context(False).verify_mode is ssl.CERT_REQUIRED
