"""The network of a small world: a cloud, a home, and a namespace for each instance, all apart from this machine's own.

    cloud   169.254.169.254 (metadata), 10.77.0.1 (AWS), router between the rest
    home    10.78.0.2: sends out, lets nothing in that it did not ask for, like a PC behind NAT
    ec2-N   10.77.N.2, by default reached from home under 203.0.113.N and, once it claims one, under its Elastic IP

Nothing is added to the machine's own namespace: `inside` runs a function in one of these, and a socket made there stays
there, so that a server in the test's process can answer in the cloud. Names carry the process id; `sweep` removes what
processes that are gone have left.
"""

import contextlib
import ctypes
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

CLOUD_ADDRESS = "10.77.0.1"
METADATA_ADDRESS = "169.254.169.254"
_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_FIRST, _LAST = 2, 250
_NAME = re.compile(r"acbox(\d+)-")
T = TypeVar("T")


class Network:
    """The namespaces exist while the context is open; none of its processes may outlive it."""

    def __init__(self) -> None:
        self._prefix = f"acbox{os.getpid()}-"
        self.cloud, self.home = self._prefix + "cloud", self._prefix + "home"
        self._instances: dict[int, str] = {}
        self._elastic: dict[str, int] = {}

    def __enter__(self) -> "Network":
        sweep()
        _ip("netns", "add", self.cloud)
        _ip("-n", self.cloud, "link", "set", "lo", "up")
        for address in (METADATA_ADDRESS, CLOUD_ADDRESS):
            _ip("-n", self.cloud, "address", "add", f"{address}/32", "dev", "lo")
        _in(self.cloud, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _ip("netns", "add", self.home)
        self._join(self.home, "home", "10.78.0.1", "10.78.0.2")
        for rule in (["-i", "lo", "-j", "ACCEPT"], ["-m", "conntrack", "--ctstate", "NEW,INVALID", "-j", "DROP"]):
            _in(self.home, "iptables", "-A", "INPUT", *rule)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in [*self._instances.values(), self.home, self.cloud]:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)
        self._instances.clear()

    def add_instance(self) -> "InstanceLink":
        """A namespace for one instance, with an address of its own."""
        number = next(n for n in range(_FIRST, _LAST) if n not in self._instances)
        name = self._instances[number] = f"{self._prefix}ec2-{number}"
        _ip("netns", "add", name)
        private = f"10.77.{number}.2"
        self._join(name, f"ec2-{number}", f"10.77.{number}.1", private)
        link = InstanceLink(number, name, private, f"203.0.113.{number}", f"02:00:0a:4d:{number:02x}:02")
        self.route(link.public, link)
        return link

    def remove_instance(self, link: "InstanceLink") -> None:
        """Take the instance's namespace away, and with it every route to it."""
        self._instances.pop(link.number, None)
        self._elastic = {address: number for address, number in self._elastic.items() if number != link.number}
        _ip("netns", "delete", link.namespace)

    def route(self, address: str, link: "InstanceLink") -> None:
        """From now on `address` is this instance's, and no other's."""
        before = self._elastic.get(address)
        if before == link.number:
            return
        if before in self._instances:
            _ip("-n", self._instances[before], "address", "delete", f"{address}/32", "dev", "lo")
        _ip("-n", link.namespace, "address", "replace", f"{address}/32", "dev", "lo")
        _ip("-n", self.cloud, "route", "replace", f"{address}/32", "via", link.private)
        self._elastic[address] = link.number

    def leftovers(self) -> list[str]:
        """Namespaces of this process that still exist."""
        return [path.name for path in _NAMESPACES.glob(self._prefix + "*")]

    def _join(self, name: str, label: str, router: str, address: str) -> None:
        port = "ens5"
        _ip("-n", self.cloud, "link", "add", label, "type", "veth", "peer", "name", port, "netns", name)
        _ip("-n", self.cloud, "address", "add", f"{router}/30", "dev", label)
        _ip("-n", self.cloud, "link", "set", label, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{address}/30", "dev", port)
        _ip("-n", name, "link", "set", port, "up")
        _ip("-n", name, "route", "add", "default", "via", router)


class InstanceLink:
    """One instance's place in the network."""

    def __init__(self, number: int, namespace: str, private: str, public: str, mac: str) -> None:
        self.number, self.namespace, self.private, self.public, self.mac = number, namespace, private, public, mac


def inside(namespace: str, function: Callable[[], T]) -> T:
    """What `function` returns when it runs in the network namespace of that name; its exceptions pass through."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            answers.append(function())
        except BaseException as error:
            errors.append(error)

    # A namespace belongs to a thread: this one ends, and the caller's never changes.
    thread = threading.Thread(target=run, name=f"inside {namespace}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def sweep() -> None:
    """Remove the namespaces of processes that no longer run."""
    for path in _NAMESPACES.glob("acbox*"):
        match = _NAME.match(path.name)
        if match and not Path("/proc", match[1]).exists():
            # Another test process may be as quick to sweep.
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", path.name)


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with (_NAMESPACES / namespace).open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


def _in(namespace: str, *command: str) -> None:
    _ip("netns", "exec", namespace, *command)
