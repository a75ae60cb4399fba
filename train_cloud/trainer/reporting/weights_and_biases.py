"""Draws the run's curves at Weights & Biases, in a process of its own that learning never waits for.

The trainer's side hands points to a thread, which writes them to the child as JSON lines; the child (this module run by
`python -m`) alone imports wandb. It goes on where the run's curves ended, tries again while the server is out of
reach, and ends with a sentence when the key is refused. The key reaches the child on its standard input only.
"""

import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from runtime.logs import configure_logging, fields
from runtime.retry import Backoff
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import WANDB_KEY_VARIABLE

FINISH_SECONDS = 8.0
CLOSE_SECONDS = FINISH_SECONDS + 2.0
"""What W&B may take of the run's end, after which it is left to itself."""
INIT_SECONDS = 30.0
WAITING_POINTS = 10_000

_log = logging.getLogger(__name__)


class WandbCurves:
    """The trainer's side; `settings`, the key and what wandb.init takes, is the child's first line."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        self._queue: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._ended: float | None = None
        self._queue.put(settings)
        self._thread = threading.Thread(target=self._run, name="wandb", daemon=True)
        self._thread.start()

    @classmethod
    def of_run(cls, config: RunConfig, folder: Path) -> "WandbCurves | None":
        """The curves that run.json asks for; None without a project, and, with a warning, without a key."""
        if config.wandb_project is None:
            return None
        key = _read_key()
        if not key and os.environ.get("WANDB_MODE") != "offline":
            _log.warning(
                "run.json names a W&B project, but there is no key: training goes on without W&B; put the key into the "
                f"file that {WANDB_KEY_VARIABLE} names",
                extra=fields(project=config.wandb_project),
            )
            return None
        place = {"project": config.wandb_project, "entity": config.wandb_entity, "dir": str(folder)}
        run = {"id": config.run_id, "name": config.run_id, "config": msgspec.to_builtins(config), "resume": "allow"}
        return cls({"key": key, "init": place | run}, folder)

    def add(self, steps: int, points: Mapping[str, float]) -> None:
        """Draw `points` at `steps`; never waits. When too many wait already they are dropped."""
        if self._queue.qsize() < WAITING_POINTS:
            self._queue.put({"steps": steps, "points": points})

    def end(self) -> None:
        """No more points come."""
        if self._ended is None:
            self._ended = time.monotonic()
            self._queue.put(None)

    def close(self) -> None:
        """Wait until all is at W&B, at most CLOSE_SECONDS from the end of the points."""
        self.end()
        assert self._ended is not None
        deadline = self._ended + CLOSE_SECONDS
        self._thread.join(max(0.0, deadline - time.monotonic()))
        child = self._child
        if child is None:
            return
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("W&B did not take the last points in time: its curves may end early")
            child.kill()
            child.wait()

    def _run(self) -> None:
        private = self._folder / "wandb"
        defaults = {name: str(private) for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
        defaults["WANDB_SILENT"] = "true"
        command = [sys.executable, "-m", __name__]
        try:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, env=defaults | dict(os.environ))
            assert self._child.stdin is not None
            with self._child.stdin as pipe:
                while (item := self._queue.get()) is not None:
                    pipe.write(json.dumps(item).encode() + b"\n")
                    pipe.flush()
        except OSError:
            # The child has said why it ended; or it could not even be started.
            if self._child is None:
                _log.warning("W&B's process could not be started: training goes on without W&B")


def _read_key() -> str | None:
    try:
        return Path(os.environ[WANDB_KEY_VARIABLE]).read_text(encoding="utf-8").strip() or None
    except (KeyError, OSError, UnicodeDecodeError):
        return None


class _Input:
    """Standard input of the child, read by a thread so that its end is noticed whatever the process waits for."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = json.loads(sys.stdin.readline())
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._begun = threading.Event()
        self.out_of_reach = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._read, name="input", daemon=True).start()

    def items(self) -> Iterator[dict[str, Any]]:
        """What comes after the settings, once W&B has answered."""
        self._begun.set()
        while (line := self._lines.get()) is not None:
            yield json.loads(line)

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put(None)
        self.ended.set()
        # A short run's points are worth waiting for, but not for a server that could not be reached before.
        if not self.out_of_reach.is_set():
            self._begun.wait(FINISH_SECONDS)
        if not self._begun.is_set():
            _log.warning("the run ended before W&B could be reached: its curves are not there")
            os._exit(0)


def main() -> None:
    """The child: settings, then points, from standard input until its end."""
    configure_logging("wandb")
    # The end of the input is this process's end; a signal to the whole group must not cut off the last points.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)
    source = _Input()
    run = _begin(source)
    if run is None:
        return
    for item in source.items():
        # What an earlier life had drawn beyond its checkpoint stays: W&B takes a step only once.
        if item["steps"] >= run.step:
            run.log(item["points"], step=item["steps"])
    run.finish()


def _begin(source: _Input) -> Any:
    """The W&B run, new or taken up again; None when W&B refuses us for good."""
    import wandb

    options = wandb.Settings(
        api_key=source.settings["key"],
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
    )
    backoff = Backoff(first=5.0, cap=300.0)
    while True:
        try:
            run = wandb.init(**source.settings["init"], settings=options)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            # Where the server answered that it does not let us, more tries would get the same answer.
            refused = re.search(r"\b(?:returned error|HTTP) (40[01349]|410)\b", str(error))
            if refused and refused[1] == "409":
                _log.warning(
                    "W&B takes nothing under this run_id, because a run of that name was deleted there: training goes "
                    "on without W&B; another run_id would have curves",
                    extra=fields(reason=reason),
                )
                return None
            if refused or isinstance(error, (wandb.errors.AuthenticationError, wandb.errors.UsageError)):
                _log.warning(
                    "W&B refuses the key or the project: training goes on without W&B; check the key and wandb_project",
                    extra=fields(reason=reason),
                )
                return None
            # A second try under the same id is refused while the first one's remains are there.
            wandb.teardown()
            pause = backoff.seconds()
            again = fields(reason=reason, retry_in_s=round(pause))
            _log.warning("W&B cannot be reached: training goes on, trying again", extra=again)
            source.out_of_reach.set()
            source.ended.wait(pause)
        else:
            _log.info("W&B draws the run", extra=fields(run_id=run.id, from_step=run.step, url=run.url or "offline"))
            return run


if __name__ == "__main__":
    main()
