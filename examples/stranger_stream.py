"""Streams telemetry with nothing of this project: `AC_BRIDGE_URI=… python examples/stranger_stream.py [BATCHES]`.

What it sends is made up, ten frames a second, five to a batch; docs/wire-protocol.md has all fields.
"""

import asyncio
import hashlib
import json
import math
import os
import ssl
import sys
import uuid
from urllib.parse import SplitResult, urlsplit

import websockets


def trusted(uri: SplitResult) -> ssl.SSLContext | None:
    """What trusts the certificate of this pin, or that of an authority where there is none; None without TLS."""
    if uri.scheme == "ws":
        return None
    if not uri.path.startswith("/pin-"):
        return ssl.create_default_context()
    pem = ssl.get_server_certificate((uri.hostname or "", uri.port or 8765))
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() != uri.path.removeprefix("/pin-"):
        raise SystemExit("The certificate is not the one of the pairing string.")
    context = ssl.create_default_context(cadata=pem)
    context.check_hostname = False
    return context


async def stream(uri: SplitResult, batches: int) -> None:
    """Send so many batches, and say how far they are acknowledged."""
    address = f"{uri.scheme}://{uri.netloc}/"
    async with websockets.connect(
        address, subprotocols=[websockets.Subprotocol("ac-training.v1")], ssl=trusted(uri)
    ) as link:
        await link.send(
            json.dumps({"type": "hello", "bridge": "stranger", "stream": uuid.uuid4().hex, "role": "stream"})
        )
        print(await link.recv())
        for number in range(1, batches + 1):
            frames = [frame(5 * number + k) for k in range(5)]
            await link.send(json.dumps({"type": "telemetry_batch", "number": number, "frames": frames}))
            print(await link.recv())
            await asyncio.sleep(0.5)


def frame(index: int) -> dict[str, float]:
    """A car that goes faster and slower."""
    speed, gear = 30 + 10 * math.sin(index / 10), 3
    pedals = {"throttle": 0.5, "brake": 0.0, "steer": 0.0}
    return {"speed": speed, "gear": gear, "laps": 0, "lap_time": index / 10, "time": index / 10, **pedals}


asyncio.run(stream(urlsplit(os.environ["AC_BRIDGE_URI"]), int(sys.argv[1]) if len(sys.argv) > 1 else 20))
