"""The dashboard as a process: how it starts, that it ends at once whoever listens, and that no secret is in its log."""

import http.client
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from tests.support.authority import NAME, Authority, authority
from tests.support.dashboards import Browser, LivingRun
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.receiver.tls import load_identity, new_pem
from train_cloud.run_folder.files import (
    DASHBOARD_TLS_VARIABLE,
    DASHBOARD_TOKEN,
    DASHBOARD_TOKEN_VARIABLE,
    DASHBOARD_URL,
)
from wire.pairing import certificate_pin

__all__ = ["authority"]

ROOT = Path(__file__).parents[3]


class Process:
    """`python -m train_cloud.dashboard` over a folder; its log lies beside it."""

    def __init__(
        self, folder: Path, *options: str, environment: Mapping[str, str] | None = None, **settings: str
    ) -> None:
        self.folder, self.log = folder, folder.with_suffix(".log")
        config = folder.with_suffix(".json")
        config.write_bytes(msgspec.json.encode(run_config(run_id="dashboard-test", **settings)))
        command = [sys.executable, "-m", "train_cloud.dashboard", "--config", str(config), "--folder", str(folder)]
        command += ["--listen-port", "0", *options]
        with self.log.open("wb") as log:
            environ = os.environ | dict(environment or {})
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=environ)

    def url(self) -> str:
        """The page's address, once it is there."""
        file = self.folder / DASHBOARD_URL
        wait_until(lambda: file.exists() or self.process.poll() is not None, "it listens", 60)
        assert self.process.poll() is None, self.said()
        return file.read_text(encoding="utf-8")

    def browser(self) -> Browser:
        return Browser(int(self.url().rstrip("/").rsplit(":", 1)[1]))

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(120)

    def link(self) -> str:
        """What `… link` prints."""
        command = [sys.executable, "-m", "train_cloud.dashboard", "link", "--folder", str(self.folder)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LivingRun]:
    (tmp_path / "work").mkdir()
    running = LivingRun(tmp_path / "work")
    running.progress(5_000, 4_500)
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals between processes are POSIX")
def test_it_makes_its_token_lets_in_by_links_and_ends_at_once_with_listeners(run: LivingRun) -> None:
    process = Process(run.folder)
    browser = process.browser()
    token_file = run.folder / DASHBOARD_TOKEN
    token = token_file.read_text().strip()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert len(token) == 40
    link = process.link()
    assert link.startswith(process.url() + "link/")
    path = "/" + link.split("/", 3)[3]
    assert browser.get(path).status == 303
    assert Browser(browser.port).get(path).status == 401
    with browser.stream() as one, browser.stream() as other:
        assert one.next("look")["verdict"]["word"] == "learning"
        other.next("look")
        assert process.end() == 0
        with pytest.raises(EOFError):
            one.next("none of this kind ever comes")
    said = process.said()
    assert f"the page is at {link.partition('link/')[0]}" in said
    assert "ended" in said
    assert "Traceback" not in said
    for secret in (token, path.rpartition("/")[2], browser.cookie.partition("=")[2]):
        assert secret not in said
    assert not (run.folder / DASHBOARD_URL).exists()


@pytest.mark.slow
def test_with_the_receivers_certificate_it_speaks_tls_and_its_cookie_is_for_tls_alone(
    run: LivingRun, tmp_path: Path
) -> None:
    identity = load_identity(run.folder, "127.0.0.1")
    (tmp_path / "token").write_text("ATokenFromElsewhere0123", encoding="utf-8")
    process = Process(run.folder, environment={DASHBOARD_TOKEN_VARIABLE: str(tmp_path / "token")})
    url = process.url()
    assert url.startswith("https://127.0.0.1:")
    assert not (run.folder / DASHBOARD_TOKEN).exists()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=context)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", "token=ATokenFromElsewhere0123", form)
    answer = connection.getresponse()
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"__Host-ac_session_{port}=")
    assert "Secure" in cookie.split("; ")
    answer.read()
    assert connection.sock is not None
    shown = connection.sock.getpeercert(binary_form=True)
    assert shown is not None
    assert identity.pin == certificate_pin(shown)
    connection.close()
    assert process.end() == 0


@pytest.mark.slow
def test_with_a_named_certificate_no_browser_warns_and_a_renewed_one_is_taken(
    run: LivingRun, tmp_path: Path, authority: Authority
) -> None:
    def log_in() -> tuple[int, bytes | None]:
        # As the system has it: the name, the dates and the authority are checked.
        connection = http.client.HTTPSConnection(NAME, port, timeout=120, context=ssl.create_default_context())
        connection.request("POST", "/login", "token=wrong", {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        assert isinstance(connection.sock, ssl.SSLSocket)
        shown = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return answer.status, shown

    first, renewed = authority.certify(NAME), authority.certify(NAME)
    certificate, key = map(str, first.write(tmp_path))
    process = Process(run.folder, public_host=NAME, tls_certificate=certificate, tls_key=key)
    port = int(process.url().rstrip("/").rsplit(":", 1)[1])
    status, shown = log_in()
    assert (status, shown) == (401, first.der)
    renewed.write(tmp_path)
    wait_until(lambda: log_in()[1] == renewed.der, "the renewed one is shown", every=0.5)
    assert process.end() == 0


REFUSALS = {
    "unencrypted beyond this machine": (["--listen-host", "0.0.0.0"], {}, 2, "would go unencrypted through 0.0.0.0"),
    "plain beyond this machine": (
        ["--listen-host", "0.0.0.0", "--plain"],
        {DASHBOARD_TLS_VARIABLE: "pem"},
        2,
        "and leave --plain out",
    ),
    "a token that is too short": ([], {DASHBOARD_TOKEN_VARIABLE: "short"}, 2, "has fewer than 16 characters"),
    "a token that is not there": ([], {DASHBOARD_TOKEN_VARIABLE: "nothing"}, 2, "cannot be read (No such file"),
    "a certificate that is none": ([], {DASHBOARD_TLS_VARIABLE: "short"}, 1, "the certificate cannot be used"),
    "a port that is not ours": (["--listen-host", "192.0.2.1"], {DASHBOARD_TLS_VARIABLE: "pem"}, 1, "cannot listen on"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", REFUSALS)
def test_what_it_cannot_do_is_said_in_a_sentence(run: LivingRun, tmp_path: Path, what: str) -> None:
    options, files, code, sentence = REFUSALS[what]
    (tmp_path / "short").write_text("abc", encoding="utf-8")
    (tmp_path / "pem").write_bytes(new_pem("127.0.0.1"))
    process = Process(run.folder, *options, environment={name: str(tmp_path / file) for name, file in files.items()})
    assert process.process.wait(120) == code
    assert sentence in process.said()
    assert "Traceback" not in process.said()


@pytest.mark.slow
def test_a_link_to_a_dashboard_that_does_not_run_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train_cloud.dashboard", "link", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No dashboard runs for" in done.stderr
    assert done.stdout == ""
