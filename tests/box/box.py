"""One instance in a box: a systemd-nspawn container on an overlay of the image, in its own network namespace.

A box boots when it is made. `stop` is an orderly shutdown, `lose_power` kills its PID 1; `ended` tells when it is gone,
by itself or not. Its console is kept, and its journal can be read during its life and after it. `close` leaves no
process, no mount and no cgroup; `discard` deletes its disk, the journal too.
"""

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

_CGROUPS = Path("/sys/fs/cgroup")
_ENTER_SECONDS = 30.0


class Box:
    """A machine of its own.

    Args:
        name: of the machine.
        folder: for the overlay and its console; new, or that of a closed box, whose disk it boots again.
        image: root folder of the image, which is only read; several, joined by colons, lie one over the other.
        namespace: the network namespace that it lives in.
        files: contents of files to lay over the image, by path inside it.
    """

    def __init__(self, name: str, folder: Path, image: Path, namespace: str, files: Mapping[str, str]) -> None:
        self.name, self.folder, self.root = name, folder, folder / "root"
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "upper").chmod(0o755)
        for path, content in files.items():
            target = folder / "upper" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        layers = f"lowerdir={image},upperdir={folder}/upper,workdir={folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)], check=True)
        self._cgroups = _make_cgroups(name)
        self.began = time.monotonic()
        self.ended_at: float | None = None
        self._leader: int | None = None
        self._ready = threading.Event()
        self._console = bytearray()
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (folder / "notify").unlink(missing_ok=True)
        self._notices.bind(str(folder / "notify"))
        ours, theirs = pty.openpty()
        self._process = self._start(namespace, theirs)
        os.close(theirs)
        self._threads = [
            threading.Thread(target=self._read_console, args=(ours,), daemon=True),
            threading.Thread(target=self._read_notices, daemon=True),
            threading.Thread(target=self._wait, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def ended(self) -> bool:
        """Whether the machine is off."""
        return self.ended_at is not None

    @property
    def age(self) -> float:
        """Seconds from the start to now, or to the end."""
        return (self.ended_at or time.monotonic()) - self.began

    @property
    def console(self) -> str:
        """Everything that the machine wrote to its console."""
        return self._console.decode(errors="replace")

    def wait_ready(self, seconds: float = 60.0) -> float:
        """Wait until systemd in the box says that the boot is done; returns the machine's age then."""
        wait_until(lambda: self._ready.is_set() or self.ended, f"{self.name} boots", seconds)
        assert not self.ended, f"{self.name} ended during its boot: {self.console[-2000:]}"
        return self.age

    def run(self, *command: str, seconds: float = _ENTER_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a short command in the machine, as root; subprocess.TimeoutExpired when it does not end in time."""
        assert self._leader is not None, f"{self.name} has not begun to boot"
        enter = ["nsenter", f"--target={self._leader}", "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        # A call that is under way at the end of the machine would hang: hence the time limit.
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=seconds, env=plain, check=False
        )

    def stop(self) -> None:
        """Ask for an orderly shutdown, as EC2 does when it terminates an instance."""
        self._signal(self._process.pid, signal.SIGTERM)

    def lose_power(self) -> None:
        """End everything in it at once."""
        wait_until(lambda: self._leader is not None or self.ended, f"{self.name} has a PID 1")
        if self._leader is not None:
            self._signal(self._leader, signal.SIGKILL)

    def wait_ended(self, seconds: float) -> float:
        """Wait until the machine is off; returns its age then."""
        wait_until(lambda: self.ended, f"{self.name} ends", seconds)
        return self.age

    def journal(self, unit: str | None = None) -> list[dict[str, Any]]:
        """Its journal's entries so far, oldest first; those of one unit if it is named."""
        folder = self.folder / "upper/var/log/journal"
        command = ["journalctl", "-D", str(folder), "-o", "json", "--all", "--no-pager"]
        command += ["-u", unit] if unit is not None else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def log(self, unit: str | None = None) -> str:
        """The messages of `journal`, one a line."""
        return "\n".join(_message(entry) for entry in self.journal(unit))

    def read(self, path: str) -> str | None:
        """A file of the machine, alive or not; None if it is not there. /run and /tmp end with the machine."""
        file = self.root / path.lstrip("/")
        if not file.exists():
            file = self.folder / "upper" / path.lstrip("/")
        return file.read_text(errors="replace") if file.exists() else None

    def close(self) -> None:
        """Leave nothing behind but the overlay's upper folder; a machine that still runs loses its power."""
        if not self.ended:
            with contextlib.suppress(AssertionError):
                self.lose_power()
            with contextlib.suppress(AssertionError):
                self.wait_ended(10.0)
        if not self.ended:
            self._process.kill()
            self.wait_ended(10.0)
        self._notices.close()
        subprocess.run(["umount", str(self.root)], check=False, capture_output=True)
        for cgroup in self._cgroups:
            _remove_cgroup(cgroup)

    def discard(self) -> None:
        """Delete the disk; only after `close`."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """What a closed box should not have left, and did."""
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.root) in line]
        return mounts + [str(cgroup) for cgroup in self._cgroups if cgroup.exists()]

    def _start(self, namespace: str, terminal: int) -> subprocess.Popen[bytes]:
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}"]
        command += ["--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        command += ["--notify-ready=yes", "--console=interactive", f"--network-namespace-path=/run/netns/{namespace}"]
        # The shell joins the cgroups and becomes nspawn: code between fork and exec is unsafe in a threaded process.
        joining = " && ".join(f"echo $$ > {cgroup}/cgroup.procs" for cgroup in self._cgroups)
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "NOTIFY_SOCKET": str(self.folder / "notify")}
        return subprocess.Popen(
            ["sh", "-c", f'{joining or "true"} && exec "$@"', "sh", *command, "--boot"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
        )

    def _read_console(self, terminal: int) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(terminal, 65536):
                self._console += piece
        os.close(terminal)

    def _read_notices(self) -> None:
        # Read to the end, long after READY=1: a full queue would block PID 1 in the box.
        with contextlib.suppress(OSError):
            while True:
                for line in self._notices.recv(65536).decode(errors="replace").splitlines():
                    if line.startswith("X_NSPAWN_LEADER_PID="):
                        self._leader = int(line.partition("=")[2])
                    elif line == "READY=1":
                        self._ready.set()

    def _wait(self) -> None:
        self._process.wait()
        self._leader = None
        self.ended_at = time.monotonic()

    def _signal(self, process: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _message(entry: Mapping[str, Any]) -> str:
    message = entry.get("MESSAGE", "")
    # journald gives bytes that are no plain text as a list of numbers.
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    return f"{entry.get('SYSLOG_IDENTIFIER', entry.get('_COMM', '?'))}: {text}"


def _make_cgroups(name: str) -> list[Path]:
    """A cgroup for the box where systemd in it needs one: in the unified hierarchy, or in both halves of a hybrid."""
    unified = (_CGROUPS / "cgroup.controllers").exists()
    homes = [_CGROUPS] if unified else [_CGROUPS / part for part in ("systemd", "unified")]
    found = [home / f"acbox-{name}" for home in homes if home.is_dir()]
    for cgroup in found:
        cgroup.mkdir(exist_ok=True)
    return found


def _remove_cgroup(cgroup: Path) -> None:
    def remove() -> bool:
        for folder in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        return not cgroup.exists()

    with contextlib.suppress(AssertionError):
        wait_until(remove, f"{cgroup} is empty", 5.0)
