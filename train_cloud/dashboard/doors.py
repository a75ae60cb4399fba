"""What every answer and every request of the dashboard must keep to, whatever they are about.

Answers carry headers that leave a browser no room for what did not come from here. Requests are refused that reach
this machine under another's name, or that another site's page sends.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wire.pairing import is_loopback

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Doors:
    """Puts HEADERS on every answer, and refuses requests that are not for this page or not from it.

    `hosts` are the names that this machine goes by where it listens on loopback alone; None for any.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope), scope["scheme"])
        answer = self._app if refusal is None else PlainTextResponse(f"{refusal[1]}\n", refusal[0])
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers, scheme: str) -> tuple[int, str] | None:
        """Status and sentence for a request that goes no further."""
        hosts = headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return 400, "The request does not say for which host it is."
        if self._hosts is not None and name not in self._hosts and not is_loopback(name):
            return 421, "The dashboard listens on this machine alone, and is not known by that name: use localhost."
        if method not in ("GET", "HEAD", "POST"):
            return 405, "Only GET and POST are answered here."
        if method == "POST" and not _from_this_page(headers, f"{scheme}://{hosts[0]}"):
            return 403, "This form was sent from another site's page. Open the dashboard itself and try again."
        return None


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None for what is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _from_this_page(headers: Headers, origin: str) -> bool:
    """Whether no page of another site sent the request; programs other than browsers say nothing of it.

    Browsers say `Origin: null` for a form of a page whose Referrer-Policy is no-referrer: then only Sec-Fetch-Site
    tells where it came from.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    return headers.get("origin") in (None, origin)
