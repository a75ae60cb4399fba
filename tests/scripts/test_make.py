"""What make adds to the commands: nothing on standard output, also when a bridge calls them, and no token in sight."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scripts.setup import ROOT, STAMP, venv_python
from tests.support.operated import Operated, operated
from tests.support.receivers import ReceiverProcess
from tests.support.tools import need_tools
from tests.support.waiting import wait_until
from wire.pairing import format_pairing, new_token

__all__ = ["operated"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not STAMP.exists() or Path(sys.prefix) != venv_python().parent.parent,
        reason="make uses the project's .venv, which is not set up or is not what these tests run in",
    ),
]


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="what others see of a process is read in /proc")


def make(operated: Operated, *arguments: str, terminal: int | None = None) -> "subprocess.Popen[str]":
    """Run make, in a session of its own; on a `terminal`, where one is given."""
    need_tools("make")
    # These tests may themselves have been started by make, whose children say which folder they enter.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env = outside | {"DEPLOYMENT": str(operated.file), "AC_BRIDGE_CONFIG_DIR": str(operated.folder / "pc")}
    given, out = (subprocess.DEVNULL, subprocess.PIPE) if terminal is None else (terminal, terminal)
    return subprocess.Popen(
        ["make", *arguments],
        cwd=ROOT,
        env=env,
        stdin=given,
        stdout=out,
        stderr=out,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("flags", [(), ("-s",), ("--no-print-directory",)])
def test_make_pair_prints_the_string_and_nothing_else(operated: Operated, flags: tuple[str, ...]) -> None:
    with operated.receiver() as running:
        said = make(operated, *flags, "pair")
        out, err = said.communicate(timeout=120)
        assert (said.returncode, out) == (0, format_pairing(running.pairing()) + "\n"), err


def test_a_bridge_looks_its_pairing_up_with_the_command_that_the_docs_show(operated: Operated) -> None:
    shown = """ARGS='--pairing-command "make -s pair"'"""
    assert f"make bridge {shown}" in (ROOT / "docs" / "cloud.md").read_text(encoding="utf-8")
    spool = operated.folder / "spool"
    options = shown.removeprefix("ARGS='").removesuffix("'") + f" --track seed:7 --spool {spool}"
    with operated.receiver() as running:
        bridge = make(operated, "bridge", f"ARGS={options}")
        try:
            wait_until(lambda: "bridge connected" in running.log_text() or bridge.poll() is not None, "it called", 60)
        finally:
            said = ended(bridge)
        assert "bridge connected" in running.log_text(), said
    assert operated.token not in said


def test_a_plain_pairing_is_allowed_to_both_commands_of_make_bridge(operated: Operated) -> None:
    arguments = "ARGS=--allow-plain --rate 25"
    pairing = make(operated, "-n", "bridge", "URI=ws://bridge:TOKEN@192.168.1.5:8765/", arguments)
    driving = make(operated, "-n", "bridge", arguments)
    (pair,), (drive,) = (
        [line for line in said.communicate(timeout=120)[0].splitlines() if "-m bridge" in line]
        for said in (pairing, driving)
    )
    assert pair.endswith("-m bridge pair --allow-plain")
    assert drive.endswith("-m bridge drive --allow-plain --rate 25")


def test_make_demo_passes_the_output_on(operated: Operated) -> None:
    taken = operated.folder / "a file"
    taken.write_text("in the way")
    said = make(operated, "demo", f"OUTPUT={taken}")
    _, err = said.communicate(timeout=120)
    assert f"The outcome cannot go into {taken}" in err


def test_make_serve_passes_its_options_on(operated: Operated) -> None:
    folder, run = operated.folder / "a run", operated.folder / "my run.json"
    run.write_text('{"run_id": "garage", "bucket": {"name": "a-bucket"}}')
    said = make(operated, "serve", f"FOLDER={folder}", f"RUN={run}", "PORT=8799", "HOST=http://nowhere")
    _, err = said.communicate(timeout=120)
    assert "'http://nowhere' is neither a name nor an address alone" in err
    run.write_text('{"run_id": "garage"}')
    _, err = make(operated, "serve", f"FOLDER={folder}", f"RUN={run}").communicate(timeout=120)
    assert f"{run}: the field `bucket` is missing" in err
    assert [entry.name for entry in folder.iterdir()] == ["serve.lock"]


@on_linux
def test_while_it_drives_the_token_is_in_no_process_but_the_bridge_s_memory(operated: Operated) -> None:
    with receiver_of_its_own(operated) as running:
        token, uri = running.pairing().token, format_pairing(running.pairing())
        paired = make(operated, "bridge", f"URI={uri}", "ARGS=--track seed:7")
        out, err = paired.communicate(timeout=120)
        assert paired.returncode == 0, err
        assert "Now the same without URI, which drives" in out
        spool = operated.folder / "spool"
        bridge = make(operated, "bridge", f"ARGS=--track seed:7 --spool {spool}")
        try:
            wait_until(lambda: "bridge connected" in running.log_text() or bridge.poll() is not None, "it called", 60)
            everything = everything_that_ps_shows()
        finally:
            err = ended(bridge)
        assert "bridge connected" in running.log_text(), err
    assert any("bridge\0drive\0" in text for text in everything)
    assert not [text for text in everything if token in text]
    assert token not in out + err


@on_linux
def test_while_it_pairs_no_child_of_make_has_the_token_but_for_its_own_use(operated: Operated) -> None:
    spy = operated.folder / "python"
    spy.write_text("#!/bin/sh\ntr '\\0' '\\n' </proc/$$/environ\ntr '\\0' '\\n' </proc/$$/cmdline\n")
    spy.chmod(0o700)
    uri = f"wss://bridge:{operated.token}@127.0.0.1:8765/pin-{'ab' * 32}"
    said = make(operated, "bridge", f"URI={uri}", f"PYTHON={spy}")
    out, err = said.communicate(timeout=120)
    assert said.returncode == 0, err
    assert [line for line in out.splitlines() if operated.token in line] == [f"AC_BRIDGE_URI={uri}"]


@on_linux
def test_without_a_pairing_make_bridge_asks_on_the_terminal_without_showing_it_and_drives(operated: Operated) -> None:
    import termios

    with receiver_of_its_own(operated) as running:
        token = running.pairing().token
        ours, theirs = os.openpty()
        bridge = make(operated, "bridge", f"ARGS=--track seed:7 --spool {operated.folder / 'spool'}", terminal=theirs)
        os.close(theirs)
        shown = Shown(ours)
        try:
            wait_until(lambda: "Pairing string" in shown.text() or bridge.poll() is not None, "it asks", 60)
            assert not termios.tcgetattr(ours)[3] & termios.ECHO
            os.write(ours, f"{format_pairing(running.pairing())}\n".encode())
            wait_until(lambda: "bridge connected" in running.log_text() or bridge.poll() is not None, "it called", 60)
            everything = everything_that_ps_shows()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(bridge.pid, signal.SIGINT)
            wait_until(lambda: bool(shown.text()) and bridge.poll() is not None, "it ends", 60)
            os.close(ours)
        assert "bridge connected" in running.log_text(), shown.text()
    assert not [text for text in (*everything, shown.text()) if token in text]


@contextmanager
def receiver_of_its_own(operated: Operated) -> Iterator[ReceiverProcess]:
    """A receiver with a token that no other test has, whose processes run beside these."""
    running = ReceiverProcess(operated.config, operated.folder / "instance", token=new_token())
    try:
        running.pairing()
        yield running
    finally:
        running.kill()


def everything_that_ps_shows() -> list[str]:
    """Command line and first environment of each process there is."""
    texts = []
    for file in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with suppress(OSError):
            texts.append(file.read_bytes().decode(errors="replace"))
    return texts


class Shown:
    """What was written to a terminal so far; a terminal that nobody reads would hold its writer up."""

    def __init__(self, terminal: int) -> None:
        self._terminal, self._text = terminal, ""

    def text(self) -> str:
        # A terminal whose other side is closed is EIO on Linux, and EBADF where ours is, too.
        with suppress(OSError):
            while select.select([self._terminal], [], [], 0)[0]:
                self._text += os.read(self._terminal, 65536).decode(errors="replace")
        return self._text


def ended(bridge: "subprocess.Popen[str]") -> str:
    """End it as Ctrl-C does, make and all that it started, unless that has ended by itself; what it said."""
    with suppress(ProcessLookupError):
        os.killpg(bridge.pid, signal.SIGINT)
    out, err = bridge.communicate(timeout=120)
    return out + err
