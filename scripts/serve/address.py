"""By which address others reach this machine, and whether ports are to be had."""

import os
import socket

from train_cloud.settings import ConfigError
from wire.pairing import is_host

_FAR_AWAY = "192.0.2.1"
"""Of a network that is for examples (RFC 5737): what leads there is the default route. No packet is sent."""
_DISCARD = 9
_HIGHEST_PORT = 65_535


def lan_address() -> str | None:
    """This machine's IPv4 address on its default route; None without such a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_FAR_AWAY, _DISCARD))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def check_host(host: str) -> None:
    """Raise ConfigError unless `host` is an address, or a name that is known here."""
    advice = "Name the address or name by which the gaming PC reaches this machine: HOST=192.168.1.5 (--host)."
    if not is_host(host):
        raise ConfigError(f"{host!r} is neither a name nor an address alone, without a scheme or a port. {advice}")
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise ConfigError(f"Nobody here knows the host {host!r} ({error.strerror}). {advice}") from None


def is_ours(host: str) -> bool:
    """Whether a name or address leads to this machine, as far as this machine can know."""
    try:
        found = {(family, address[0]) for family, _, _, _, address in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(_can_bind(family, str(address), 0, socket.SOCK_DGRAM) is None for family, address in found)


def check_port(who: str, host: str, port: int) -> None:
    """Raise ConfigError unless `who`, the receiver or the page, can listen there; it is tried."""
    if port > _HIGHEST_PORT:
        raise ConfigError(f"The {who} cannot have the port {port}. Take one below {_HIGHEST_PORT} with PORT= (--port).")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if (refused := _can_bind(family, host, port, socket.SOCK_STREAM)) is not None:
        raise ConfigError(
            f"The {who} cannot listen on {host}:{port} ({refused}). Another run is served here, or another program "
            "has the port, or the address is not this machine's: end it, or take other ports with PORT=8800 (--port)."
        )


def _can_bind(family: int, host: str, port: int, kind: int) -> str | None:
    """None, or the system's words for why not."""
    with socket.socket(family, kind) as probe:
        # As servers do; on Windows it would mean that one may take what another one has.
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
