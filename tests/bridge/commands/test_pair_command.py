"""`ac-bridge pair` on a terminal: what is pasted the moment it asks arrives, and is never shown."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

LATE = """
import termios, time

set_terminal = termios.tcsetattr

def later(*arguments):
    time.sleep(0.5)
    set_terminal(*arguments)

termios.tcsetattr = later
from bridge.cli import main
main()
"""
"""The bridge where the terminal takes its time to obey, which is else too short to paste anything into."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudoterminals of this kind")
@pytest.mark.parametrize(
    ("pasted", "code", "said"),
    [
        ("ws://bridge:0123456789abcdefToken@127.0.0.1:8765\n", 0, "Paired with ws://127.0.0.1:8765/"),
        ("\n", 2, "The pairing string does not begin with wss:// or ws://."),
        ("\x04", 1, "Aborted"),
    ],
    ids=["a pairing", "nothing", "the end"],
)
def test_what_is_pasted_at_once_arrives_and_is_not_shown(tmp_path: Path, pasted: str, code: int, said: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", LATE, "pair", "--allow-plain"]
    env = {name: value for name, value in os.environ.items() if name != "AC_BRIDGE_URI"}
    env["AC_BRIDGE_CONFIG_DIR"] = str(tmp_path / "pc")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.set_blocking(ours, False)
    shown = b""

    def has_shown(text: bytes) -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(ours, 65536)
        return text in shown

    try:
        wait_until(lambda: has_shown(b"Pairing string:"), "it asks", every=0.001)
        os.write(ours, pasted.encode())
        wait_until(lambda: process.poll() is not None, "it ends")
        has_shown(b"")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, said in shown.decode()) == (code, True), shown.decode()
    assert "Token" not in shown.decode()
