"""The clock of the boot, against the clocks of this machine."""

import sys
import time

import pytest

from runtime.boot_clock import boot_id, seconds_since_boot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when PID 1 began")


def test_a_boot_goes_on_as_the_clock_does() -> None:
    began, before = time.monotonic(), seconds_since_boot()
    while time.monotonic() - began < 0.05:
        pass
    assert before >= 0.0
    assert seconds_since_boot() - before == pytest.approx(time.monotonic() - began, abs=0.02)


def test_a_boot_keeps_its_name() -> None:
    assert boot_id() == boot_id() != ""
