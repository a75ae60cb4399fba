"""The bridge in Windows drives the fake game's car for a real receiver on this machine, over a link that is cut.

The simulated car is not driven there: Wine 8 lacks a function of Windows (cexp) that numpy needs for it.
"""

import re

import pytest

from runtime.exit_codes import ExitCode
from tests.support.waiting import wait_until
from tests.support.windows import Windows, WindowsProcess, windows_path
from tests.wine.gaming_pc import HZ, Run, bridge, run, s3

__all__ = ["run", "s3"]
pytestmark = [pytest.mark.wine, pytest.mark.timeout(3600)]

_MINUTE = 60 * HZ
_BREAKABLE = """
import signal, sys, threading
from bridge.cli import main
threading.Thread(target=lambda: sys.stdin.readline() and signal.raise_signal(signal.SIGBREAK), daemon=True).start()
main()
"""
_DRIVE = ("-m", "bridge", "drive", "--car", "assetto-corsa", "--backend", "csp", "--rate", str(HZ), "--any-window")


def stored(run: Run, driving: WindowsProcess, steps: float = 0) -> None:
    """Wait until more than so many steps are stored; AssertionError with the bridge's log when it ends before."""
    wait_until(lambda: run.steps() > steps or driving.process.poll() is not None, f"more than {steps} steps", 90.0)
    assert driving.process.poll() is None, driving.errors


def check_ended_in_order(run: Run, driving: WindowsProcess) -> None:
    """AssertionError unless it ends with everything delivered."""
    assert driving.wait(600.0) == ExitCode.OK, driving.errors
    assert field(driving.errors, "waiting_in_spool") == 0
    assert run.steps() == field(driving.errors, "steps")
    run.check_whole()


def field(log: str, name: str) -> float:
    """A number that the drive's last line gives."""
    found = re.findall(rf'event="the drive has ended".* {name}=([\d.]+)', log)
    assert found, log
    return float(found[-1])


def test_a_minute_at_60_hz_arrives_whole_over_a_link_that_is_cut_twice(windows: Windows, run: Run) -> None:
    with bridge(windows, run, *_DRIVE, "--steps", str(_MINUTE)) as driving:
        for part in (0.3, 0.6):
            stored(run, driving, part * _MINUTE)
            run.proxy.cut()
        assert driving.wait(600.0) == ExitCode.OK, driving.errors
    assert run.steps() == _MINUTE
    run.check_whole()
    assert field(driving.errors, "seconds") >= 60.0, "no step is faster than the clock"
    assert field(driving.errors, "not_collected") == 0
    assert run.proxy.accepted >= 3
    assert (run.home / "spool" / "spool.db").exists(), "the spool lies where Windows keeps settings"


def test_ctrl_c_in_the_console_ends_the_drive_in_order(windows: Windows, run: Run) -> None:
    with bridge(windows, run, "-m", "tests.wine.console", *_DRIVE) as driving:
        stored(run, driving)
        driving.tell("ctrl-c")
        check_ended_in_order(run, driving)


def test_ctrl_break_ends_the_drive_in_order(windows: Windows, run: Run) -> None:
    """Wine 8 has no such key, so the signal is raised in the bridge, as Windows' C library raises it for the key."""
    with bridge(windows, run, "-c", _BREAKABLE, *_DRIVE[2:]) as driving:
        stored(run, driving)
        driving.tell("now")
        check_ended_in_order(run, driving)


def test_what_a_killed_bridge_had_collected_is_sent_by_the_next(windows: Windows, run: Run) -> None:
    with bridge(windows, run, *_DRIVE) as driving:
        stored(run, driving)
        run.proxy.refuse()
        driving.kill()
    run.proxy.resume()
    before = run.steps()
    with bridge(windows, run, *_DRIVE, "--steps", "60") as driving:
        assert driving.wait(600.0) == ExitCode.OK, driving.errors
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
