"""A bridge by somebody who has read docs/protocol and nothing else, and knows NumPy and Gymnasium by hearsay only.

    python bridge.py PAIRING_STRING [FAULT]

It serves the counter, and imports nothing of this project; a language with WebSockets and MessagePack is all it takes.
With a FAULT it does one thing as it must not.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import struct
import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

NAME, MOST = "tests.conformance.counter:Counter", 4
FAULT = sys.argv[2] if len(sys.argv) > 2 else ""
STREAM = secrets.token_hex(16)
HIGHEST = 9.0 if FAULT == "other space" else "inf"
SEEN = {"dtype": "float64", "high": HIGHEST, "low": 0.0, "shape": [1], "type": "Box"}
DONE = {"dtype": "int64", "n": 3, "start": 0, "type": "Discrete"}


def array(items: list[Any], dtype: str = "<f8") -> msgspec.msgpack.Ext:
    """An array of one axis, or of two where the items are rows of one."""
    shape = [len(items), 1] if isinstance(items[0], list) else [len(items)]
    flat = [row[0] if isinstance(row, list) else row for row in items]
    form = {"<f8": "d", "<f4": "f", "|b1": "?", "<i8": "q"}[dtype]
    head = struct.pack(f"<B3sB{len(shape)}Q", 3, dtype.encode(), len(shape), *shape)
    return msgspec.msgpack.Ext(1, head + struct.pack(f"<{len(flat)}{form}", *flat))


def read(code: int, data: memoryview) -> Any:
    """Whole numbers, alone or in an array of one axis: an action holds nothing else."""
    if code not in (1, 2) or bytes(data[1:4]) != b"<i8":
        raise ValueError("no action")
    begin = 5 + 8 * data[4]
    numbers = struct.unpack(f"<{(len(data) - begin) // 8}q", data[begin:])
    return numbers[0] if code == 2 else list(numbers)


class Refused(Exception):
    """The code, and the sentence."""


class Client:
    """A client's counters, and its newest answer."""

    def __init__(self) -> None:
        self.newest = 0
        self.answer: dict[str, Any] | None = None
        self.counters: list[list[int]] = []
        self.vector = False

    async def do(self, what: str, body: bytes) -> Any:
        if what != "make" and not self.counters:
            if FAULT != "knows everybody":
                raise Refused("unknown_client", "This client has made no environment here.")
            self.counters = [[0, 0]]
        try:
            asked: Any = msgspec.msgpack.decode(body, ext_hook=read) if body else None
        except (msgspec.MsgspecError, ValueError):
            raise Refused("bad_call", "The body of this call is no value.") from None
        match what:
            case "make":
                return self._make(asked)
            case "reset":
                if not isinstance(asked, dict) or not isinstance(asked.get("seed"), (int, list, type(None))):
                    raise Refused("bad_call", "A seed is a whole number or none.")
                for counter in self.counters:
                    counter[0] = 0
                return [self._seen(), self._info()]
            case "step":
                return await self._step(asked if self.vector else [asked])
            case "close":
                self.counters = []
        return None

    def _make(self, asked: Any) -> Any:
        if not isinstance(asked, dict):
            raise Refused("bad_call", "The body of make is a dict.")
        if asked["name"] != NAME and FAULT != "offers everything":
            raise Refused("unknown_environment", f"There is no {asked['name']} here, only {NAME}.")
        count = asked.get("count") or 1
        if sum(len(one.counters) for one in CLIENTS.values() if one is not self) + count > MOST and FAULT != "no limit":
            raise Refused("full", f"There are {MOST} environments here, and no more.")
        self.counters, self.vector = [[0, 0] for _ in range(count)], asked.get("count") is not None
        texts = [json.dumps(space, sort_keys=True, separators=(",", ":")) for space in (SEEN, DONE)]
        return {"observation_space": texts[0], "action_space": texts[1], "metadata": {}}

    async def _step(self, actions: list[int]) -> Any:
        if 1 in actions:
            raise Refused("raised", "RuntimeError: " + ("" if FAULT == "keeps silent" else "asked to raise"))
        if 2 in actions:
            await asyncio.sleep(1.0)
        for counter in self.counters:
            counter[:] = counter[0] + 1, counter[1] + 1
        count = len(self.counters)
        if not self.vector:
            return [self._seen(), 0.5, False, False, self._info()]
        rewards: Any = [0.5] * count if FAULT == "rewards in a list" else array([0.5] * count)
        return [self._seen(), rewards, array([False] * count, "|b1"), array([False] * count, "|b1"), self._info()]

    def _seen(self) -> Any:
        dtype = "<f4" if FAULT == "casts" else "<f8"
        rows = [[float(steps)] for steps, _ in self.counters]
        return array(rows, dtype) if self.vector else array(rows[0], dtype)

    def _info(self) -> dict[str, Any]:
        if not self.vector:
            return {"total": self.counters[0][1]}
        count = len(self.counters)
        return {"total": array([total for _, total in self.counters], "<i8"), "_total": array([True] * count, "|b1")}


CLIENTS: dict[str, Client] = {}
LINK: list[ClientConnection] = []
ONE_AT_A_TIME = asyncio.Lock()


async def say(message: dict[str, Any]) -> None:
    """Over the connection of now; what finds none is asked for again."""
    with contextlib.suppress(WebSocketException, IndexError):
        await LINK[-1].send(msgspec.msgpack.encode(message))


async def called(call: dict[str, Any]) -> None:
    """Do a call, unless it is done or being done."""
    client = CLIENTS.setdefault(call["client"], Client())
    if call["number"] <= client.newest and FAULT not in ("does it again", "does it twice at once"):
        if client.answer is not None and client.answer["number"] == call["number"]:
            await say(client.answer)
        return
    if call["number"] <= client.newest and FAULT == "does it twice at once" and client.answer is not None:
        await say(client.answer)
        return
    client.newest, client.answer = call["number"], None
    error = None
    async with ONE_AT_A_TIME if FAULT == "one at a time" else contextlib.AsyncExitStack():
        try:
            body = await client.do(call["what"], call.get("body", b""))
        except Refused as refusal:
            error, body = refusal.args
    said = {"type": "env_result", "client": call["client"], "number": call["number"], "seconds": 0.0}
    client.answer = said | {"body": msgspec.msgpack.encode(body)} | ({"error": error} if error else {})
    await say(client.answer)


async def serve(uri: str) -> None:
    """Dial for ever."""
    parts, tasks = urlsplit(uri), set[Any]()
    password = "somebody" if FAULT == "another token" else parts.password
    header = "Basic " + base64.b64encode(f"{parts.username}:{password}".encode()).decode()
    hello = {"type": "hello", "bridge": "a stranger", "role": "serve_env", "signature": "", "spaces": "",
             "real_time": False, "cars": MOST, "last_number": 0, "weights_version": 0, "software": "1",
             "environments": [NAME]}  # fmt: skip
    while True:
        stream = secrets.token_hex(16) if FAULT == "another stream" else STREAM
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            async with connect(f"ws://{parts.hostname}:{parts.port}/", subprotocols=["ac-training.v1"],  # type: ignore[list-item]  # a text
                               additional_headers={"Authorization": header}, compression=None, ping_interval=None,
                               close_timeout=0.1) as link:  # fmt: skip
                await link.send(msgspec.msgpack.encode(hello | {"stream": stream}))
                LINK.append(link)
                silent = 0.0
                while silent < 4.0 or FAULT == "never pings":
                    try:
                        message = msgspec.msgpack.decode(await asyncio.wait_for(link.recv(decode=False), 0.5))
                    except TimeoutError:
                        silent += 0.5
                        if FAULT != "never pings":
                            await say({"type": "ping", "time": silent})
                        continue
                    silent = 0.0
                    if message["type"] == "env_call":
                        tasks.add(task := asyncio.ensure_future(called(message)))
                        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
