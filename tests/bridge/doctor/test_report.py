"""The report for others keeps to itself whatever could say who and where, also in words that libraries chose."""

import getpass
import json
import platform
from pathlib import Path

import pytest

from bridge.doctor.messages import Finding, Message
from bridge.doctor.redaction import redacted
from bridge.doctor.report import as_json

TOKEN = "Secret0123456789Secret"
PIN = "0123456789abcdef" * 4
PAIRING = f"wss://bridge:{TOKEN}@secret.example.org:8765/pin-{PIN}"


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", r"C:\Users\Max Mustermann")
    monkeypatch.setenv("USERPROFILE", r"C:\Users\Max Mustermann")
    monkeypatch.setattr(getpass, "getuser", lambda: "max")
    monkeypatch.setattr(platform, "node", lambda: "MAXPC")


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        "secret.example.org",
        "SECRET.example.org",
        PIN,
        PIN[:16],
        "127.0.0.77",
        "2001:db8::1",
        "fe80::1%eth0",
        r"c:\users\max mustermann",
        "C:/Users/Max Mustermann",
        r"C:\\Users\\Max Mustermann",
        "/home/eva",
        "Max",
        "maxpc",
    ],
)
@pytest.mark.parametrize("around", ["%s", "to %s.", "('%s', 1)", "%s: gone", "//%s/x", "[%s]"])
def test_no_secret_is_left(secret: str, around: str) -> None:
    said = redacted(f"It is {around % secret} http://user:hunter2@proxy:3128 there", PAIRING)
    assert secret.casefold() not in said.casefold()
    assert "hunter2" not in said
    assert said.startswith("It is ")
    assert said.endswith(" there")


@pytest.mark.parametrize(
    "pairing",
    [
        "ws://bridge:SomeTokenOfMine@secret.example.org:8765/",
        "bridge:SomeTokenOfMine@secret.example.org",
        "wss://bridge:SomeTokenOfMine@secret.example.org:port/pin-12",
        "wss://secret.example.org:8765",
        "secret.example.org",
    ],
)
def test_also_a_pairing_that_cannot_be_read_is_taken_out(pairing: str) -> None:
    said = redacted("no way to secret.example.org:8765 with SomeTokenOfMine", pairing)
    assert "secret.example.org" not in said
    assert "SomeTokenOfMine" not in said or "SomeTokenOfMine" not in pairing


def test_what_is_no_secret_stays() -> None:
    for text in (
        "runs: ks_fake_gt3 on fake_ring",
        "version 0.2.8; its settings allow Custom AI",
        "version 0.1.80-preview115 has no Custom AI",
        "12.3 ms, jitter 0.4 ms",
        "steerAngle moved by 30% of what was asked for through csp",
    ):
        assert redacted(text, PAIRING) == text


def test_an_account_that_is_nobodys_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert redacted("Name it with --ac-root or AC_ROOT.", PAIRING) == "Name it with --ac-root or AC_ROOT."


def test_the_report_is_made_of_redacted_findings() -> None:
    finding = Finding(Message.FOLDER, {"folder": str(Path(r"C:\Users\Max Mustermann\Steam"))})
    report = as_json([finding], "ac-training", PAIRING)
    assert json.loads(report)["findings"][0]["says"] == r"~\Steam"
