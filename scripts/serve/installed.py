"""A served run that systemd runs: how it is noticed, stopped, and which units it has."""

import subprocess
from pathlib import Path
from typing import Final

UNITS: Final = (
    *("ac-receiver.service", "ac-training.service", "ac-driver.service"),
    *("ac-dashboard.service", "ac-tensorboard.service"),
)
"""Of an instance's units those that are of use on any server, in the order of their start."""
SAVING: Final = UNITS[:2]
"""Those that save something when they end."""
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


def ends_out_of_order(folder: Path) -> list[str]:
    """How those units ended that have not saved everything: `ac-training: exit code 5 (exit-code)`. Raises OSError."""
    scope = (folder / INSTALLED).read_text("utf-8").strip()
    found = []
    for unit in SAVING:
        done = systemctl(scope, "show", "--property=ActiveState,Result,ExecMainStatus", unit)
        shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if done.returncode != 0 or shown.get("ActiveState") not in ("inactive", "failed"):
            found.append(f"{unit.removesuffix('.service')}: systemd does not say")
        elif (shown.get("Result"), shown.get("ExecMainStatus")) != ("success", "0"):
            code = shown.get("ExecMainStatus")
            found.append(f"{unit.removesuffix('.service')}: exit code {code} ({shown.get('Result')})")
    return found


def stop_units(folder: Path) -> str | None:
    """Stop the services of the folder's run in order; None, or why that failed. Raises OSError."""
    # The trainer first, as at a shutdown: the manager goes by the order of the units.
    done = systemctl((folder / INSTALLED).read_text("utf-8").strip(), "stop", *UNITS)
    return None if done.returncode == 0 else done.stderr.strip()
