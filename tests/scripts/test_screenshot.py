"""The picture in README is taken once there is something to see; else a sentence says what was missing."""

import asyncio
import json
import queue
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from scripts.screenshot import BROWSERS, NoPicture, _link, photograph
from tests.support.tools import missing
from tests.support.waiting import wait_until

PNG_1440_900 = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (1440).to_bytes(4, "big") + (900).to_bytes(4, "big")


@contextmanager
def dashboard(moves: bool) -> Iterator[str]:
    """A page with the dashboard's stream, on which a lap is clean from the third look on; a link to it."""

    async def page(_: Request) -> Response:
        return HTMLResponse(
            "<!doctype html><title>run</title>", headers={"Content-Security-Policy": "default-src 'self'"}
        )

    async def enter(_: Request) -> Response:
        return RedirectResponse("/")

    async def traces(_: Request) -> Response:
        return JSONResponse({"best": {}})

    async def stream(_: Request) -> Response:
        async def events() -> AsyncIterator[dict[str, str]]:
            for count in range(10_000):
                yield {"event": "look", "data": json.dumps({"laps": {"clean": count // 3}})}
                yield {"event": "live", "data": json.dumps({"cars": [{"x": count if moves else 1, "y": 2}]})}
                await asyncio.sleep(0.02)

        return EventSourceResponse(events())

    routes = [Route("/", page), Route("/link/{code}", enter), Route("/api/traces", traces), Route("/stream", stream)]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the page is served", 30)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/link/1.a-b.c"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)


@pytest.mark.slow
def test_it_is_taken_once_a_lap_is_clean_and_a_car_has_moved(tmp_path: Path) -> None:
    if not any(map(shutil.which, BROWSERS)):
        missing("needs Chromium")
    with dashboard(moves=True) as link:
        photograph(link, tmp_path / "images" / "page.png", 5.0)
    assert (tmp_path / "images" / "page.png").read_bytes().startswith(PNG_1440_900)
    with dashboard(moves=False) as link, pytest.raises(NoPicture, match="a clean lap, no car that moves"):
        photograph(link, tmp_path / "still.png", 0.05)
    assert not (tmp_path / "still.png").exists()


def test_the_link_is_found_in_what_the_demo_says() -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    for line in ("setting up\n", "The dashboard: https://127.0.0.1:8766/link/1796.ab12.cd-34.\n", None):
        lines.put(line)
    assert _link(lines, 1.0) == "https://127.0.0.1:8766/link/1796.ab12.cd-34"
    with pytest.raises(NoPicture, match="showed no link"):
        _link(lines, 1.0)
