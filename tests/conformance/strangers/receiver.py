"""A receiver with its trainer, by somebody who has read docs/protocol and nothing else.

    python receiver.py TOKEN [FAULT]

It prints its port, and steps the counter of whoever dials; it imports nothing of this project. With a FAULT it does one
thing as it must not.
"""

import asyncio
import base64
import contextlib
import re
import secrets
import struct
import sys
from http import HTTPStatus
from typing import Any

import msgspec
import zstandard
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

NAME = "tests.conformance.counter:Counter"
FAULT = sys.argv[2] if len(sys.argv) > 2 else ""
KEY = "Basic " + base64.b64encode(f"bridge:{sys.argv[1]}".encode()).decode()
NOTHING = msgspec.msgpack.encode(msgspec.msgpack.Ext(2, struct.pack("<B3sBq", 3, b"<i8", 0, 0)))
"""The action 0."""


class Trainer:
    """Makes, resets and steps, one call at a time, over whichever bridge is there."""

    def __init__(self) -> None:
        self.client, self.number = secrets.token_hex(16), 0
        self.call: dict[str, Any] | None = None
        self.made = False
        self.link: ServerConnection | None = None

    async def next(self, what: str, body: bytes) -> None:
        self.number += 2 if FAULT == "leaves numbers out" else 1
        self.call = {"type": "env_call", "client": self.client, "number": self.number, "what": what, "seconds": 30.0,
                     "body": body}  # fmt: skip
        await self.ask()

    async def ask(self) -> None:
        if self.link is not None and self.call is not None:
            with contextlib.suppress(ConnectionClosed):
                await self.link.send(msgspec.msgpack.encode(self.call))

    async def begin(self) -> None:
        self.made = False
        await self.next("make", msgspec.msgpack.encode({"name": NAME, "kwargs": {}}))

    async def came(self, link: ServerConnection) -> None:
        self.link = link
        if self.call is None:
            await self.begin()
        elif FAULT == "forgets what it asked":
            await self.next("step", NOTHING)
        else:
            await self.ask()

    async def answered(self, result: dict[str, Any]) -> None:
        call = self.call
        if call is None:
            return
        if (result["client"], result["number"]) != (call["client"], call["number"]) and FAULT != "takes any answer":
            return
        if not readable(result["body"]):
            return
        if result.get("error") == "unknown_client" and FAULT != "never begins anew":
            await self.begin()
        elif call["what"] == "make":
            await self.next("reset", msgspec.msgpack.encode({"seed": 1}))
        else:
            await self.next("step", NOTHING)


def readable(body: bytes) -> bool:
    """Whether a body is one, which may be compressed."""
    if body.startswith(b"\x28\xb5\x2f\xfd") and FAULT != "reads nothing compressed":
        body = zstandard.ZstdDecompressor().decompress(body, max_output_size=4 * 2**20)
    try:
        msgspec.msgpack.decode(body)
    except msgspec.MsgspecError:
        return False
    return True


TRAINER = Trainer()


def let_in(_: ServerConnection, request: Request) -> Response | None:
    """Nobody without the token."""
    if request.headers.get("Authorization") == KEY or FAULT == "lets everybody in":
        return None
    return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", request.headers.__class__())


async def refuse(link: ServerConnection, code: str, close: int) -> None:
    """Say why, and hang up."""
    if FAULT != "hangs up without a word":
        await link.send(msgspec.msgpack.encode({"type": "error", "code": code, "text": "That is not in the protocol."}))
    await link.close(close)


def read(frame: Any) -> dict[str, Any] | None:
    """The message, if it is one."""
    try:
        message = msgspec.msgpack.decode(frame)
    except msgspec.MsgspecError:
        return None
    known = isinstance(message, dict) and message.get("type") in ("hello", "env_result", "ping")
    return message if known else None


async def talk(link: ServerConnection) -> None:
    """With one bridge, until it goes."""
    hello = read(await link.recv(decode=False))
    if hello is None or hello["type"] != "hello" or not re.fullmatch("[0-9a-f]{32}", hello["stream"]):
        await refuse(link, "bad_message", 1007)
    elif hello["role"] != "serve_env":
        await refuse(link, "unknown_role", 4002)
    elif not hello["environments"]:
        await refuse(link, "bad_message", 4002)
    else:
        welcome = {"type": "welcome", "run_id": "a-strangers", "stored_through": 0, "safe_through": 0,
                   "stored_steps": 0, "trained_steps": 0, "max_lead_steps": 1}  # fmt: skip
        await link.send(msgspec.msgpack.encode(welcome))
        if NAME in hello["environments"]:
            await TRAINER.came(link)
        await serve_on(link)


async def serve_on(link: ServerConnection) -> None:
    """After the welcome."""
    while True:
        message = read(await link.recv(decode=False))
        if message is None or message["type"] == "hello":
            if FAULT != "believes everything":
                await refuse(link, "bad_message", 1008)
                return
        elif message["type"] == "ping":
            word = "at" if FAULT == "another pong" else "time"
            await link.send(msgspec.msgpack.encode({"type": "pong", word: message["time"]}))
        else:
            await TRAINER.answered(message)


async def handle(link: ServerConnection) -> None:
    """One connection."""
    with contextlib.suppress(ConnectionClosed):
        await talk(link)


async def main() -> None:
    """Serve for ever."""
    protocols: Any = None if FAULT == "speaks anything" else ["ac-training.v1"]
    async with serve(
        handle, "127.0.0.1", 0, subprotocols=protocols, process_request=let_in, compression=None
    ) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
