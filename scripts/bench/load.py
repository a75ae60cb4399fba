"""The load of scripts.bench.receiver and .dashboard: many simulated bridges in one process, over real TLS sockets.

Reads one Load as JSON from standard input and writes one Measured as JSON to standard output. Bridges dial as real
ones do and send, in real time, what the simulator's car went through, in batches that are made before the clock starts,
so that the time goes into sending and hearing. On a track that is named they tell where their cars are, too.
"""

import asyncio
import math
import os
import secrets
import sys
import time
from collections import deque

import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection

from bridge.link.dialing import dial
from bridge.link.session import REPORT_SECONDS
from bridge.link.shown_car import TELEMETRY_SECONDS
from experience.codec import encode_batch
from experience.environment import racing
from racing.track import Track, parse_track
from racing.track_text import track_hash, track_text
from scripts.bench.processes import PROC, cpu_seconds
from scripts.bench.wire import simulated_batches
from wire.frames import decode_down, encode_frame
from wire.messages import Ack, Hello, Report, Role, Telemetry, TrackAnnouncement, TransitionBatch, Welcome
from wire.pairing import parse_pairing

STEPS_PER_SECOND = 60
STEPS_PER_BATCH = 10
DIALS_AT_ONCE = 16
DIFFERENT_BATCHES = 64


class Load(msgspec.Struct):
    """How many bridges send to whom (its process too, to look at its CPU time), and for how long (s).

    With the name of a `track` they announce it and tell their cars' places on it, as often as bridges do.
    """

    pairing: str
    receiver_pid: int
    signature: str
    bridges: int
    seconds: float
    track: str = ""


class Measured(msgspec.Struct):
    """What the bridges saw: steps sent and acknowledged as stored, send-to-ack times (s), shares of a core (0..1).

    receiver_cpu is None where the system has no /proc.
    """

    offered_steps: int
    acknowledged_steps: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    receiver_cpu: float | None
    failures: int


def hello_of(load: Load, bridge: str, track: bytes | None = None) -> Hello:
    """What a bridge of this name says first, of a stream of its own, on the track with this text."""
    return Hello(
        bridge=bridge,
        stream=secrets.token_hex(16),
        role=Role.COLLECT,
        signature=load.signature,
        spaces=racing().spaces.text,
        real_time=True,
        cars=1,
        last_number=0,
        weights_version=0,
        software="bench",
        track=None if track is None else track_hash(track),
    )


def telemetry_of(track: Track, number: int, index: int) -> Telemetry:
    """Where the car of bridge `number` says that it is in its message `index`: each has a pace of its own, and sways.

    Every three minutes it has left the track.
    """
    speed, seconds = 30.0 + 2.0 * number, index * TELEMETRY_SECONDS
    gone = speed * seconds
    sway, left = math.sin(seconds + number), (index + 61 * number) % 900 == 0
    place = gone % track.length
    return Telemetry(
        place=place,
        gap=2.0 * sway,
        speed=speed,
        gear=4,
        throttle=0.5 + 0.5 * sway,
        brake=0.0,
        steer=0.3 * sway,
        laps=int(gone / track.length),
        lap_time=place / speed,
        delta=0.1 * sway,
        off_tracks=((place, 7.0),) if left else (),
    )


class _Bridge:
    """One simulated bridge: sends on its own schedule, whatever the receiver does."""

    connection: ClientConnection

    def __init__(self, load: Load, number: int, blobs: list[bytes], track: Track | None) -> None:
        self._load, self._number, self._blobs, self._track = load, number, blobs, track
        self._name = f"bench-{number}"
        self._offset = number / load.bridges * STEPS_PER_BATCH / STEPS_PER_SECOND
        self._waiting: deque[tuple[int, float]] = deque()
        self.sent = self.acknowledged = 0
        self.times: list[float] = []

    async def dial(self) -> None:
        self.connection = await dial(parse_pairing(self._load.pairing))
        text = None if self._track is None else track_text(self._track)
        await self.connection.send(encode_frame(hello_of(self._load, self._name, text)))
        while not isinstance(welcome := decode_down(await self.connection.recv()), Welcome):
            pass
        if welcome.wants_track and text is not None:
            await self.connection.send(encode_frame(TrackAnnouncement(text)))

    async def send(self, began: float) -> None:
        period = STEPS_PER_BATCH / STEPS_PER_SECOND
        for index in range(round(self._load.seconds / period)):
            due = began + self._offset + index * period
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            frame = encode_frame(TransitionBatch(index + 1, self._blobs[index % len(self._blobs)]))
            # From the moment it was due: a sender that falls behind must not hide a slow receiver.
            self._waiting.append((index + 1, due))
            await self.connection.send(frame)
            self.sent += 1

    async def tell(self, track: Track, began: float) -> None:
        """Where the car is and how the bridge stands, for as long as it sends."""
        for index in range(round(self._load.seconds / TELEMETRY_SECONDS)):
            await asyncio.sleep(max(0.0, began + self._offset + index * TELEMETRY_SECONDS - time.monotonic()))
            await self.connection.send(encode_frame(telemetry_of(track, self._number, index)))
            if index % round(REPORT_SECONDS / TELEMETRY_SECONDS) == 0:
                unsent = STEPS_PER_BATCH * len(self._waiting)
                report = Report(0, STEPS_PER_SECOND, unsent, 0, 0.002, self.times[-1] if self.times else None)
                await self.connection.send(encode_frame(report))

    async def hear(self) -> None:
        async for frame in self.connection:
            message = decode_down(frame)
            if isinstance(message, Ack):
                now = time.monotonic()
                self.acknowledged = max(self.acknowledged, message.stored_through)
                while self._waiting and self._waiting[0][0] <= message.stored_through:
                    self.times.append(now - self._waiting.popleft()[1])


async def _run(load: Load) -> Measured:
    blobs = [encode_batch(batch) for batch in simulated_batches(STEPS_PER_BATCH, 1, DIFFERENT_BATCHES)]
    track = parse_track(load.track) if load.track else None
    bridges = [_Bridge(load, number, blobs, track) for number in range(load.bridges)]
    room = asyncio.Semaphore(DIALS_AT_ONCE)

    async def begin(bridge: _Bridge) -> None:
        async with room:
            await bridge.dial()

    await asyncio.gather(*(begin(bridge) for bridge in bridges))
    hearing = [asyncio.create_task(bridge.hear()) for bridge in bridges]
    began, cpu, receiver_before = time.monotonic() + 0.2, time.process_time(), _cpu_seconds(load.receiver_pid)
    work = [bridge.send(began) for bridge in bridges]
    if track is not None:
        work += [bridge.tell(track, began) for bridge in bridges]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    seconds, cpu, receiver_after = time.monotonic() - began, time.process_time() - cpu, _cpu_seconds(load.receiver_pid)
    deadline = time.monotonic() + 10
    while any(bridge.acknowledged < bridge.sent for bridge in bridges) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    for task in hearing:
        task.cancel()
    times = np.array([time for bridge in bridges for time in bridge.times] or [float("inf")])
    return Measured(
        offered_steps=STEPS_PER_BATCH * sum(bridge.sent for bridge in bridges),
        acknowledged_steps=STEPS_PER_BATCH * sum(bridge.acknowledged for bridge in bridges),
        seconds=seconds,
        p50=float(np.percentile(times, 50)),
        p99=float(np.percentile(times, 99)),
        cpu=cpu / seconds,
        receiver_cpu=None if receiver_after is None else (receiver_after - (receiver_before or 0.0)) / seconds,
        failures=sum(isinstance(outcome, BaseException) for outcome in outcomes),
    )


def pin(pid: int, core: int) -> None:
    """Let the process run on this core alone, where the system can do that; 0 is this process."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {cores[min(core, len(cores) - 1)]})


def _cpu_seconds(pid: int) -> float | None:
    """User and system time of a process so far, s; None where there is no /proc."""
    return cpu_seconds(pid) if PROC.exists() else None


if __name__ == "__main__":
    pin(0, core=1)
    result = asyncio.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
