"""A real receiver and a bridge that serves environments to it, in threads of this process.

with remote_pc(["CartPole-v1"], folder) as pc:
    env = RemoteEnv(pc.calls, "CartPole-v1")
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bridge.commands.serve_env import introduction
from bridge.serve_env.host import Host
from bridge.serve_env.offers import offers_of
from bridge.serve_env.serving import Serving
from tests.support.receivers import REMOTE, ThreadedReceiver
from train_cloud.run_folder.files import CALLS
from wire.pairing import Pairing


class ServedHere:
    """A PC that has these environments, in threads of this process; `serving` is its link."""

    def __init__(self, pairing: Pairing, names: Sequence[str], most: int) -> None:
        self._stop = threading.Event()
        offers = offers_of(list(names), Path.cwd())
        hello = introduction(list(names), most)
        self.serving = Serving(pairing, hello, lambda answer: Host(offers, most, answer), self._stop)
        self._thread = threading.Thread(target=self.serving.run)
        self._thread.start()

    def end(self) -> None:
        """End it in order."""
        self._stop.set()
        self._thread.join()


class RemotePc:
    """Attributes: receiver; calls: its socket for the trainer's calls."""

    def __init__(self, receiver: ThreadedReceiver, calls: Path, names: Sequence[str], most: int) -> None:
        self.receiver, self.calls = receiver, calls
        self._names, self._most = names, most
        self._served = ServedHere(receiver.pairing, names, most)

    def restart(self) -> None:
        """Another process of the PC takes over, which knows nothing of what the one before had made."""
        self._served.end()
        self._served = ServedHere(self.receiver.pairing, self._names, self._most)

    def end(self) -> None:
        """The PC goes."""
        self._served.end()


@contextmanager
def receiver_here(folder: Path) -> Iterator[tuple[ThreadedReceiver, Path]]:
    """A receiver in `folder`, and its socket for the trainer's calls."""
    receiver = ThreadedReceiver(REMOTE, folder)
    try:
        yield receiver, folder / CALLS
    finally:
        receiver.close()


@contextmanager
def remote_pc(names: Sequence[str], folder: Path, most: int = 64) -> Iterator[RemotePc]:
    """A receiver in `folder`, and a PC that serves `names` to it."""
    with receiver_here(folder) as (receiver, calls):
        pc = RemotePc(receiver, calls, names, most)
        try:
            yield pc
        finally:
            pc.end()
