"""What peers with the token can make a receiver hold: bounded for each, and for all of them beside an honest bridge."""

import asyncio
import hashlib
import itertools
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from bridge.link.exchange import Introduction
from bridge.spool import Spool
from experience.batches import MAX_STEPS_PER_BATCH
from experience.codec import encode_batch
from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.greedy_peers import GREEDY, Attack, big_batches, called, connected
from tests.support.links import running
from tests.support.receivers import ReceiverProcess, blob, hello, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.store import Store
from wire.messages import MAX_BLOB_BYTES

REDIAL_SECONDS = 5.0
"""Strangers to courtesy, but the cores of this machine are for the receiver."""
MAX_RESIDENT_MIB = 1024
"""What docs/performance.md states."""

RECEIVER = run_config(run_id="greedy", listen_host="127.0.0.1", listen_port=0, max_bridges=260)
Honest: TypeAlias = Callable[[], Awaitable[None]]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    store = Store(tmp_path / "store.db")
    store.set_meta("run_id", RECEIVER.run_id)
    # No bucket is needed: nothing is to be restored.
    store.set_ready()
    store.put_weights(1, b"weights", hashlib.sha256(b"weights").hexdigest())
    store.close()
    with receiver_process(RECEIVER, tmp_path) as process:
        process.pairing()
        yield process


def resident_mib(receiver: ReceiverProcess) -> int:
    """The most memory that the receiver has ever had, MiB."""
    status = Path(f"/proc/{receiver.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def largest_batch() -> bytes:
    """A valid batch whose blob is about as large as one may be."""
    return encode_batch(made_up_batch(1, [MAX_STEPS_PER_BATCH]))


async def misbehave(receiver: ReceiverProcess, attack: Attack, number: int) -> None:
    """One peer that dials again whenever it was let go."""
    while True:
        with suppress(OSError, EOFError, AssertionError):
            async with connected(receiver.pairing()) as peer:
                await attack(peer, hello(RECEIVER, f"{number:032x}", f"pc-{number}"))
        await asyncio.sleep(REDIAL_SECONDS)


async def strangers(receiver: ReceiverProcess) -> None:
    """Connections without a token, ever new ones, each with the longest request that is read."""
    while True:
        with suppress(OSError, EOFError):
            async with called(receiver.pairing()) as peer:
                await peer.say(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 8000)
                await asyncio.sleep(5.0)


async def publish(store: Store) -> None:
    """New weights, each time."""
    for version in itertools.count(2):
        await asyncio.sleep(1.0)
        weights = version.to_bytes(4, "big") * 2**20
        store.put_weights(version, weights, hashlib.sha256(weights).hexdigest())


async def misbehave_together(receiver: ReceiverProcess, attacks: Sequence[Attack], peers: int, honest: Honest) -> None:
    """So many peers with the token and a fifth as many without, until the honest bridge has stored its batches."""
    # What asyncio says of a connection that the receiver has ended.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    store = Store(receiver.store_file)
    work = [misbehave(receiver, attacks[number % len(attacks)], number) for number in range(peers)]
    work += [strangers(receiver) for _ in range(peers // 5)] + [publish(store)]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await honest()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        store.close()


def beside_an_honest_bridge(
    receiver: ReceiverProcess, folder: Path, attacks: Sequence[Attack], peers: int, seconds: float
) -> None:
    """Greedy peers for so long, while a real bridge sends a batch each quarter of a second; all of them are stored."""
    introduction = Introduction(racing(task_config(RECEIVER)), False, 1, "test")
    with Spool(folder) as spool, running(receiver.pairing(), spool, introduction) as link:
        wait_until(lambda: link.state.connected, "the honest bridge is there", 60)

        async def send() -> None:
            for number in range(1, int(4 * seconds) + 1):
                await asyncio.sleep(0.25)
                spool.append(blob(number), 20)
                link.notify()
            while not link.all_stored:
                await asyncio.sleep(0.1)

        asyncio.run(misbehave_together(receiver, attacks, peers, send))
        assert link.refusal is None


@linux
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_256_peers_at_their_worst_leave_memory_and_an_honest_bridge(receiver: ReceiverProcess, tmp_path: Path) -> None:
    attacks = (*GREEDY, big_batches(largest_batch()), big_batches(bytes(MAX_BLOB_BYTES)))

    beside_an_honest_bridge(receiver, tmp_path / "spool", attacks, 256, 30.0)

    print(f"resident at most {resident_mib(receiver)} MiB")
    assert resident_mib(receiver) < MAX_RESIDENT_MIB
    assert "Traceback" not in receiver.log_text()


@pytest.mark.slow
@linux
@pytest.mark.timeout(180)
def test_a_few_greedy_peers_leave_memory_and_an_honest_bridge(receiver: ReceiverProcess, tmp_path: Path) -> None:
    before = resident_mib(receiver)

    beside_an_honest_bridge(receiver, tmp_path / "spool", GREEDY, 2 * len(GREEDY), 3.0)

    assert resident_mib(receiver) - before < 200
    assert "Traceback" not in receiver.log_text()
