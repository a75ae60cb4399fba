"""Files of a certificate: what cannot be served is refused with a sentence, and what is new is for new connections."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.authority import NAME, Authority, Certified
from tests.support.waiting import wait_until
from train_cloud.named_certificate import NamedCertificate
from train_cloud.settings import ConfigError


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def named(folder: Path, host: str = NAME) -> NamedCertificate:
    return NamedCertificate(folder / "fullchain.pem", folder / "privkey.pem", host)


def shown(server: ssl.SSLContext, name: str | None = NAME) -> bytes | None:
    """The certificate (DER) that a handshake shows, also to who says no name."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(2):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.getpeercert(binary_form=True)


def spoil_key(made: Certified, folder: Path) -> None:
    made.write(folder)
    (folder / "privkey.pem").write_bytes(made.key(b"a passphrase"))


def cut(name: str) -> Callable[[Authority, Path], None]:
    def write(ours: Authority, folder: Path) -> None:
        ours.certify(NAME).write(folder)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return write


def other_key(ours: Authority, folder: Path) -> None:
    ours.certify(NAME).write(folder)
    (folder / "privkey.pem").write_bytes(ours.certify(NAME).key())


X400_ADDRESS = bytes.fromhex("3004a3023000")
"""As a name in a certificate (RFC 5280), in DER."""
UNUSABLE: dict[str, tuple[Callable[[Authority, Path], object], str]] = {
    "no files": (lambda _ours, _folder: None, "cannot be read (No such file or directory)"),
    "half a certificate": (cut("fullchain.pem"), "holds no certificate in PEM, or only a part of one"),
    "half a key": (cut("privkey.pem"), "holds no private key in PEM, or only a part of one"),
    "an encrypted key": (lambda ours, folder: spoil_key(ours.certify(NAME), folder), "is encrypted"),
    "another one's key": (other_key, "is that of another certificate"),
    "another name": (
        lambda ours, folder: ours.certify("a.example.org", "b.example.org").write(folder),
        "is for a.example.org, b.example.org, not for localhost (public_host)",
    ),
    "a name of a strange kind": (
        lambda ours, folder: ours.certify(NAME, alternative=X400_ADDRESS).write(folder),
        "is one that cannot be used here",
    ),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_at_the_start_what_cannot_be_served_is_refused(ours: Authority, tmp_path: Path, what: str) -> None:
    write, sentence = UNUSABLE[what]
    write(ours, tmp_path)
    with pytest.raises(ConfigError) as refused:
        named(tmp_path)
    assert sentence in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize("what", [what for what in UNUSABLE if what != "no files"])
def test_later_the_one_before_goes_on_and_it_is_said_once(
    ours: Authority, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = ours.certify(NAME)
    first.write(tmp_path)
    serving = named(tmp_path)
    write, sentence = UNUSABLE[what]
    write(ours, tmp_path)
    for _ in range(4):
        serving.look()
        assert shown(serving.context) == first.der
    said = [record for record in caplog.records if "the new certificate is not taken" in record.getMessage()]
    assert len(said) == 1
    assert sentence in str(vars(said[0]))
    renewed = ours.certify(NAME)
    renewed.write(tmp_path)
    serving.look()
    serving.look()
    assert shown(serving.context) == shown(serving.context, None) == renewed.der


def test_files_that_are_written_one_after_the_other_bring_no_complaint(
    ours: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours.certify(NAME).write(tmp_path)
    serving, renewed = named(tmp_path), ours.certify(NAME)
    (tmp_path / "fullchain.pem").write_bytes(renewed.chain)
    serving.look()
    (tmp_path / "privkey.pem").write_bytes(renewed.key())
    serving.look()
    serving.look()
    assert shown(serving.context) == renewed.der
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(("days", "sentence"), [((-3, -1), "has expired"), ((1, 3), "is valid only from")])
def test_outside_its_dates_it_is_served_at_the_start_and_told_but_replaces_no_other(
    ours: Authority, tmp_path: Path, days: tuple[float, float], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    outside, right = ours.certify(NAME, days=days), ours.certify(NAME)
    outside.write(tmp_path)
    serving = named(tmp_path)
    assert shown(serving.context) == outside.der
    assert [record.levelno for record in caplog.records if sentence in record.getMessage()] == [logging.ERROR]
    right.write(tmp_path)
    serving.look()
    serving.look()
    assert shown(serving.context) == right.der
    ours.certify(NAME, days=days).write(tmp_path)
    serving.look()
    serving.look()
    assert shown(serving.context) == right.der
    assert sentence in str(vars(caplog.records[-1]))


def test_a_look_that_fails_is_said_and_is_not_the_last(
    ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours.certify(NAME).write(tmp_path)
    serving, renewed, failed = named(tmp_path), ours.certify(NAME), list[str]()
    look = serving.look

    def fail_twice() -> None:
        if len(failed) < 2:
            failed.append("once more")
            raise RuntimeError("nobody thought of this")
        look()

    monkeypatch.setattr(serving, "look", fail_twice)
    renewed.write(tmp_path)
    serving.keep_looking(0.01)
    wait_until(lambda: shown(serving.context) == renewed.der, "the renewed certificate is taken")
    assert len([record for record in caplog.records if "could not be looked at" in record.getMessage()]) == 1


def test_a_renewal_that_is_overdue_is_told_once(
    ours: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours.certify(NAME, days=(-89, 1)).write(tmp_path)
    serving = named(tmp_path)
    serving.look()
    assert len([record for record in caplog.records if "expires on" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("name", "host", "right"),
    [
        ("Racing.example.org", "racing.EXAMPLE.org", True),
        ("*.example.org", "racing.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.racing.example.org", False),
        ("*.org", "example.org", False),
    ],
)
def test_a_star_stands_for_one_label(ours: Authority, tmp_path: Path, name: str, host: str, right: bool) -> None:
    ours.certify(name).write(tmp_path)
    if right:
        named(tmp_path, host)
    else:
        with pytest.raises(ConfigError, match="not for"):
            named(tmp_path, host)
