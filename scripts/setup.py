"""Makes `.venv` in the project's folder hold what pyproject.toml asks for, in the versions that constraints.txt pins;
`make setup` runs it on any system.

Promises to do nothing when nothing has changed (a stamp with a hash says so), to leave no half-made set-up
that passes for a whole one, and to fail with a sentence. What else was installed into `.venv` stays there. Needs
only the standard library, and loads on Pythons too old for the rest, so that they get the sentence too. It does
not touch anything outside `.venv`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "setup-stamp.json"
OLDEST = (3, 11)
EVERYTHING = ["bridge", "cloud", "dev", "operator"]


def main(arguments: list[str]) -> int:
    """Install the named extras (all when none is named) beside those that are installed already."""
    unknown = sorted(set(arguments) - set(EVERYTHING))
    if unknown:
        fail(f"There is no extra called {', '.join(unknown)}; there are: {', '.join(EVERYTHING)}.")
    if sys.version_info < OLDEST:
        return run_with_newer_python(arguments)
    installed = read_stamp()
    extras = sorted(set(arguments or EVERYTHING) | set(installed.get("extras", [])))
    if installed.get("fingerprint") == wanted_fingerprint() and installed.get("extras") == extras:
        return 0
    refuse_what_has_no_torch(extras)
    make_environment()
    STAMP.unlink(missing_ok=True)
    install(extras)
    # Last and in one step, so that an interrupted set-up runs again.
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(json.dumps({"fingerprint": wanted_fingerprint(), "extras": extras}), encoding="utf-8")
    fresh.replace(STAMP)
    say("ready")
    return 0


def run_with_newer_python(arguments: list[str]) -> int:
    """Start again with a newer Python from the PATH: `python3` is often not the newest one installed."""
    for minor in range(20, OLDEST[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer is not None:
            return subprocess.call([newer, str(Path(__file__).resolve()), *arguments])
    return fail(
        f"This is Python {platform.python_version()}, and the project needs Python {OLDEST[0]}.{OLDEST[1]} "
        "or newer. Install one from python.org or your package manager, then run `make setup` again (or "
        "`make setup PYTHON=/path/to/python`)."
    )


def wanted_fingerprint() -> str:
    """What an installed environment depends on: two files, the folder (paths are baked in) and the Python."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    version = venv_version() or f"{sys.version_info[0]}.{sys.version_info[1]}"
    digest.update(f"{ROOT} {version}".encode())
    return digest.hexdigest()


def venv_python() -> Path:
    """The environment's Python, whether or not it exists yet."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_version() -> str | None:
    """`3.12` of an environment whose Python runs; None without one."""
    if not venv_python().exists():
        return None
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(venv_python()), "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def make_environment() -> None:
    """A virtual environment with pip; one that does not run, or is too old, is made anew."""
    version = venv_version()
    if version is not None and tuple(int(part) for part in version.split(".")) >= OLDEST:
        return
    say("making .venv with Python " + platform.python_version())
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
    if done.returncode != 0:
        fail(
            f"Python could not make a virtual environment in {VENV}; its own words are above. On Debian and "
            "Ubuntu the package python3-venv is missing; otherwise see whether the disk is full or the "
            "folder read-only."
        )


def refuse_what_has_no_torch(extras: list[str]) -> None:
    """Fail before anything is made, where PyTorch, which the cloud's side needs, does not exist."""
    if "cloud" in extras and sys.platform == "darwin" and platform.machine() == "x86_64":
        fail(
            "PyTorch has no packages for Macs with an Intel processor, nor for an Intel Python on an Apple one (get "
            "one for Apple silicon from python.org there). The bridge alone runs here: python3 scripts/setup.py bridge."
        )


def install(extras: list[str]) -> None:
    """pip, with every version pinned; its output is the progress."""
    say("installing {} as pinned in constraints.txt; the first time takes some minutes".format(", ".join(extras)))
    if "cloud" in extras and sys.platform == "linux" and not Path("/proc/driver/nvidia").exists():
        say("no NVIDIA driver here: docs/demo.md says how to leave out the CUDA packages (3.5 GB)")
    provide_pip()
    command = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["-c", "constraints.txt", "-e", f".[{','.join(extras)}]"]
    if subprocess.run(command, cwd=str(ROOT), check=False).returncode != 0:
        fail(
            "pip could not install the packages; its own words are above. Most often the network was away or "
            "the disk is full (10 GB free are enough). Run the same command again: what is downloaded is kept."
        )


def provide_pip() -> None:
    """An environment that uv made has none."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    if subprocess.run([str(venv_python()), "-c", code], check=False).returncode == 0:
        return
    say("adding pip to .venv, which was made without it")
    if subprocess.run([str(venv_python()), "-m", "ensurepip"], check=False).returncode != 0:
        fail(
            "pip is not in .venv and cannot be added; Python's own words are above. Remove the folder .venv and run "
            "the same command again: it is made anew then."
        )


def read_stamp() -> dict[str, Any]:
    """What the last whole set-up wrote; empty when there was none."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def say(text: str) -> None:
    print("setup: " + text, flush=True)


def fail(text: str) -> NoReturn:
    sys.exit("setup: " + text)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
