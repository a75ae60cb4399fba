"""What a figure was measured with: every benchmark prints it above its table, so that no figure travels without it."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def setting(*packages: str) -> str:
    """One line of Markdown: processor, cores, system, Python, `packages` with versions, date (UTC), command.

    Raises:
        importlib.metadata.PackageNotFoundError: one of `packages` is not installed.
    """
    # A container or taskset may give this process fewer cores than there are.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [processor(), f"{usable} of {os.cpu_count()} cores", platform.system()]
    parts += [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    parts.append(datetime.now(UTC).date().isoformat())
    command = shlex.join(["python", "-m", f"scripts.bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    return f"{', '.join(parts)}: `{command}`"


def processor() -> str:
    """The processor's name where the system tells it, always with its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name} ({platform.machine()})" if name not in ("", platform.machine()) else platform.machine()
