"""Which proxy a bridge calls by way of, and that what goes wrong there is told as the proxy's, not the receiver's."""

import asyncio
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridge.doctor.cloud import cloud_findings
from bridge.link import dialing, proxies
from bridge.link.dialing import dial, in_words
from bridge.link.proxies import ProxyTrouble, excepted_by_windows, proxy_for
from bridge.link.refusal import ProxyUnusable, WrongCertificate
from bridge.spool import Spool
from tests.support.certificates import certificate
from tests.support.connect_proxy import ConnectProxy
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import TOKEN, WireServer
from wire.pairing import Pairing

NAME = "receiver.example"
PAIRING = Pairing(NAME, 8765, TOKEN, "ab" * 32)
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<html>Log in to the hotel's network</html>" * 20


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("https", "http", "all", "wss", "ws", "socks", "no"):
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_proxy".upper(), raising=False)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"https_proxy": "http://p:1"}, "http://A:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://A:1"),
        ({"all_proxy": "http://p:1"}, "http://A:1"),
        ({"ALL_PROXY": "socks://p:1/"}, "socks5h://A:1"),
        ({"all_proxy": "http://other:2", "https_proxy": "http://p:1"}, "http://A:1"),
        ({"http_proxy": "http://p:1"}, None),
        ({"https_proxy": "p:3128"}, "http://A:3128"),
        ({"https_proxy": "http://us%40er:pa%3Ass@p:1"}, "http://us%40er:pa%3Ass@A:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "other.example"}, "http://A:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "example"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "*.example"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "x, receiver.example:8765"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "receiver.example:1"}, "http://A:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "eiver.example"}, "http://A:1"),
    ],
)
def test_the_variables_say_which_one(use: Callable[..., None], variables: Mapping[str, str], url: str | None) -> None:
    use(**variables)
    proxy = proxy_for(PAIRING)
    assert (None if proxy is None else proxy.url_at("A")) == url


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("203.0.113.7", "203.0.113.0/24", True),
        ("203.0.113.7", "10.0.0.0/8 203.0.113.9/24", True),
        ("203.0.114.7", "203.0.113.0/24", False),
        ("203.0.113.7", "203.0.113.7", True),
        ("2001:db8::7", "2001:db8::/32", True),
        ("2001:db8::7", "203.0.113.0/24", False),
        ("2001:db8::7", "[2001:db8::7]:8765", True),
        ("127.0.0.1", "", True),
    ],
)
def test_a_network_in_no_proxy_counts(use: Callable[..., None], host: str, no_proxy: str, direct: bool) -> None:
    use(https_proxy="http://p:1", no_proxy=no_proxy)
    assert (proxy_for(replace(PAIRING, host=host)) is None) == direct


def test_the_systems_proxy_counts_where_no_variable_names_one(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = {"http": "http://p:1", "https": "http://p:1"}
    monkeypatch.setattr(
        proxies, "system_settings", lambda: (system, lambda host: excepted_by_windows(host, "*.home;10.*;<local>"))
    )
    proxy = proxy_for(PAIRING)
    assert proxy is not None
    assert (proxy.source, proxy.url_at("::1")) == ("the system's settings", "http://[::1]:1")
    assert proxy_for(replace(PAIRING, host="pc.home")) is None
    use(no_proxy=NAME)
    assert proxy_for(PAIRING) is None


def test_windows_own_settings_are_asked_for(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ModuleType("winreg")
    vars(registry).update(
        HKEY_CURRENT_USER=1,
        OpenKey=lambda root, path: nullcontext(f"{root} {path}"),
        QueryValueEx=lambda key, name: ({"ProxyOverride": "*.home"}[name], len(key)),
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(sys, "platform", "win32")
    found = {"socks": "socks://p:2", "https": "http://p:1"}
    monkeypatch.setattr(urllib.request, "getproxies_registry", lambda: dict(found), raising=False)
    use(no_proxy="elsewhere.example")
    proxy = proxy_for(PAIRING)
    assert proxy is not None
    assert proxy.url_at("A") == "http://A:1"
    assert proxy_for(replace(PAIRING, host="pc.home")) is None


def test_the_exceptions_of_windows_are_read_as_windows_does() -> None:
    has = excepted_by_windows
    assert has("10.1.2.3", "*.home; 10.*;<local>")
    assert has("PC.Home", "*.home;10.*")
    assert has("pc", "<local>")
    assert not has("2001:db8::7", "<local>")
    assert not has("110.1.2.3", "10.*")
    assert not has("receiver.example", "receiver?example.com;;")


@pytest.mark.parametrize(
    "value", ["ftp://u:hunter2@p:1", "http://u:hunter2@p:port", "http://[::1", "http://u:hunter2@"]
)
def test_a_setting_that_cannot_be_understood_is_a_sentence(use: Callable[..., None], value: str) -> None:
    use(all_proxy=value)
    with pytest.raises(ProxyUnusable) as refused:
        asyncio.run(dial(PAIRING))
    assert "(all_proxy)" in refused.value.text
    assert "no_proxy" in refused.value.text
    assert "hunter2" not in refused.value.text


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_the_link_stands_by_way_of_a_proxy(use: Callable[..., None], tmp_path: Path, variable: str) -> None:
    context, pin = certificate(tmp_path, "receiver")
    with (
        Spool(tmp_path / "spool") as spool,
        WireServer(tls=context) as server,
        ConnectProxy(("127.0.0.1", server.port)) as proxy,
    ):
        use(**{variable: f"http://user:hunter2@127.0.0.1:{proxy.port}"})
        with running(replace(server.pairing, host=NAME, pin=pin), spool) as link:
            blobs = append(spool, link, 3)
            wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs
    assert f"CONNECT {NAME}:{server.port} ".encode() in proxy.requests[0]
    assert b"Proxy-Authorization: Basic" in proxy.requests[0]
    assert TOKEN.encode() not in b"".join(proxy.requests)


def test_a_stranger_behind_a_proxy_is_judged_as_everywhere(use: Callable[..., None], tmp_path: Path) -> None:
    context, _ = certificate(tmp_path, "stranger")
    with WireServer(tls=context) as server, ConnectProxy(("127.0.0.1", server.port)) as proxy:
        use(https_proxy=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(WrongCertificate):
            asyncio.run(dial(replace(server.pairing, host=NAME, pin="ab" * 32)))
        assert server.requests == []


@contextmanager
def left_over() -> Iterator[str]:
    """The address of a proxy that does not run any more."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def unknown() -> Iterator[str]:
    yield "http://user:hunter2@proxy.invalid:3128"


def saying(answer: bytes, scheme: str = "http", **options: Any) -> Callable[[], Any]:
    @contextmanager
    def proxy() -> Iterator[str]:
        with ConnectProxy(answer=answer, **options) as one:
            yield f"{scheme}://user:hunter2@127.0.0.1:{one.port}"

    return proxy


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "left over": (left_over, "nothing listens there"),
    "unknown": (unknown, "its name cannot be found"),
    "silent": (saying(b""), "nothing came back in time"),
    "wants a password": (saying(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"), "it wants a user and a password"),
    "forbids": (saying(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), "it refuses (HTTP 403)"),
    "does not get there": (saying(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "it does not reach the receiver"),
    "no proxy": (saying(b"220 mail.example ESMTP\r\n\r\n"), "what answers there is no proxy"),
    "no TLS": (saying(b"", scheme="https"), "no encrypted connection"),
    "a portal": (saying(HTML), "which may answer in its place"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_at_the_proxy_is_told_as_the_proxys(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "silent":
        monkeypatch.setattr(dialing, "OPEN_TIMEOUT_S", 0.5)
    made, words = FAULTS[fault]
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "proxy.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with made() as url:
        use(https_proxy=url)
        with pytest.raises(ProxyTrouble) as trouble:
            asyncio.run(dial(PAIRING))
        told = {finding.message.name: finding.says for finding in cloud_findings(PAIRING, lambda: False)}
    assert set(told) == {"PAIRED", "PROXY"}
    for text in (in_words(trouble.value), told["PROXY"]):
        assert words in text
        assert "the proxy that this PC is set to use (https_proxy)" in text
        assert "no_proxy" in text
        assert "hunter2" not in text
        assert "127.0.0.1" not in text


def test_a_proxy_whose_certificate_nobody_vouches_for_is_not_told_as_the_receivers(
    use: Callable[..., None], tmp_path: Path
) -> None:
    context, _ = certificate(tmp_path, "proxy")
    with ConnectProxy(answer=b"", tls=context) as proxy:
        use(https_proxy=f"https://127.0.0.1:{proxy.port}")
        with pytest.raises(ProxyTrouble, match="its certificate is not one that this system trusts"):
            asyncio.run(dial(PAIRING))
    assert proxy.requests == []
