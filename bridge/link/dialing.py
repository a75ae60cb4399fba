"""One WebSocket to the receiver: who is called, how the certificate is checked, and how hard it is tried.

Promises that the token is sent only after the certificate was found right, and that a connection stands within 2 s
of the moment from which the network would carry one: attempts start about every 1.2 s for ever, each on its own, and
the first to succeed wins, so that no attempt that hangs in a dead network delays the next. An attempt calls all the
addresses of a name side by side, so that one that leads nowhere does not keep it from the others. Only after a wrong
token is there a longer pause, since the receiver counts those. What no retry can mend is raised as Refused, unless it
may pass.
"""

import asyncio
import errno
import logging
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, ProxyError, WebSocketException
from websockets.http11 import USER_AGENT
from websockets.typing import Subprotocol

from bridge.link.addresses import addresses_of
from bridge.link.proxies import Proxy, ProxyTrouble, proxy_for, unusable
from bridge.link.refusal import ProxyUnusable, Refused, UntrustedCertificate, WrongCertificate, WrongToken
from runtime.logs import fields
from runtime.pinned_https import client_context, untrusted
from runtime.prompt_frames import PromptConnection
from wire.messages import MAX_DOWN_FRAME_BYTES, MAX_UP_FRAME_BYTES, PROTOCOL
from wire.pairing import Pairing, PinMismatch, basic_auth_header, check_pin

DIAL_INTERVAL_S = (1.0, 1.4)
"""A new attempt starts after a random time in this range; random, so that many bridges do not dial in step."""
OPEN_TIMEOUT_S = 10.0
"""For the look-up of a name, and again for the call to each address."""
ADDRESS_INTERVAL_S = 0.25
"""The next address of a name is called so long after the one before (RFC 8305), or as soon as that has failed."""
WRONG_TOKEN_PAUSE_S = 10.0
"""After a wrong token no attempt starts for so long: the receiver turns away whoever shows more than ten a minute."""
MAX_UNREAD_BYTES = 2 * MAX_UP_FRAME_BYTES
"""More than one batch and the answers to some pings never wait to be read by a receiver that means well."""
_REPORT_SECONDS = 10.0
_STATUS_IN_WORDS = {
    429: "wrong tokens came from this address lately, so it takes no calls from here for a minute",
    503: "it takes no bridge just now",
}
_IN_WORDS = (
    (socket.gaierror, "its name cannot be found"),
    (ConnectionRefusedError, "the connection is refused, so nothing listens there"),
    (TimeoutError, "nothing came back in time"),
    (ProxyError, "it refuses the call"),
    ((ConnectionClosed, EOFError, ConnectionError), "the connection was cut"),
)
_JUDGED = (InvalidStatus, ssl.SSLCertVerificationError)
"""What is judged even where a proxy might have said it in the receiver's place."""

_log = logging.getLogger(__name__)


class LinkConnection(PromptConnection, ClientConnection):
    """A client connection that knows when it last heard anything, and that checks a pin before it says anything."""

    pin: str | None = None
    vouch: Callable[[], None] = staticmethod(lambda: None)
    """Called when the certificate was found right, before anything is said."""
    heard_at: float = 0.0
    """Time of the newest received byte, on the event loop's clock."""

    async def handshake(self, additional_headers: object = None, user_agent_header: str | None = USER_AGENT) -> None:
        """Check the certificate, then send the upgrade request, which carries the token."""
        if self.pin is not None:
            secured = self.transport.get_extra_info("ssl_object")
            der = secured.getpeercert(binary_form=True) if secured is not None else None
            check_pin(der or b"", self.pin)
        self.vouch()
        await super().handshake(additional_headers, user_agent_header)  # type: ignore[arg-type]  # handed on as websockets gave it

    def data_received(self, data: bytes) -> None:
        """Note the time, then handle the bytes, unless who sends them reads nothing of what they make us say."""
        self.heard_at = self.loop.time()
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.set_connection_exc(OSError("the receiver asks on and on, and does not read what it is answered"))
            self.transport.abort()


class _Connect(connect):
    """Follows no redirect: the pairing string says who is to be called, nobody else does."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def prepare(pairing: Pairing) -> None:
    """Make what a call needs, ahead of the first: where the system's authorities are read, that holds every thread up.

    What is wrong with the settings is left to the call.
    """
    if pairing.tls:
        client_context(pairing.pin is not None)
    with suppress(ProxyUnusable):
        proxy = proxy_for(pairing)
        if proxy is not None and proxy.tls:
            client_context(False)


async def dial(pairing: Pairing, vouch: Callable[[], None] = lambda: None) -> LinkConnection:
    """Make one attempt, at all addresses; `vouch` is called when a certificate was found right, whatever follows.

    Raises Refused for a wrong certificate, token or protocol, or a proxy that cannot be used; OSError, TimeoutError,
    WebSocketException or EOFError for trouble on the way, after which it makes sense to try again: ProxyTrouble where
    that is a proxy's, or may be.
    """
    proxy = proxy_for(pairing)
    called = pairing if proxy is None else proxy
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            addresses = await addresses_of(called.host, called.port)
    except OSError as error:
        raise error if proxy is None else proxy.trouble(error, False, in_words) from None
    return await _first_of([partial(_call, pairing, vouch, proxy, address) for address in addresses])


async def _first_of(calls: list[Callable[[], Awaitable[LinkConnection]]]) -> LinkConnection:
    """Make the calls side by side until one succeeds. Raises what says most, when all have failed."""
    pending: set[asyncio.Task[LinkConnection]] = set()
    errors: list[Exception] = []
    waiting = calls[::-1]
    try:
        while waiting or pending:
            if waiting:
                pending.add(asyncio.ensure_future(waiting.pop()()))
            interval = ADDRESS_INTERVAL_S if waiting else None
            done, _ = await asyncio.wait(pending, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                # Who wins in the same moment stays among those that are abandoned.
                pending.remove(task)
                try:
                    return task.result()
                except Exception as error:
                    errors.append(error)
                    if isinstance(error, WrongToken):
                        # Whoever counts wrong tokens is not shown one at each of its addresses.
                        waiting.clear()
    finally:
        abandon(pending)
    telling = (error for kind in (Refused, WebSocketException, OSError) for error in errors if isinstance(error, kind))
    raise next(telling, errors[0])


async def _call(pairing: Pairing, vouch: Callable[[], None], proxy: Proxy | None, address: str) -> LinkConnection:
    """Call one address, of the receiver or of the proxy; as `dial`."""
    stands = vouched = False
    """Whether the way through the proxy stands, and whether it led to the right certificate."""

    def found_right() -> None:
        nonlocal vouched
        vouched = pairing.tls
        vouch()

    def pinned(*arguments: Any, **options: Any) -> LinkConnection:
        nonlocal stands
        stands = True
        connection = LinkConnection(*arguments, **options)
        connection.pin, connection.vouch = pairing.pin, found_right
        return connection

    try:
        return await _connected(pairing, pinned, proxy, address)
    except ImportError:
        assert proxy is not None
        raise unusable(
            "is a SOCKS proxy, for which a package is missing",
            ", or install it: pip install python-socks",
            proxy.source,
        ) from None
    except PinMismatch as error:
        raise WrongCertificate(str(error)) from None
    except (OSError, WebSocketException, EOFError) as error:
        if proxy is not None and not (stands and (vouched or isinstance(error, _JUDGED))):
            raise proxy.trouble(error, stands, in_words) from None
        if isinstance(error, ssl.SSLCertVerificationError):
            raise UntrustedCertificate(untrusted(pairing.host, pairing.port, error)) from None
        raise (_judged(error, pairing) if isinstance(error, InvalidStatus) else error) from None


async def _connected(
    pairing: Pairing, pinned: Callable[..., LinkConnection], proxy: Proxy | None, address: str
) -> LinkConnection:
    """A connection over which nothing of ours is said yet; what `connect` raises, and Refused."""
    way: dict[str, Any] = {"proxy": None, "host": address, "port": pairing.port}
    if proxy is not None:
        way = {"proxy": proxy.url_at(address)}
        if proxy.tls:
            way |= {"proxy_ssl": client_context(False), "proxy_server_hostname": proxy.host}
    connection = await _Connect(
        pairing.url,
        subprotocols=[Subprotocol(PROTOCOL)],
        additional_headers={"Authorization": basic_auth_header(pairing.token)},
        compression=None,
        open_timeout=OPEN_TIMEOUT_S,
        # The link has a keepalive of its own, which also measures what the receiver is doing.
        ping_interval=None,
        close_timeout=1.0,
        max_size=MAX_DOWN_FRAME_BYTES,
        # One message waits at most: 16 of the largest, as the library has it, are 384 MiB.
        max_queue=0,
        create_connection=pinned,  # type: ignore[arg-type]  # a class is asked for, and only called
        ssl=client_context(pairing.pin is not None) if pairing.tls else None,
        **way,
    )
    assert isinstance(connection, LinkConnection)
    if connection.subprotocol != PROTOCOL:
        connection.transport.abort()
        raise _wrong_protocol(pairing)
    connection.heard_at = asyncio.get_running_loop().time()
    return connection


def _judged(error: InvalidStatus, pairing: Pairing) -> Exception:
    status = error.response.status_code
    if status in (401, 403):
        return WrongToken(
            f"The receiver at {pairing.host} does not accept this token. It has a new one since a new run was made: "
            "get the current pairing string from the run's owner (it is in pairing.txt in the receiver's folder) and "
            "give it to `ac-bridge pair`."
        )
    body = bytes(error.response.body or b"").lower()
    # A receiver names the protocol that it speaks; a library's own answer to a wrong one says subprotocol.
    if status == 426 or (status == 400 and (b"ac-training." in body or b"subprotocol" in body)):
        return _wrong_protocol(pairing)
    return error


def in_words(error: BaseException) -> str:
    """Why a call did not come about, as half a sentence.

    Never the error's own text, which may name addresses, a proxy and its password: this goes into bug reports.
    """
    if isinstance(error, ProxyTrouble):
        return str(error)
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return _STATUS_IN_WORDS.get(status, f"something else than the receiver answers there (HTTP {status})")
    if isinstance(error, ssl.SSLError):
        return f"no encrypted connection comes about ({error.reason})"
    for kinds, words in _IN_WORDS:
        if isinstance(error, kinds):
            return words
    if not isinstance(error, OSError):
        return f"what answers there speaks no WebSocket ({type(error).__name__})"
    if error.errno is not None and error.errno in errno.errorcode:
        return f"{os.strerror(error.errno)} ({errno.errorcode[error.errno]})"
    return "no connection comes about to any of its addresses"


def _wrong_protocol(pairing: Pairing) -> Refused:
    return Refused(
        f"The receiver at {pairing.host} does not speak {PROTOCOL}: it is of another version than this bridge. "
        "Bring both to the same version of this project."
    )


async def race(
    attempt: Callable[[], Awaitable[LinkConnection]],
    may_pass: Callable[[Refused], bool] = lambda _: False,
    interval: tuple[float, float] | None = None,
) -> LinkConnection:
    """Make attempts until one succeeds, a new one every `interval` (s), while older ones are still pending.

    The default is DIAL_INTERVAL_S. Raises Refused when one was refused, unless that `may_pass`: then it is said aloud,
    and attempts go on.
    """
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Task[LinkConnection]] = set()
    told, tell_at = "", 0.0
    try:
        while True:
            pending.add(asyncio.ensure_future(attempt()))
            next_start = loop.time() + random.uniform(*(interval or DIAL_INTERVAL_S))
            while (left := next_start - loop.time()) > 0.0:
                if not pending:
                    await asyncio.sleep(left)
                    break
                done, _ = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    # Who wins in the same moment stays among those that are abandoned.
                    pending.remove(task)
                    level, what = logging.INFO, "the receiver cannot be reached; dialling on"
                    try:
                        return task.result()
                    except Refused as verdict:
                        if not may_pass(verdict):
                            raise
                        level, what, reason = (
                            logging.ERROR,
                            "this may pass, so driving and dialling go on",
                            verdict.text,
                        )
                        if isinstance(verdict, WrongToken):
                            next_start = loop.time() + WRONG_TOKEN_PAUSE_S
                    except (OSError, TimeoutError, WebSocketException, EOFError) as error:
                        reason = in_words(error)
                    if reason != told or loop.time() >= tell_at:
                        _log.log(level, what, extra=fields(reason=reason))
                        told, tell_at = reason, loop.time() + _REPORT_SECONDS
    finally:
        abandon(pending)


def abandon(attempts: set[asyncio.Task[LinkConnection]]) -> None:
    """Cancel attempts; one that succeeds in the same moment, or has done so, is cut."""

    def cut(task: asyncio.Task[LinkConnection]) -> None:
        if not task.cancelled() and task.exception() is None:
            task.result().transport.abort()

    for attempt in attempts:
        attempt.add_done_callback(cut)
        attempt.cancel()
