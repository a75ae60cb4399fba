"""What make adds to the operator's commands: nothing on standard output, also when a bridge calls them."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from scripts.setup import ROOT, STAMP, venv_python
from tests.support.operated import Operated, operated
from tests.support.tools import need_tools
from tests.support.waiting import wait_until
from wire.pairing import format_pairing

__all__ = ["operated"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not STAMP.exists() or Path(sys.prefix) != venv_python().parent.parent,
        reason="make uses the project's .venv, which is not set up or is not what these tests run in",
    ),
]


def make(operated: Operated, *arguments: str) -> "subprocess.Popen[str]":
    need_tools("make")
    # These tests may themselves have been started by make, whose children say which folder they enter.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env = outside | {"DEPLOYMENT": str(operated.file), "AC_BRIDGE_CONFIG_DIR": str(operated.folder / "pc")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["make", *arguments], cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@pytest.mark.parametrize("flags", [(), ("-s",), ("--no-print-directory",)])
def test_make_pair_prints_the_string_and_nothing_else(operated: Operated, flags: tuple[str, ...]) -> None:
    with operated.receiver() as running:
        said = make(operated, *flags, "pair")
        out, err = said.communicate(timeout=120)
        assert (said.returncode, out) == (0, format_pairing(running.pairing()) + "\n"), err


def test_a_bridge_looks_its_pairing_up_with_the_command_that_the_readme_shows(operated: Operated) -> None:
    shown = """ARGS='--pairing-command "make -s pair"'"""
    assert f"make bridge {shown}" in (ROOT / "README.md").read_text(encoding="utf-8")
    spool = operated.folder / "spool"
    options = shown.removeprefix("ARGS='").removesuffix("'") + f" --track seed:7 --spool {spool}"
    with operated.receiver() as running:
        bridge = make(operated, "bridge", f"ARGS={options}")
        try:
            wait_until(lambda: "bridge connected" in running.log_text() or bridge.poll() is not None, "it called", 60)
        finally:
            # Ctrl-C: to make and to all that it started, unless that has ended by itself.
            with suppress(ProcessLookupError):
                os.killpg(bridge.pid, signal.SIGINT)
            out, err = bridge.communicate(timeout=120)
        assert "bridge connected" in running.log_text(), err
    assert operated.token not in out + err


def test_a_plain_pairing_is_allowed_to_both_commands_of_make_bridge(operated: Operated) -> None:
    said = make(operated, "-n", "bridge", "URI=ws://bridge:TOKEN@192.168.1.5:8765/", "ARGS=--allow-plain --rate 25")
    out, err = said.communicate(timeout=120)
    assert said.returncode == 0, err
    pair, drive = (line for line in out.splitlines() if "-m bridge" in line)
    assert pair.endswith("-m bridge pair --allow-plain")
    assert drive.endswith("-m bridge drive --allow-plain --rate 25")
