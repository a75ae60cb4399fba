"""The addresses behind a name, looked up so that a resolver without an answer holds nobody up."""

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress

MOST_ADDRESSES = 8
"""Of a name no more are called."""


async def addresses_of(host: str, port: int) -> list[str]:
    """The numeric addresses of `host`, at least one, in the order in which the system would try them.

    A resolver in a dead network takes its half a minute, so each look-up has a thread of its own that nobody waits
    for, neither at the end of the process nor before the next look-up. Raises OSError where no address is found.
    """
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return [host]
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str], error: OSError | None) -> None:
        if not answer.done():
            answer.set_result(found) if error is None else answer.set_exception(error)

    def look_up() -> None:
        found, failure = list[str](), None
        try:
            # The same address comes once for each kind of socket on some systems.
            found = list(dict.fromkeys(map(_numeric, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))))
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = socket.gaierror(socket.EAI_NONAME, "no name of the network")
        # Whoever asked may be gone by now, and its loop closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, found[:MOST_ADDRESSES], failure)

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return await answer


def _numeric(entry: tuple[object, object, object, object, tuple[object, ...]]) -> str:
    """The address in an entry of getaddrinfo, with the zone that a link-local one needs."""
    address, *_ = where = entry[4]
    return f"{address}%{where[3]}" if len(where) == 4 and where[3] else str(address)
