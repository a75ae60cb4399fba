"""Which proxy this PC is set to use towards a receiver, and the words for a call that fails on the way through it.

The environment goes before the system's settings, as everywhere; unlike the libraries, `all_proxy` counts, and a
network (192.168.0.0/16) in `no_proxy`. Nothing here waits for the network, so that an event loop may call it, and no
text names the proxy's address, user or password: who looks for the mistake is told which setting it is in.
"""

import ipaddress
import re
import ssl
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from websockets.exceptions import InvalidProxy, InvalidProxyMessage, InvalidProxyStatus
from websockets.proxy import parse_proxy

from bridge.link.refusal import ProxyUnusable
from wire.pairing import Pairing, is_loopback

_DIRECTLY = "set the variable no_proxy to the receiver's address, and it is called directly"
_SETTINGS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"


class ProxyTrouble(ConnectionError):
    """A call by way of a proxy did not come about; the text is half a sentence without addresses."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the setting it comes from."""

    source: str
    scheme: str = field(repr=False)
    host: str = field(repr=False)
    port: int = field(repr=False)
    user: tuple[str, str] | None = field(repr=False)

    @property
    def tls(self) -> bool:
        """Whether the proxy itself is spoken to by TLS."""
        return self.scheme == "https"

    def url_at(self, address: str) -> str:
        """The proxy's URL at one of its numeric addresses; a secret."""
        user = "" if self.user is None else ":".join(quote(part, safe="") for part in self.user) + "@"
        return f"{self.scheme}://{user}{f'[{address}]' if ':' in address else address}:{self.port}"

    def trouble(self, error: Exception, stands: bool, words: Callable[[BaseException], str]) -> ProxyTrouble:
        """`error` of a call, before or after the proxy said that the way to the receiver `stands`, in words."""
        whose = f"the proxy that this PC is set to use ({self.source})"
        if stands:
            return ProxyTrouble(f"by way of {whose}, which may answer in its place: {words(error)}; {_DIRECTLY}")
        if isinstance(error, InvalidProxyStatus):
            status = error.response.status_code
            known = {407: "it wants a user and a password", 502: "", 503: "", 504: ""}
            why = f"{known.get(status, 'it refuses') or 'it does not reach the receiver'} (HTTP {status})"
        elif isinstance(error, InvalidProxyMessage):
            why = "what answers there is no proxy"
        elif isinstance(error, ssl.SSLCertVerificationError):
            why = "its certificate is not one that this system trusts"
        else:
            why = words(error)
        return ProxyTrouble(f"{whose} does not put the call through: {why}; {_DIRECTLY}")


def proxy_for(pairing: Pairing) -> Proxy | None:
    """The proxy by way of which the receiver is to be called; None where it is called directly.

    Raises ProxyUnusable where one is set that cannot be understood.
    """
    if is_loopback(pairing.host):
        return None
    ours = urllib.request.getproxies_environment()
    if _excepted(pairing, ours.get("no", "")):
        return None
    kinds = ("wss", "socks", "https", "all") if pairing.tls else ("ws", "socks", "https", "http", "all")
    if ours.keys() - {"no"}:
        return next((_read(f"{kind}_proxy", kind, ours[kind]) for kind in kinds if ours.get(kind)), None)
    system, excepts = system_settings()
    kind = next((kind for kind in kinds if system.get(kind)), None)
    if kind is None or excepts(pairing.host):
        return None
    return _read("the system's settings", kind, system[kind])


def system_settings() -> tuple[Mapping[str, str], Callable[[str], bool]]:
    """The system's own proxies by kind, and whether it calls a host directly all the same."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _SETTINGS) as key:
                exceptions = str(winreg.QueryValueEx(key, "ProxyOverride")[0])
        except OSError:
            exceptions = ""
        # By its name, since the library declares it nowhere; getproxies would ask the environment first, again.
        proxies: dict[str, str] = vars(urllib.request)["getproxies_registry"]()
        # What stands there for SOCKS is among the others too, where nothing else is.
        proxies.pop("socks", None)
        return proxies, lambda host: excepted_by_windows(host, exceptions)
    return urllib.request.getproxies(), lambda host: bool(urllib.request.proxy_bypass(host))


def excepted_by_windows(host: str, exceptions: str) -> bool:
    """Whether Windows' list of exceptions (`*.example;192.168.*;<local>`) has `host`.

    The standard library's own look at it asks the network for the host's other names, for seconds where none answers.
    """
    for entry in filter(None, map(str.strip, exceptions.split(";"))):
        if entry == "<local>":
            if "." not in host and ":" not in host:
                return True
        elif re.fullmatch(re.escape(entry).replace(r"\*", ".*").replace(r"\?", "."), host, re.IGNORECASE):
            return True
    return False


def _excepted(pairing: Pairing, no_proxy: str) -> bool:
    """Whether the variable no_proxy has the receiver: by name, domain, address, network, with or without the port."""
    host = pairing.host.lower()
    bracketed = f"[{host}]" if ":" in host else host
    for entry in no_proxy.lower().replace(",", " ").split():
        name = entry.removeprefix("*").lstrip(".")
        if entry == "*" or name in (host, bracketed, f"{bracketed}:{pairing.port}") or host.endswith(f".{name}"):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


def _read(source: str, kind: str, value: str) -> Proxy:
    """The proxy of a setting, which may lack its scheme, or call SOCKS what the library calls by its version."""
    scheme, there, rest = value.strip().partition("://")
    if not there:
        scheme, rest = "http", scheme
    if scheme.lower() == "socks" or (kind == "socks" and scheme.lower() == "http"):
        scheme = "socks5h"
    try:
        read = parse_proxy(f"{scheme}://{rest}")
    except (InvalidProxy, ValueError):
        raise unusable("is no http://, https:// or socks5:// address", ", or mend it", source) from None
    return Proxy(source, read.scheme, read.host, read.port, read.user_info)


def unusable(what: str, more: str, source: str) -> ProxyUnusable:
    """Without the library's own words, which name the proxy with its user and password."""
    return ProxyUnusable(
        f"This PC is set to call through a proxy ({source}), but that {what}. Set the variable no_proxy to the "
        f"receiver's address, so that it is called directly{more}."
    )
