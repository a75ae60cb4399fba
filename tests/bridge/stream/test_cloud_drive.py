"""A simulated car that a driver in the cloud drives over 50 ms each way: whatever is killed, each step arrives once."""

import asyncio
import hashlib
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experience.batches import NOBODY, Batch
from experience.codec import decode_batch
from experience.environment import racing
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import stored_batches
from tests.support.cloud_drives import DrivenSite, driven_site, end
from tests.support.game_drive import SIGNATURE
from tests.support.policies import policy_file
from tests.support.waiting import wait_until
from train_cloud.driver.sending import dialled
from train_cloud.driver_messages import Joined, Say, Seen, encode, to_driver
from train_cloud.store import Store
from wire.messages import ControlChunk, DriverState

LAYOUT = racing().spaces.layout
VERSION = 3


def publish(site: DrivenSite) -> None:
    """Do what the trainer does."""
    blob, store = policy_file(SIGNATURE, VERSION), Store(site.receiver.store_file)
    store.put_weights(VERSION, blob, hashlib.sha256(blob).hexdigest())
    store.close()


def steps_of(site: DrivenSite) -> int:
    store = Store(site.receiver.store_file)
    try:
        return store.total_steps()
    finally:
        store.close()


def by_stream(site: DrivenSite) -> dict[str, list[Batch]]:
    store = Store(site.receiver.store_file)
    try:
        found: dict[str, list[Batch]] = {}
        for row in store.read_batches(0, 10**6):
            found.setdefault(row.stream, []).append(decode_batch(row.blob, LAYOUT))
        return found
    finally:
        store.close()


def played(log: str) -> dict[str, int]:
    """How the bridge says that it has played actions."""
    (line,) = re.findall(r'event="how actions were played" (.*)', log)
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.slow
def test_each_step_of_a_policy_over_a_link_is_experience_with_its_age(tmp_path: Path) -> None:
    with driven_site(tmp_path) as site, site.bridge("--steps", "120") as bridge:
        wait_until(lambda: "waiting for a driver in the cloud. None is connected" in site.bridge_log, "it says so")
        with site.driver() as driver:
            wait_until(lambda: "It waits for the first policy" in site.bridge_log, "it says what is missing")
            assert steps_of(site) == 0
            publish(site)
            assert bridge.wait(120) == ExitCode.OK, site.bridge_log
            wait_until(lambda: steps_of(site) == 120, "all has arrived")
            assert end(driver) == ExitCode.OK, site.driver_log
        batches = stored_batches(site.receiver, LAYOUT)
    assert sum(batch.steps for batch in batches) == 120
    counts = played(site.bridge_log)
    assert sum(counts.get(how, 0) for how in ("fresh", "late", "held", "watchdog")) == 120
    ages, versions = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("action_ages", "policy_versions")
    )
    assert set(versions) <= {NOBODY, VERSION}
    assert (versions == NOBODY).sum() == counts.get("watchdog", 0)
    of_policy = ages[versions == VERSION]
    assert len(of_policy) > 60
    # There and back, and what the driver needs; a busy machine takes longer.
    assert of_policy.min() >= 0.1
    assert batches[-1].truncated[-1]
    assert [end.reason for batch in batches for end in batch.episodes][-1] == "stopped"


@pytest.mark.slow
def test_killed_drivers_and_receivers_cost_no_order_and_double_nothing(tmp_path: Path) -> None:
    with driven_site(tmp_path) as site, site.bridge() as bridge:
        with site.driver("--reference") as driver:
            wait_until(lambda: steps_of(site) > 20, "it is driven")
            driver.kill()
        wait_until(lambda: "is silent: the car is braked gently" in site.bridge_log, "the watchdog brakes")
        wait_until(lambda: "None is connected" in site.bridge_log.split("is silent")[1], "no further episode begins")
        before = steps_of(site)
        with site.driver("--reference") as driver:
            wait_until(lambda: steps_of(site) > before + 20, "the new driver drives")
            site.receiver.kill()
            wait_until(lambda: "the receiver is gone" in site.driver_log, "the driver notices")
            site.restart_receiver()
            before = steps_of(site)
            wait_until(lambda: steps_of(site) > before + 20, "it is driven again")
            assert end(bridge) == ExitCode.OK, site.bridge_log
            assert end(driver) == ExitCode.OK, site.driver_log
        streams = by_stream(site)
    assert len(streams) == 2, "one of each driver's life"
    for batches in streams.values():
        first = 0
        for batch in batches:
            assert (batch.run_first_steps == first + np.cumsum([0, *batch.run_lengths[:-1]])).all()
            first += batch.steps
        ends = [end.reason for batch in batches for end in batch.episodes]
        assert set(ends) <= {"off_track", "crash", "reversed", "stalled", "time", "interrupted", "stopped"}


@pytest.mark.slow
def test_a_chunk_of_the_past_and_one_of_another_clock_move_nothing(tmp_path: Path) -> None:
    async def drive(site: DrivenSite) -> None:
        """A driver whose chunks are all of the past, from one clock or another."""
        connection = await dialled(site.instance / "driver.sock")
        async for frame in connection:
            assert isinstance(frame, bytes)
            match to_driver(frame):
                case Joined(stream=stream):
                    await connection.send(encode(Say(stream, DriverState(True))))
                case Seen(stream=stream, frame=seen):
                    assert seen.time is not None
                    number = round(1000 * seen.time) + 1
                    late = ControlChunk(number, seen.time, seen.time, 0.05, ((1.0, 1.0),), seen.time, VERSION)
                    early = msgspec.structs.replace(late, observed=1e6, first=1e6, expires=1e7)
                    for chunk in (late, early):
                        await connection.send(encode(Say(stream, chunk)))
                        await asyncio.sleep(0.01)
                    if seen.time > 2.0:
                        await connection.close()

    with driven_site(tmp_path, latency=0.0) as site, site.bridge() as bridge:
        wait_until(lambda: "None is connected" in site.bridge_log, "it says so")
        asyncio.run(drive(site))
        assert end(bridge) == ExitCode.OK, site.bridge_log
    counts = played(site.bridge_log)
    assert counts["past"] > 20
    assert counts["other_clock"] > 20
    assert set(counts) == {"past", "other_clock", "watchdog"}
