"""How long this machine has been up, by a clock that nobody can set; Linux only.

A boot begins when PID 1 does, in a container when the container does. Wall-clock jumps (a first NTP answer, a wrong
hardware clock) change nothing, and a suspended machine keeps counting, as its bill does.
"""

import os
import time
from pathlib import Path


def seconds_since_boot() -> float:
    """Seconds since PID 1 began. Source: proc(5), field 22 of /proc/PID/stat, in clock ticks."""
    # The second field is a name in brackets that may hold spaces; what follows its last bracket is field 3.
    after_name = Path("/proc/1/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    began = int(after_name[22 - 3]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)


def boot_id() -> str:
    """A name of this boot: another one after a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
