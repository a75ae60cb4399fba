"""Nobody sees anything of a run without a session, and a browser is left no room for what is not the page's own."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.dashboards import TOKEN, LivingRun, ThreadedDashboard
from tests.support.receivers import CONFIG as RECEIVER_CONFIG
from tests.support.receivers import TOKEN as BRIDGE_TOKEN
from tests.support.receivers import Client, ThreadedReceiver
from tests.support.waiting import PATIENCE
from train_cloud.dashboard_link import LINK_SECONDS, link_code
from wire.pairing import Pairing, basic_auth_header

ROUTES = ["/stream", "/api/track", "/api/history", "/api/traces", "/static/page.js", "/static/page.html", "/docs"]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedDashboard]:
    """One for all tests that guess no token."""
    with running(tmp_path_factory.mktemp("run")) as one:
        yield one


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ThreadedDashboard]:
    """One that nobody has guessed at."""
    with running(tmp_path) as one:
        yield one


@contextmanager
def running(folder: Path) -> Iterator[ThreadedDashboard]:
    run = LivingRun(folder)
    one = ThreadedDashboard(folder)
    yield one
    one.close()
    run.close()


@pytest.mark.parametrize("path", ROUTES)
def test_without_a_session_nothing_is_told(dashboard: ThreadedDashboard, path: str) -> None:
    answer = dashboard.browser().get(path)
    assert answer.status == 401
    assert answer.text == "There is no session, or it is over. Sign in at /login.\n"


def test_without_a_session_the_page_leads_to_the_login(dashboard: ThreadedDashboard) -> None:
    answer = dashboard.browser().get("/")
    assert (answer.status, answer.headers["Location"], answer.body) == (303, "/login", b"")
    login = dashboard.browser().get("/login")
    assert login.status == 200
    assert '<form method="post" action="/login">' in login.text
    assert "<script" not in login.text
    assert dashboard.browser().get("/static/login.css").status == 200


@pytest.mark.parametrize("value", ["", "x", "1.2.3", "9999999999.ab.cd", "é" * 40, "." * 400])
def test_a_cookie_that_was_not_given_here_opens_nothing(dashboard: ThreadedDashboard, value: str) -> None:
    browser = dashboard.browser()
    browser.cookie = f"{dashboard.cookie_name}={value}".encode().decode("latin-1")
    assert browser.get("/api/history").status == 401


def test_a_cookie_whose_time_was_changed_opens_nothing(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    name, _, value = browser.cookie.partition("=")
    until, rest = value.split(".", 1)
    browser.cookie = f"{name}={int(until) + 3600}.{rest}"
    assert browser.get("/api/history").status == 401


def test_the_token_lets_in_and_logging_out_ends_the_session_for_good(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser()
    answer = browser.post("/login", {"token": f" {TOKEN}\n"})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{dashboard.cookie_name}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    page = browser.get("/")
    assert page.status == 200
    assert b"<html" in page.body
    kept = browser.cookie
    assert browser.post("/logout").headers["Location"] == "/login"
    assert browser.get("/api/history").status == 401
    browser.cookie = kept
    assert browser.get("/api/history").status == 401


def test_a_wrong_token_is_told_in_the_form_and_guessing_is_slowed_down(fresh: ThreadedDashboard) -> None:
    browser = fresh.browser()
    answer = browser.post("/login", {"token": "guess<b>"})
    assert answer.status == 401
    assert "The token is wrong." in answer.text
    assert "Set-Cookie" not in answer.headers
    assert "guess" not in answer.text
    statuses = [browser.post("/login", {"token": f"guess{n}"}).status for n in range(10)]
    assert statuses == [401] * 9 + [429]
    slowed = browser.post("/login", {"token": "guess"})
    assert 0 < int(slowed.headers["Retry-After"]) <= 60
    # Whoever has the token shares the address with who guesses, and gets in.
    assert browser.post("/login", {"token": TOKEN}).status == 303


def test_a_link_lets_in_once(dashboard: ThreadedDashboard) -> None:
    link = f"/link/{link_code(TOKEN)}"
    browser = dashboard.browser()
    assert browser.ask("HEAD", link).status == 405
    answer = browser.get(link)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert browser.get("/").status == 200
    # Whoever was let in and loads the link anew is there already.
    assert browser.get(link).status == 303
    again = dashboard.browser().get(link)
    assert again.status == 401
    assert "has been used" in again.text
    assert "Set-Cookie" not in again.headers


def test_a_link_from_another_sites_page_leads_on_so_that_the_cookie_is_sent(dashboard: ThreadedDashboard) -> None:
    answer = dashboard.browser().get(f"/link/{link_code(TOKEN)}", Sec_Fetch_Site="cross-site")
    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="0; url=/">' in answer.text
    assert "Set-Cookie" in answer.headers


def test_links_that_are_old_forged_or_from_before_the_start_let_nobody_in(fresh: ThreadedDashboard) -> None:
    now = fresh.reading._clock()
    old = link_code(TOKEN, now - LINK_SECONDS - 10)
    before = link_code(TOKEN, now - 120)
    for code in (old, before, link_code(BRIDGE_TOKEN), "x", f"{now + 60:.0f}.ab.cd"):
        answer = fresh.browser().get(f"/link/{code}")
        assert answer.status == 401
        assert "Set-Cookie" not in answer.headers


HOSTILE = {
    "another site": {"Sec_Fetch_Site": "cross-site"},
    "a site beside": {"Sec_Fetch_Site": "same-site"},
    "another origin": {"Origin": "https://evil.example"},
    "no origin": {"Origin": "null"},
}


@pytest.mark.parametrize("who", HOSTILE)
def test_another_sites_form_is_refused(dashboard: ThreadedDashboard, who: str) -> None:
    browser = dashboard.browser().log_in()
    answer = browser.post("/logout", {}, **HOSTILE[who])
    assert answer.status == 403
    assert browser.get("/api/history").status == 200
    assert dashboard.browser().post("/login", {"token": TOKEN}, **HOSTILE[who]).status == 403


def test_the_pages_own_form_is_taken(dashboard: ThreadedDashboard) -> None:
    own = f"http://127.0.0.1:{dashboard.port}"
    assert dashboard.browser().post("/login", {"token": TOKEN}, Origin=own).status == 303
    # As Chromium sends a form of a page whose Referrer-Policy is no-referrer.
    answer = dashboard.browser().post("/login", {"token": TOKEN}, Origin="null", Sec_Fetch_Site="same-origin")
    assert answer.status == 303


PATHS = [
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static//etc/passwd",
    "/static/%2Fetc%2Fpasswd",
    "/static/page.js%00.css",
    "/static/..\\app.py",
    "/static/vendor/../../app.py",
    "/static/",
    "/static/.",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_pages_files(dashboard: ThreadedDashboard, path: str) -> None:
    answer = dashboard.browser().log_in().get(path)
    assert answer.status == 404
    assert answer.text == "There is nothing under this address.\n"


@pytest.mark.parametrize("path", ["/login", "/", "/api/history", "/stream", "/static/page.js", "/nothing"])
def test_every_answer_leaves_a_browser_no_room(dashboard: ThreadedDashboard, path: str) -> None:
    browsers = [dashboard.browser(), dashboard.browser().log_in()]
    for browser in browsers:
        with_stream = path == "/stream" and bool(browser.cookie)
        headers = browser.ask("HEAD" if with_stream else "GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == ("private, no-cache" if _is_file(path, browser.cookie) else "no-store")
        assert "Server" not in headers


def _is_file(path: str, cookie: str) -> bool:
    return path.startswith("/static/") and bool(cookie)


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8766", 303), ("127.0.0.1", 303), ("[::1]:1", 303), ("evil.example", 421), ("[", 400)],
)
def test_on_loopback_it_is_known_by_no_other_name(dashboard: ThreadedDashboard, host: str, status: int) -> None:
    assert dashboard.browser().get("/", Host=host).status == status


def test_methods_and_bodies_are_bounded(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    assert browser.ask("PUT", "/").status == 405
    assert browser.ask("DELETE", "/api/history").status == 405
    assert browser.post("/api/history").status == 405
    assert browser.post("/login", {"token": "x" * 5_000}).status == 413
    assert browser.ask("POST", "/login", b"\xff=", Content_Type="application/x-www-form-urlencoded").status == 400
    assert browser.ask("POST", "/login", b"{}", Content_Type="application/json").status == 415
    assert browser.get("/api/history?after=1e9").status == 400
    assert browser.get("/api/history?after=-1").status == 400


def test_who_does_not_ask_to_the_end_is_cut_and_who_listens_is_not(
    dashboard: ThreadedDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train_cloud.dashboard.server.ASK_SECONDS", 0.3)
    monkeypatch.setattr("train_cloud.dashboard.app.FORM_SECONDS", 0.3)
    browser = dashboard.browser().log_in()
    form = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    form += b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken"
    beginnings = [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT", form]
    with browser.stream() as stream, ExitStack() as open_ones:
        stream.next("look")
        sockets = [open_ones.enter_context(socket.create_connection(("127.0.0.1", dashboard.port))) for _ in beginnings]
        for one, beginning in zip(sockets, beginnings, strict=True):
            one.settimeout(60 * PATIENCE)
            one.sendall(beginning)
        answers = [_until_cut(one) for one in sockets]
        assert answers[:2] == [b"", b""]
        assert answers[2].startswith(b"HTTP/1.1 200 OK")
        assert answers[3].startswith(b"HTTP/1.1 408")
        for _ in range(3):
            stream.next("look")


def _until_cut(one: socket.socket) -> bytes:
    """What comes until the other side ends it."""
    came = b""
    with suppress(ConnectionResetError):
        while part := one.recv(65_536):
            came += part
    return came


def test_a_file_is_sent_again_only_when_it_has_changed(dashboard: ThreadedDashboard) -> None:
    browser = dashboard.browser().log_in()
    first = browser.get("/static/page.js")
    assert first.headers["Content-Type"].startswith("text/javascript")
    assert browser.get("/static/page.js", If_None_Match=first.headers["ETag"]).status == 304


def test_the_two_tokens_do_not_open_each_others_doors(fresh: ThreadedDashboard, tmp_path: Path) -> None:
    assert fresh.browser().post("/login", {"token": BRIDGE_TOKEN}).status == 401
    headers = {"Authorization": basic_auth_header(BRIDGE_TOKEN)}
    assert fresh.browser().get("/api/history", **headers).status == 401
    (tmp_path / "receiver").mkdir()
    receiver = ThreadedReceiver(RECEIVER_CONFIG, tmp_path / "receiver")
    try:
        with pytest.raises(InvalidStatus) as refused:
            Client(Pairing("127.0.0.1", receiver.port, TOKEN, tls=False))
        assert refused.value.response.status_code == 401
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=60)
        connection.request("GET", "/metrics", headers={"Authorization": basic_auth_header(TOKEN)})
        assert connection.getresponse().status == 401
        connection.close()
    finally:
        receiver.close()


def test_what_is_unexpected_is_told_without_a_trace_and_within_the_same_headers(
    dashboard: ThreadedDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> bytes:
        raise RuntimeError("what only the log may say")

    monkeypatch.setattr(dashboard.reading, "traces", broken)
    answer = dashboard.browser().log_in().get("/api/traces")
    assert (answer.status, answer.text) == (500, "The dashboard could not answer.\n")
    assert answer.headers["X-Frame-Options"] == "DENY"
