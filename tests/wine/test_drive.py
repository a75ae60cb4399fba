"""The bridge in Windows drives the fake game's car for a real receiver on this machine, over a link that is cut.

The simulated car is not driven there: Wine 8 lacks a function of Windows (cexp) that numpy needs for it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_game import FakeGame
from tests.support.fault_proxy import FaultProxy
from tests.support.moto_s3 import MotoS3, s3
from tests.support.policies import weights_update
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from tests.support.windows import Windows, WindowsProcess, windows_path
from train_cloud.signature import expected_signature, layout
from train_cloud.store import Store
from wire.codec import Batch, decode_batch
from wire.pairing import format_pairing
from wire.process import ExitCode

__all__ = ["s3"]
pytestmark = [pytest.mark.wine, pytest.mark.timeout(300)]

_HZ = 60
_DRIVE = ("-m", "bridge", "drive", "--car", "assetto-corsa", "--backend", "csp", "--rate", str(_HZ), "--any-window")


@dataclass
class Run:
    """A game, a receiver with a first policy, the link to it, and a user's folder with a space in its name."""

    game: FakeGame
    receiver: ReceiverProcess
    proxy: FaultProxy
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """How a bridge finds the receiver and the game, and where Windows keeps a user's settings."""
        pairing = replace(self.receiver.pairing(), port=self.proxy.port)
        return {
            "AC_BRIDGE_URI": format_pairing(pairing),
            "AC_BRIDGE_CONFIG_DIR": windows_path(self.home),
            "AC_ROOT": windows_path(self.game.root),
        }

    def batches(self) -> list[Batch]:
        """What the receiver has stored, in the order in which it came."""
        store = Store(self.receiver.store_file)
        try:
            return [decode_batch(row.blob, layout()) for row in store.read_batches(0, 10**6)]
        finally:
            store.close()

    def steps(self) -> int:
        """How many steps it has stored."""
        return sum(batch.steps for batch in self.batches())

    def check_whole(self) -> None:
        """AssertionError where a step of the car is missing, doubled or out of order."""
        firsts, lengths = (
            np.concatenate([getattr(batch, name) for batch in self.batches()])
            for name in ("run_first_steps", "run_lengths")
        )
        assert firsts.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()]


@pytest.fixture
def run(game: FakeGame, s3: MotoS3, tmp_path: Path) -> Iterator[Run]:
    config = run_config(
        bucket={"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url},
        listen_host="127.0.0.1",
        listen_port=0,
        task={"control_hz": float(_HZ)},
        segment_seconds=0.5,
        max_lead_steps=10**9,
    )
    home = tmp_path / "Driver One" / "Application Data"
    home.mkdir(parents=True)
    with receiver_process(config, tmp_path / "instance") as receiver:
        pairing = receiver.pairing(30.0)
        store = Store(receiver.store_file)
        weights = weights_update(expected_signature(config), 1)
        store.put_weights(weights.version, weights.blob, weights.sha256)
        store.close()
        with FaultProxy((pairing.host, pairing.port)) as proxy:
            yield Run(game, receiver, proxy, home)


@contextmanager
def bridge(windows: Windows, run: Run, *arguments: str) -> Iterator[WindowsProcess]:
    """`python ARGUMENTS` with the run's environment, started in the user's folder."""
    with windows.start(*arguments, folder=run.home, **run.environment) as process:
        yield process


def stored(run: Run, driving: WindowsProcess, steps: float = 0) -> None:
    """Wait until more than so many steps are stored; AssertionError with the bridge's log when it ends before."""
    wait_until(lambda: run.steps() > steps or driving.process.poll() is not None, f"more than {steps} steps", 90.0)
    assert driving.process.poll() is None, driving.errors


def field(log: str, name: str) -> float:
    """A number that the drive's last line gives."""
    found = re.findall(rf'event="the drive has ended".* {name}=([\d.]+)', log)
    assert found, log
    return float(found[-1])


def test_a_drive_at_60_hz_arrives_whole_over_a_link_that_is_cut_twice(windows: Windows, run: Run) -> None:
    steps = 20 * _HZ
    with bridge(windows, run, *_DRIVE, "--steps", str(steps)) as driving:
        for part in (0.25, 0.6):
            stored(run, driving, part * steps)
            run.proxy.cut()
        assert driving.wait(120.0) == ExitCode.OK, driving.errors
    assert run.steps() == steps
    run.check_whole()
    assert field(driving.errors, "not_collected") == 0
    assert run.proxy.accepted >= 3
    assert (run.home / "spool" / "spool.db").exists(), "the spool lies where Windows keeps settings"


def test_ctrl_c_in_the_console_ends_the_drive_in_order(windows: Windows, run: Run) -> None:
    with bridge(windows, run, "-m", "tests.wine.console", *_DRIVE) as driving:
        stored(run, driving)
        driving.tell("ctrl-c")
        assert driving.wait(60.0) == ExitCode.OK, driving.errors
    assert field(driving.errors, "waiting_in_spool") == 0
    assert run.steps() == field(driving.errors, "steps")
    run.check_whole()


def test_what_a_killed_bridge_had_collected_is_sent_by_the_next(windows: Windows, run: Run) -> None:
    with bridge(windows, run, *_DRIVE) as driving:
        stored(run, driving)
        run.proxy.refuse()
        driving.kill()
    run.proxy.resume()
    before = run.steps()
    with bridge(windows, run, *_DRIVE, "--steps", "60") as driving:
        assert driving.wait(60.0) == ExitCode.OK, driving.errors
    assert run.steps() >= before + 60
    run.check_whole()


def test_what_is_wrong_is_told_through_a_pipe_in_windows_code_page(windows: Windows, run: Run) -> None:
    missing = run.home / "Nürburgring \N{GREEK SMALL LETTER OMEGA}.csv"
    with bridge(windows, run, "-m", "bridge", "drive", "--car", "simulated", "--track", windows_path(missing)) as told:
        assert told.wait() == ExitCode.USAGE, told.errors
    assert "Nürburgring" in told.errors
    assert "Traceback" not in told.errors


def test_help_fits_a_pipe(windows: Windows) -> None:
    assert "--spool" in windows.run("-m", "bridge", "drive", "--help").output
