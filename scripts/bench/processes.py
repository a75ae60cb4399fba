"""What processes have taken so far, from Linux' /proc."""

import os
from pathlib import Path

PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, and of its children that have ended, s; 0.0 for one that is gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Bytes of a process in memory, of what it shares with others its part; 0 for one that is gone."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def family(pid: int, name: str = "") -> list[int]:
    """The process and all that it has begotten and that live, of those whose command's name has `name` in it."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for folder in PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        names[int(folder.name)] = text.partition("(")[2].rpartition(")")[0]
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return [one for one in found if name in names.get(one, "")]
