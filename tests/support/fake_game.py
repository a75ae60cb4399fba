"""A fake Assetto Corsa as a process in a test.

    with FakeGame(tmp_path) as game:
        game.live()                            # the Drive menu dismissed, packets coming
        game.tell("tear", page="physics", seconds=0.02)
        game.truth()["s"]                      # what really is, in racing's units and frame
        game.crash()                           # SIGKILL: the pages stay behind with their last bytes

The pages lie in `game.shm` (give it to the process under test as AC_SHM_DIR), a made-up install in `game.root`.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fake_ac.inputs import VirtualDevice
from tests.fake_ac.pages import GRAPHICS, PHYSICS
from tests.fake_ac.playback import write
from tests.fake_ac.publisher import NAMES
from tests.support.tools import need_page_files
from tests.support.waiting import wait_until

PROJECT = Path(__file__).parents[2]
_ANSWER_SECONDS = 120.0
_LIVE = 2


class FakeGame:
    """A running fake game, in its Drive menu; more options as `python -m tests.fake_ac --help` lists them."""

    def __init__(self, folder: Path, track: str = "seed:7", *options: str) -> None:
        need_page_files()
        self.shm, self.root, self.track = folder / "shm", folder / "assettocorsa", track
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, or start it again after a crash or a stop; returns when its pages are there."""
        command = [sys.executable, "-m", "tests.fake_ac", "--shm", str(self.shm), "--root", str(self.root)]
        self.process = subprocess.Popen(
            [*command, "--track", self.track, *self._options],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._line(_ANSWER_SECONDS) == "READY"

    @property
    def environment(self) -> dict[str, str]:
        """What a process under test needs to find the pages."""
        return {"AC_SHM_DIR": str(self.shm)}

    def tell(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command (tests/fake_ac/commands.py) and return the answer; AssertionError where it is refused."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line(_ANSWER_SECONDS))
        assert "error" not in answer, answer
        return answer

    def truth(self) -> dict[str, Any]:
        """What really is, whatever the pages show."""
        return self.tell("truth")

    def live(self) -> None:
        """Dismiss whatever is shown; returns when the pages say LIVE and packets come."""
        self.tell("mode", mode="live")
        before = self.physics("packetId")
        wait_until(
            lambda: self.graphics("status") == _LIVE and self.physics("packetId") > before, "the game to be LIVE"
        )

    def physics(self, field: str) -> Any:
        """One field of the physics page, by the game's name for it."""
        return PHYSICS.get((self.shm / NAMES["physics"]).read_bytes(), field)

    def graphics(self, field: str) -> Any:
        """One field of the graphics page."""
        return GRAPHICS.get((self.shm / NAMES["graphics"]).read_bytes(), field)

    def play(self, records: Iterable[tuple[float, str, bytes]]) -> None:
        """Publish recorded pages from now on: time in s (rising), "physics", "graphics", "static" or "car", bytes."""
        path = self.shm.parent / "recorded_pages"
        write(path, records)
        self.tell("play", path=str(path))

    def device(self) -> VirtualDevice:
        """The other end of the game's virtual joystick."""
        return VirtualDevice(self.shm)

    def stop(self) -> None:
        """End it in peace; its pages are gone then. Safe to call twice."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(_ANSWER_SECONDS)
        self._close_pipes()

    def crash(self) -> None:
        """Kill it; its pages stay with their last bytes, as mirrored ones do."""
        self.process.kill()
        self.process.wait(_ANSWER_SECONDS)
        self._close_pipes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crash()

    def _line(self, seconds: float) -> str:
        """The next line that it prints; AssertionError when none comes."""
        assert self.process.stdout is not None
        descriptor, line, deadline = self.process.stdout.fileno(), b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                assert selector.select(deadline - time.monotonic()), "the fake game does not answer"
                # It prints a line only when it is told something, so nothing of a second one can come with it.
                part = os.read(descriptor, 65536)
                assert part, "the fake game ended"
                line += part
        return line.decode().rstrip("\n")

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
