"""A served run that systemd runs: how it is noticed, stopped, and which units it has."""

import subprocess
from pathlib import Path
from typing import Final

UNITS: Final = (
    *("ac-receiver.service", "ac-training.service", "ac-driver.service"),
    *("ac-dashboard.service", "ac-tensorboard.service"),
)
"""Of an instance's units those that are of use on any server, in the order of their start."""
INSTALLED: Final = "installed"
"""In the folder of a run that scripts.install_server has installed: `system`, or `user` for the owner's own manager."""
SYSTEM, USER = "system", "user"


def is_installed(folder: Path) -> bool:
    """Whether systemd is to run what is in the folder. Raises PermissionError."""
    return (folder / INSTALLED).exists()


def systemctl(scope: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask the system's manager or the user's; what it says is kept. Raises OSError where there is no systemd."""
    command = ["systemctl", *(["--user"] if scope == USER else []), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def stop_units(folder: Path) -> str | None:
    """Stop the services of the folder's run in order; None, or why that failed. Raises OSError."""
    # The trainer first, as at a shutdown: the manager goes by the order of the units.
    done = systemctl((folder / INSTALLED).read_text("utf-8").strip(), "stop", *UNITS)
    return None if done.returncode == 0 else done.stderr.strip()
