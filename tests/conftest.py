"""What is collected on Linux alone: the shell and systemd of an instance, and what boots it or fakes AWS or Windows.

The gaming PC's side, the wire, the receiver and the trainer run everywhere, and so do their tests.
"""

import sys

if sys.platform != "linux":
    collect_ignore = ["box", "terraform", "wine", "train_cloud/instance"]
