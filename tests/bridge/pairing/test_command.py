"""A pairing that a command looks up: whom to call may change while the bridge drives."""

import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.link import dialing
from bridge.link import link as link_module
from bridge.link.link import Link
from bridge.pairing import command as pairing_command
from bridge.pairing.command import NoAnswer, look_up_pairing
from bridge.spool import Spool
from tests.support.ended import has_ended
from tests.support.links import INTRODUCTION, append
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from wire.pairing import Pairing, PairingError, format_pairing

TOKEN = "0123456789abcdefToken"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


def printing(text: str, *more: str) -> str:
    """A command line that prints `text` and does `more`."""
    return shlex.join([sys.executable, "-c", "; ".join([f"print({text!r})", *more])])


def test_the_last_line_of_the_commands_output_is_the_pairing() -> None:
    pairing = Pairing("203.0.113.7", 8765, TOKEN, pin="ab" * 32)
    command = printing(f"found it:\n{format_pairing(pairing)}")
    assert look_up_pairing(command) == pairing


def test_a_command_that_fails_says_what_it_said_and_nothing_of_its_output() -> None:
    command = printing(TOKEN, "import sys", "sys.exit('Nothing runs: make start')")
    with pytest.raises(PairingError, match=r"exit code 1; it said: Nothing runs: make start$") as caught:
        look_up_pairing(command)
    assert TOKEN not in str(caught.value)


def test_a_command_that_prints_no_pairing_is_refused_without_what_it_printed() -> None:
    with pytest.raises(PairingError, match="does not begin with wss://") as caught:
        look_up_pairing(printing(TOKEN))
    assert TOKEN not in str(caught.value)


def waiting(folder: Path) -> str:
    """A command line that, as `make pair` does, starts a process which waits: it says so, and writes its number."""
    code = f"import os, sys, time; print('i-1 boots', file=sys.stderr, flush=True); at = {str(folder)!r} + '/pid'"
    code += "; open(at + '.new', 'w').write(str(os.getpid())); os.replace(at + '.new', at); time.sleep(300)"
    return f"{shlex.join([sys.executable, '-c', code])}; true"


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its time is over once it has said what it is about.
    clock = SimpleNamespace(monotonic=lambda: 61.0 if (tmp_path / "pid").exists() else 0.0)
    monkeypatch.setattr(pairing_command, "time", clock)
    with pytest.raises(NoAnswer, match=r"no answer within 60 s; it said: i-1 boots$"):
        look_up_pairing(waiting(tmp_path))
    number = int((tmp_path / "pid").read_text())
    wait_until(lambda: has_ended(number), "what the shell had started is gone")


def test_nobody_waits_for_a_command_after_the_stop(tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_once_it_runs() -> None:
        wait_until((tmp_path / "pid").exists, "it runs")
        stop.set()

    started = threading.Thread(target=stop_once_it_runs)
    started.start()
    with pytest.raises(NoAnswer, match="Stopped"):
        look_up_pairing(waiting(tmp_path), stop=stop)
    started.join()
    wait_until(lambda: has_ended(int((tmp_path / "pid").read_text())), "the command is gone")


def test_a_replacement_at_another_address_is_found_by_looking_it_up(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "LOOK_UP_SECONDS", 0.5)
    published = tmp_path / "published"
    command = shlex.join([sys.executable, "-c", f"print(open({str(published)!r}).read())"])
    with WireServer() as first, WireServer() as second:
        published.write_text(format_pairing(first.pairing))
        link = Link(look_up_pairing(command), spool, INTRODUCTION, look_up=lambda: look_up_pairing(command))
        link.start()
        try:
            append(spool, link, 10)
            wait_until(lambda: link.all_safe, "the first instance has everything")
            first.vanish()
            second.stored[spool.stream] = list(first.stored[spool.stream])
            published.write_text(format_pairing(second.pairing))
            append(spool, link, 10)
            wait_until(lambda: link.all_safe, "the second instance has everything")
            assert len(second.stored[spool.stream]) == 20
        finally:
            link.close()


def test_a_stranger_at_the_old_address_does_not_end_the_link(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "LOOK_UP_SECONDS", 0.5)
    monkeypatch.setattr(dialing, "WRONG_TOKEN_PAUSE_S", 0.5)
    published = tmp_path / "published"
    command = shlex.join([sys.executable, "-c", f"print(open({str(published)!r}).read())"])
    with WireServer() as stranger, WireServer() as ours:
        wrong = Pairing("127.0.0.1", stranger.pairing.port, "another0123456789token", tls=False)
        published.write_text(format_pairing(wrong))
        link = Link(look_up_pairing(command), spool, INTRODUCTION, look_up=lambda: look_up_pairing(command))
        link.start()
        try:
            append(spool, link, 3)
            wait_until(lambda: len(stranger.requests) > 0, "the stranger was called")
            published.write_text(format_pairing(ours.pairing))
            wait_until(lambda: link.all_safe, "ours has everything")
        finally:
            link.close()
