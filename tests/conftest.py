"""What is collected on Linux alone: the shell and systemd of an instance, and what boots it or fakes AWS or Windows.

The gaming PC's side, the wire, the receiver and the trainer run everywhere, and so do their tests.

A busy machine makes tests slower, not red; started in the background (Ctrl-C ignored) they are green too.
"""

import signal
import sys

from hypothesis import HealthCheck, settings

if sys.platform != "linux":
    collect_ignore = ["box", "terraform", "wine", "train_cloud/instance"]

# A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis takes a machine that is busy for a test that is slow.
settings.register_profile(
    "any-machine", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")
