"""Cars that a driver in the cloud drives: receiver, driver and bridge as processes, over a link with a delay."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.bridge_processes import ROOT
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import ReceiverProcess
from tests.support.runs import run_config
from train_cloud.run_config import RunConfig
from wire.pairing import Pairing, format_pairing


def driven_run(folder: Path, **changes: object) -> RunConfig:
    """A run whose cars a driver beside the trainer drives, kept in `folder`."""
    settings: dict[str, object] = {"listen_host": "127.0.0.1", "listen_port": 0, "segment_seconds": 0.5}
    settings |= {"bucket": {"folder": str(folder)}, "environment": {"source": "driver"}}
    return run_config(**settings | changes)


class DrivenSite:
    """A receiver and a driver's process on one machine, and the way there from a PC: 50 ms each way."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.instance = folder, folder / "instance"
        self.config = driven_run(folder / "bucket")
        self.receiver = ReceiverProcess(self.config, self.instance)
        pairing = self.receiver.pairing(60)
        self.proxy = FaultProxy((pairing.host, pairing.port))
        self._pairing = pairing

    @property
    def uri(self) -> str:
        """The pairing string over the proxy."""
        there = self._pairing
        return format_pairing(Pairing(there.host, self.proxy.port, there.token, there.pin))

    def restart_receiver(self) -> None:
        """Start one in place of the one that was killed; bridges find it where the old one was."""
        self.receiver = ReceiverProcess(self.config, self.instance)
        self._pairing = self.receiver.pairing(60)
        self.proxy.target = (self._pairing.host, self._pairing.port)

    @contextmanager
    def driver(self, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
        """`python -m train_cloud.driver`, which does not outlive the block."""
        line = [sys.executable, "-m", "train_cloud.driver", "--folder", str(self.instance), *arguments]
        with (self.folder / "driver.log").open("ab") as log:
            process = subprocess.Popen([*line, "--config", str(self.instance / "run.json")], cwd=ROOT, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def bridge(self, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
        """`ac-bridge cloud-drive` of a simulated car; it does not outlive the block."""
        line = [sys.executable, "-m", "bridge", "cloud-drive", "--car", "simulated", "--track", "seed:7:1200"]
        line += ["--spool", str(self.folder / "spool"), "--seed", "1", *arguments]
        with (self.folder / "bridge.log").open("ab") as log:
            environment = os.environ | {"AC_BRIDGE_URI": self.uri}
            process = subprocess.Popen(line, cwd=ROOT, env=environment, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @property
    def bridge_log(self) -> str:
        return (self.folder / "bridge.log").read_text()

    @property
    def driver_log(self) -> str:
        return (self.folder / "driver.log").read_text()


@contextmanager
def driven_site(folder: Path, latency: float = 0.05) -> Iterator[DrivenSite]:
    """A site whose receiver does not outlive the block."""
    with ExitStack() as closing:
        site = DrivenSite(folder)
        # Whichever it has by then.
        closing.callback(lambda: site.receiver.kill())
        closing.enter_context(site.proxy)
        site.proxy.latency = latency
        yield site


def end(process: "subprocess.Popen[bytes]") -> int:
    """Ask it to end in order; its exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(120)
