"""A small real server of the dashboard's page, for tests of the page alone, which scripts what the page is told.

It serves train_cloud/dashboard/static under the dashboard's routes and headers, on a free port of this machine, from a
thread of the test process. What it tells is the test's to choose: change `look`, `live` and the rest, then `push`.
`visit` is a browser's tab on it; import the fixture `feed` from here.
"""

import asyncio
import json
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import train_cloud
from tests.support.dashboard_documents import (
    Document,
    car_document,
    empty_look,
    history_document,
    learning_look,
    traces_document,
    track_document,
)
from tests.support.waiting import wait_until

STATIC = Path(train_cloud.__file__).parent / "dashboard" / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
)
CSP += "base-uri 'none'; frame-ancestors 'none'"
TOKEN = "a-token-of-the-dashboard"
_COOKIE = "session"
_PUBLIC = ("/login", "/static/login.css", "/favicon.ico")
_PATIENCE = 30_000
"""ms for what takes tenths of a second on a machine of its own."""

expect.set_options(timeout=_PATIENCE)


class DashboardFeed:
    """The server. Change `look`, `live`, `track`, `history`, `traces` (what the routes tell), then `push`."""

    def __init__(self) -> None:
        self.look: Document = empty_look()
        self.live: Document = {"at": 0.0, "cars": [], "spots": []}
        self.track: Document | None = None
        self.history: Document = {"last_id": 0, "at": [], "steps": [], "life": [], "series": {}}
        self.traces: Document = {}
        self.asked: list[str] = []
        """Paths that were asked for, the newest last."""
        self.message = ""
        """What the login page says, HTML."""
        self._sessions: set[str] = set()
        self._queues: set[asyncio.Queue[Document | None]] = set()
        self._port = 0
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def learning(self, bridges: int = 1) -> None:
        """Tell of a run that learns, with all that it has."""
        self.look, self.track, self.traces = learning_look(bridges), track_document(), traces_document()
        self.history = history_document(400, time.time())
        spots = [
            [x + 9.0 * math.sin(n), y + 9.0 * math.cos(n)] for n, (x, y) in enumerate(self.track["centre"][20:260:9])
        ]
        self.live = {"at": time.time(), "cars": self.cars(bridges), "spots": spots}

    @staticmethod
    def cars(count: int, share: float = 0.1) -> list[Document]:
        """So many cars, spread around the lap."""
        return [car_document(n, share + (n - 1) / count) for n in range(1, count + 1)]

    def push(self, *kinds: str) -> None:
        """Send events of these kinds ("look", "live"; both where none is named) to every page that listens."""
        for kind in kinds or ("look", "live"):
            document = self.look | {"now": time.time()} if kind == "look" else self.live
            event = {"event": kind, "data": json.dumps(document)}
            self._loop.call_soon_threadsafe(self._put, event)

    def watchers(self) -> int:
        """How many streams are open."""
        return len(self._queues)

    def expire(self) -> None:
        """Forget every session and close their streams, as when the token was changed."""
        self._sessions.clear()
        self._loop.call_soon_threadsafe(self._put, None)

    def cut(self) -> None:
        """Stop the server, with every connection; `heal` starts it again at the same port, with its sessions."""
        self._loop.call_soon_threadsafe(self._put, None)
        self._server.should_exit = True
        self._thread.join()

    def heal(self) -> None:
        self._start()

    def close(self) -> None:
        if self._thread.is_alive():
            self.cut()

    def _start(self) -> None:
        settings = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self._port, log_level="warning", timeout_graceful_shutdown=1, ws="none"
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the dashboard's feed listens")
        self._port = self._server.servers[0].sockets[0].getsockname()[1]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()

    def _put(self, event: Document | None) -> None:
        for queue in list(self._queues):
            queue.put_nowait(event)

    def _app(self) -> Starlette:
        async def history(request: Request) -> Response:
            return JSONResponse(self._after(int(request.query_params.get("after", 0))))

        async def of_track(_: Request) -> Response:
            return JSONResponse(self.track, status_code=404 if self.track is None else 200)

        async def of_traces(_: Request) -> Response:
            return JSONResponse(self.traces)

        async def page(_: Request) -> Response:
            return HTMLResponse((STATIC / "page.html").read_text("utf-8"))

        routes: list[Any] = [
            Route("/", page),
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/stream", self._stream),
            Route("/api/history", history),
            Route("/api/track", of_track),
            Route("/api/traces", of_traces),
        ]
        routes.append(Mount("/static", StaticFiles(directory=STATIC)))
        return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._guard)])

    async def _guard(self, request: Request, call_next: Any) -> Response:
        self.asked.append(request.url.path)
        path = request.url.path
        if path not in _PUBLIC and request.cookies.get(_COOKIE) not in self._sessions:
            refused: Response = Response(status_code=401)
            if path == "/":
                refused = RedirectResponse("/login", status_code=303)
            return refused
        answer: Response = await call_next(request)
        answer.headers["Content-Security-Policy"] = CSP
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            html = (STATIC / "login.html").read_text("utf-8")
            return HTMLResponse(html.replace("<!--message-->", self.message))
        form = parse_qs((await request.body()).decode())
        if form.get("token") != [TOKEN]:
            return RedirectResponse("/login?wrong", status_code=303)
        session = f"session-{len(self._sessions) + 1}"
        self._sessions.add(session)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(_COOKIE, session, httponly=True, samesite="strict")
        return answer

    async def _logout(self, request: Request) -> Response:
        self._sessions.discard(request.cookies.get(_COOKIE, ""))
        return RedirectResponse("/login", status_code=303)

    def _after(self, last: int) -> Document:
        """The history's points after this id, of which ids are 1, 2, …"""
        whole = self.history
        later = {name: whole[name][last:] for name in ("at", "steps", "life")}
        return later | {"last_id": whole["last_id"], "series": {tag: of[last:] for tag, of in whole["series"].items()}}

    async def _stream(self, _: Request) -> Response:
        queue: asyncio.Queue[Document | None] = asyncio.Queue()

        async def events() -> AsyncIterator[Document]:
            self._queues.add(queue)
            try:
                yield {"event": "look", "data": json.dumps(self.look)}
                yield {"event": "live", "data": json.dumps(self.live)}
                while True:
                    try:
                        event = await asyncio.wait_for(queue.get(), 2.0)
                    except TimeoutError:
                        event = {"event": "look", "data": json.dumps(self.look | {"now": time.time()})}
                    if event is None:
                        return
                    yield event
            finally:
                self._queues.discard(queue)

        return EventSourceResponse(events())


@pytest.fixture
def feed() -> Iterator[DashboardFeed]:
    """A feed of a run before its first bridge."""
    served = DashboardFeed()
    yield served
    served.close()


@contextmanager
def visit(browser: Browser, feed: DashboardFeed, width: int = 1440, faults: int = 0, **context: Any) -> Iterator[Page]:
    """The page, signed in; afterwards the console must hold no more errors than `faults` allows (-1: any number)."""
    opened = browser.new_context(viewport={"width": width, "height": 900}, **context)
    opened.set_default_timeout(_PATIENCE)
    page = opened.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    page.goto(f"{feed.url}/login")
    page.fill("#token", TOKEN)
    page.click("button")
    # Out of every chart, whose readout follows the pointer.
    page.mouse.move(0, 0)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    yield page
    opened.close()
    broken = [text for text in errors if "uncaught" in text or "Content Security Policy" in text]
    assert not broken, broken
    assert faults < 0 or len(errors) <= faults, errors


_SCROLL = """async () => {
  for (const figure of document.querySelectorAll("figure")) {
    figure.scrollIntoView();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  scrollTo(0, 0);
}"""
"""Brings every chart into sight once: what is out of sight is not drawn."""


def drawn(page: Page, charts: int) -> None:
    """Wait until so many charts are drawn."""

    def look() -> bool:
        page.evaluate(_SCROLL)
        return page.locator("figure .u-wrap").count() == charts

    wait_until(look, f"{charts} charts are drawn", every=0.1)


def holds(*parts: str) -> re.Pattern[str]:
    """A text that has these parts in this order."""
    return re.compile(".*".join(map(re.escape, parts)))
