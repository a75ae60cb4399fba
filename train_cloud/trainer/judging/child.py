"""The child of a trainer that judges policies in the simulator, while learning needs the processor more.

Each line of its standard input is a Request (JSON), each of its output the Answer. The end of the input, which comes
with the trainer's in whatever way, is its end at once.
"""

import os
import queue
import signal
import sys
import threading

import msgspec

from racing.link_model import LinkModel
from racing.task_config import TaskConfig

NICE = 10


class Request(msgspec.Struct):
    """A policy's file, the text of the track to drive it on, the task and the link that it was trained for."""

    task: TaskConfig
    track: bytes
    policy: bytes
    laps: int
    link: LinkModel | None = None


def main() -> None:
    """Answer until the input ends."""
    # A signal to the trainer's whole group is the trainer's to answer.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICE)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), name="input", daemon=True).start()
    # What takes its time to load is loaded with low priority.
    from experience.environment import racing
    from racing.evaluation import judge, policy_actions
    from racing.track_text import track_of

    while True:
        request = msgspec.json.decode(lines.get(), type=Request)
        actor = policy_actions(racing(request.task, request.link).policy(request.policy))
        found = judge(actor, track_of(request.track), laps=request.laps, config=request.task, link=request.link)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()


def _read(lines: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
