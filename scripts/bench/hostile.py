"""`python -m scripts.bench.hostile LOAD`: a peer with the token that does its worst, until it is ended.

It sends the largest batches that are allowed, the costliest that are refused, Hellos of ever new streams, and steps of
more numbers than any task has, all at once, each on a connection of its own. LOAD is the JSON file of a Load.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bridge.link.dialing import dial
from experience.codec import Batch, EpisodeRecord, LapRecord, encode_batch
from experience.environment import racing
from scripts.bench.load import Load, hello_of
from wire.frames import decode_down, encode_frame, encode_text
from wire.messages import MAX_VECTOR, Hello, Transition, TransitionBatch, Welcome
from wire.pairing import parse_pairing

STEPS = 4096
BAD_AT_ONCE = 64
NICENESS = 10
"""Its own work is another machine's: here it must not take the processor from those whom it is measured beside."""

_Attack = Callable[[ClientConnection, Hello], Awaitable[None]]


def largest_batch(noise: int, reward: float) -> bytes:
    """A batch of as much as any may hold, with `noise` of up to 32768 that no compression makes smaller.

    With a reward of 1e6 it is refused, after all of it was looked at.
    """
    rng = np.random.default_rng(1)
    layout = racing().spaces.layout

    def column(rows: int, size: int, step: float | None) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return (rng.integers(-noise, max(1, noise), (rows, size)) * np.float32(step or 1.0)).astype(np.float32)

    batch = Batch(
        layout=layout,
        run_lengths=np.ones(STEPS, np.int32),
        run_cars=np.zeros(STEPS, np.int32),
        run_first_steps=rng.integers(0, 2**40, STEPS),
        observations=column(2 * STEPS, layout.observation.size, layout.observation.step),
        actions=column(STEPS, layout.action.size, layout.action.step),
        rewards=rng.normal(size=STEPS).astype(np.float32),
        terminated=np.ones(STEPS, bool),
        truncated=np.zeros(STEPS, bool),
        policy_versions=np.zeros(STEPS, np.uint32),
        action_ages=rng.random(STEPS).astype(np.float32),
        off_period=np.zeros(STEPS, bool),
        laps=tuple(LapRecord(row, 88.0, True) for row in range(STEPS)),
        episodes=tuple(EpisodeRecord(row, 1, 1.0, "interrupted") for row in range(STEPS)),
    )
    batch.rewards[-1] = reward
    return encode_batch(replace(batch))


async def _again_and_again(load: Load, name: str, attack: _Attack, new_streams: bool) -> None:
    hello = hello_of(load, name)
    while True:
        if new_streams:
            hello = msgspec.structs.replace(hello, stream=secrets.token_hex(16))
        with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError):
            connection = await dial(parse_pairing(load.pairing))
            try:
                await connection.send(encode_frame(hello))
                await attack(connection, hello)
            finally:
                if not connection.transport.is_closing():
                    connection.transport.abort()


async def _welcome(connection: ClientConnection) -> Welcome:
    while not isinstance(message := decode_down(await connection.recv()), Welcome):
        pass
    return message


async def _run(load: Load) -> None:
    good, bad = largest_batch(32768, 1.0), largest_batch(0, 1e6)
    numbers = [1.0 / 3.0] * MAX_VECTOR
    step = encode_text(Transition(1, numbers, numbers, 1.0, numbers, terminated=False, truncated=False))

    async def flood(connection: ClientConnection, _: Hello) -> None:
        through = (await _welcome(connection)).stored_through
        hearing = asyncio.create_task(connection.wait_closed())
        for number in count(through + 1):
            await connection.send(encode_frame(TransitionBatch(number, good)))
            await asyncio.sleep(0)
        await hearing

    async def refused(connection: ClientConnection, _: Hello) -> None:
        await _welcome(connection)
        for number in range(1, BAD_AT_ONCE + 1):
            await connection.send(encode_frame(TransitionBatch(number, bad)))
            await asyncio.sleep(0)
        await connection.wait_closed()

    async def greet(connection: ClientConnection, _: Hello) -> None:
        await _welcome(connection)

    async def numbered(connection: ClientConnection, _: Hello) -> None:
        await _welcome(connection)
        while True:
            await connection.send(step)
            # The library does not wait where the peer has gone, and would not hear of it.
            await asyncio.sleep(0)

    attacks: list[tuple[str, _Attack, bool]] = [
        ("flood", flood, False),
        ("refused", refused, False),
        ("greet", greet, True),
        ("numbered", numbered, False),
    ]
    await asyncio.gather(*(_again_and_again(load, f"hostile-{name}", attack, new) for name, attack, new in attacks))


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    asyncio.run(_run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Load)))
