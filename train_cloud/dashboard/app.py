"""The dashboard's routes: what is answered, and to whom. What is told is reading.py's, how it is kept up live.py's."""

import asyncio
import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from train_cloud.dashboard.doors import Doors
from train_cloud.dashboard.live import Live, TooManyListeners
from train_cloud.dashboard.reading import Reading
from train_cloud.dashboard.sessions import Refused, Sessions, set_cookie
from train_cloud.dashboard_link import LINK_PATH

STATIC: Final = Path(__file__).parent / "static"
MOST_BODY: Final = 4096
"""Bytes of a form."""
FORM_SECONDS: Final = 10.0
"""In which it must have come."""
SEND_SECONDS: Final = 20.0
"""A listener that takes nothing for so long is gone."""
_MESSAGE: Final = "<!--message-->"
_LATER: Final = {"Retry-After": "10"}

Handler = Callable[[Request], Awaitable[Response]]


class File(NamedTuple):
    """A file of the page: its content, its type and what names its content."""

    content: bytes
    kind: str
    etag: str


def load_static(folder: Path = STATIC) -> dict[str, File]:
    """The page's files by their path within `folder`; what is not among them is never looked for on the disk."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[path.relative_to(folder).as_posix()] = File(content, kind, etag)
    return files


class Pages:
    """Answers requests about one run; `secure` where the page is served by TLS."""

    def __init__(
        self, reading: Reading, live: Live, sessions: Sessions, executor: Executor, secure: bool, static: Path = STATIC
    ) -> None:
        self._reading, self._live, self._sessions = reading, live, sessions
        self._executor, self._secure = executor, secure
        self._files = load_static(static)
        login = self._files["login.html"].content.decode()
        self._open = frozenset(re.findall(r'"/static/([\w./-]+\.(?:css|svg|png))"', login))
        """What of the page's files the login page needs, which anybody may have."""

    def app(self, hosts: frozenset[str] | None) -> ASGIApp:
        """The application; `hosts` as Doors has them."""
        routes = [
            Route("/", self._with_session(self._page, page=True), methods=["GET"]),
            Route("/login", self._login_page, methods=["GET"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._with_session(self._logout, page=True), methods=["POST"]),
            Route(LINK_PATH + "{code}", self._link, methods=["GET"]),
            Route("/favicon.ico", self._no_icon, methods=["GET"]),
            Route("/static/{path:path}", self._static, methods=["GET"]),
            Route("/stream", self._with_session(self._stream), methods=["GET"]),
            Route("/api/track", self._with_session(self._track), methods=["GET"]),
            Route("/api/history", self._with_session(self._history), methods=["GET"]),
            Route("/api/traces", self._with_session(self._traces), methods=["GET"]),
        ]
        middleware = [Middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)]
        handlers: dict[Any, Any] = {HTTPException: self._say, ClientDisconnect: self._gone, Exception: self._say}
        return Doors(Starlette(routes=routes, middleware=middleware, exception_handlers=handlers), hosts)

    def _with_session(self, handler: Handler, page: bool = False) -> Handler:
        """`handler` for who has a session; others are led to the login from a page, and refused elsewhere."""

        async def answer(request: Request) -> Response:
            if self._knows(request):
                return await handler(request)
            if page:
                return RedirectResponse("/login", 303)
            return _text("There is no session, or it is over. Sign in at /login.", 401)

        return answer

    def _knows(self, request: Request) -> bool:
        return self._sessions.knows(request.cookies.get(self._sessions.cookie))

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(self._files["page.html"].content)

    async def _login_page(self, request: Request) -> Response:
        return RedirectResponse("/", 303) if self._knows(request) else self._login_answer("", 200)

    def _login_answer(self, message: str, status: int, wait: int = 0) -> Response:
        text = self._files["login.html"].content.decode().replace(_MESSAGE, escape(message))
        return HTMLResponse(text, status, {"Retry-After": str(wait)} if wait else None)

    async def _login(self, request: Request) -> Response:
        tokens = (await _form(request)).get("token", [])
        try:
            value = self._sessions.open_by_token(_address(request), tokens[0].strip() if len(tokens) == 1 else "")
        except Refused as refused:
            return self._login_answer(str(refused), 429 if refused.wait else 401, refused.wait)
        return self._let_in(RedirectResponse("/", 303), value)

    async def _link(self, request: Request) -> Response:
        if request.method != "GET":
            # A HEAD, as a chat's preview sends it, must not use the link up.
            return _text("A link is opened by GET.", 405)
        if self._knows(request):
            return RedirectResponse("/", 303)
        try:
            value = self._sessions.open_by_link(_address(request), request.path_params["code"])
        except Refused as refused:
            return self._login_answer(str(refused), 429 if refused.wait else 401, refused.wait)
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # Led on from another site's page, the browser would not send the cookie: this page leads on itself.
            return self._let_in(HTMLResponse(_ON), value)
        return self._let_in(RedirectResponse("/", 303), value)

    async def _logout(self, request: Request) -> Response:
        self._sessions.end(request.cookies.get(self._sessions.cookie))
        return self._let_in(RedirectResponse("/login", 303), "")

    def _let_in(self, response: Response, value: str) -> Response:
        response.headers["Set-Cookie"] = set_cookie(self._sessions.cookie, value, self._secure)
        return response

    async def _no_icon(self, _request: Request) -> Response:
        return Response(status_code=204)

    async def _static(self, request: Request) -> Response:
        path = request.path_params["path"]
        if path not in self._open and not self._knows(request):
            return _text("There is no session, or it is over. Sign in at /login.", 401)
        file = self._files.get(path)
        if file is None or path.endswith(".html"):
            raise HTTPException(404)
        # Asked for anew each time: a new version of the page must not meet an old script.
        headers = {"ETag": file.etag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.kind, headers=headers)

    async def _stream(self, request: Request) -> Response:
        try:
            events = self._live.listen(lambda: self._knows(request))
        except TooManyListeners as error:
            return _text(str(error), 503, _LATER)
        # Looks come often enough that no other sign of life is needed.
        return _Events(events, ping=0, send_timeout=SEND_SECONDS)

    async def _track(self, _request: Request) -> Response:
        found = await self._read(self._reading.track)
        if found is None:
            return _text("The track is not known yet: a bridge tells it when it first connects.", 404)
        return _json(found)

    async def _history(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not re.fullmatch(r"[0-9]{1,15}", after):
            return _text("`after` is the id of a point: digits alone.", 400)
        return _json(await self._read(lambda: self._reading.history(int(after))))

    async def _traces(self, _request: Request) -> Response:
        return _json(await self._read(self._reading.traces))

    async def _read(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _say(self, request: Request, error: Exception) -> Response:
        """A sentence for what no route answers; nothing of the page is told to who has no session."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 404 and not self._knows(request):
            return _text("There is no session, or it is over. Sign in at /login.", 401)
        said = {404: "There is nothing under this address.", 405: "This address does not answer that method."}
        headers = error.headers if isinstance(error, HTTPException) else None
        detail = error.detail if isinstance(error, HTTPException) else "The dashboard could not answer."
        return _text(said.get(status, detail), status, dict(headers or {}))

    async def _gone(self, _request: Request, _error: Exception) -> Response:
        return _text("The request was broken off.", 400)


_ON: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>AC Training</title>'
    '<meta http-equiv="refresh" content="0; url=/"></head><body><p><a href="/">Go on to the page</a></p></body></html>'
)


class _Events(EventSourceResponse):
    """Server-sent events; a listener that takes none any more is let go without a word."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            # Without the body's end the server cuts the connection.
            return


async def _form(request: Request) -> dict[str, list[str]]:
    """The fields of a small form. Raises HTTPException."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send the form's field `token` as application/x-www-form-urlencoded.")
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY:
                    raise HTTPException(413, f"The form is too long: at most {MOST_BODY} bytes are read.")
    except TimeoutError:
        raise HTTPException(408, "The form did not come to its end in time.", {"Connection": "close"}) from None
    try:
        return parse_qs(body.decode(), max_num_fields=8)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


def _text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
