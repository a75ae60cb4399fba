"""The clock of the boot, against the clocks of this machine."""

import sys
import time

import pytest

from runtime.boot_clock import boot_id, seconds_since_boot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when PID 1 began")


def test_a_boot_goes_on_as_the_clock_does() -> None:
    began, before, first_read = time.monotonic(), seconds_since_boot(), time.monotonic()
    while time.monotonic() - first_read < 0.05:
        pass
    second_read, after, ended = time.monotonic(), seconds_since_boot(), time.monotonic()
    assert before >= 0.0
    assert second_read - first_read - 0.02 <= after - before <= ended - began + 0.02


def test_a_boot_keeps_its_name() -> None:
    assert boot_id() == boot_id() != ""
