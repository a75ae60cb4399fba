"""A server of one's own, where no cloud is: install the services, train, lose the power, boot, and nothing is lost.

The machine is a box with a network of its own that leads nowhere: no metadata service, no AWS, no package index. Its
project lies in /opt/ac-training with the packages of the environment that the tests run in. The simulated car is
driven by a real bridge on the same machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.serve.installed import UNITS
from tests.box.box import Box
from tests.support.site import batches_in_bucket
from tests.support.small_run import SMALL_RUN
from tests.support.tools import missing
from tests.support.waiting import wait_until
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig
from train_cloud.run_folder.files import VAR
from train_cloud.run_folder.keys import run_prefix
from train_cloud.store import Store
from train_cloud.trainer.saving.manifest import find_newest

pytestmark = [pytest.mark.box, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CODE = ("runtime", "racing", "wire", "experience", "bridge", "train_cloud", "scripts", "pyproject.toml")
OPT = "opt/ac-training"
PYTHON = f"/{OPT}/.venv/bin/python"
HOME = "/home/racer/served"


def bucket(folder: str) -> dict[str, object]:
    """Where a run keeps its data that is in this folder."""
    return {"bucket": {"folder": f"{folder}/bucket"}}


FILES = {
    "/etc/cloud/cloud-init.disabled": "",
    "/etc/garage.json": json.dumps(SMALL_RUN | bucket(VAR)),
    "/etc/racer.json": json.dumps(SMALL_RUN | bucket(HOME)),
}
ADDRESS = "10.99.0.2"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A layer for boxes: the project, with these tests' packages for Debian's own Python, linked and not copied."""
    if sys.version_info[:2] != (3, 11):
        missing("the box's Python is 3.11, and these tests run in another")
    top = tmp_path_factory.mktemp("project")
    top.chmod(0o755)
    for name in CODE:
        source, target = ROOT / name, top / OPT / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    environment = top / OPT / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    packages = environment / "lib" / "python3.11"
    packages.mkdir(parents=True)
    subprocess.run(["cp", "-al", f"{sys.prefix}/lib/python3.11/site-packages", str(packages)], check=True)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def network() -> Iterator[str]:
    """A namespace with an address and a default route, behind which nobody is."""
    name = f"acbox{os.getpid()}-lan"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        for arguments in (
            ("link", "set", "lo", "up"),
            ("link", "add", "lan", "type", "veth", "peer", "name", "nobody"),
            ("address", "add", f"{ADDRESS}/24", "dev", "lan"),
            ("link", "set", "lan", "up"),
            ("link", "set", "nobody", "up"),
            ("route", "add", "default", "via", "10.99.0.1"),
        ):
            ip("-n", name, *arguments)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def booted(folder: Path, layers: Path, network: str) -> Iterator[Box]:
    """The machine, until its power is lost at the end of the block; its disk stays."""
    box = Box("acbox-own", folder, layers, network, FILES)
    try:
        box.wait_ready(120.0)
        yield box
    except BaseException:
        print(box.log()[-20_000:])
        raise
    finally:
        box.close()


def ours(box: Box, command: str, seconds: float = 120.0, before: str = f"{PYTHON} -m ") -> str:
    """What a command of the project says on a terminal of the machine; it must succeed."""
    line = f"cd /{OPT} && {before}{command}"
    done = box.run("script", "--quiet", "--return", "--command", line, "/dev/null", seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace("\r", "")


def drive(box: Box, uri: str) -> None:
    """Start a bridge with simulated cars, whose spool is on the machine's disk."""
    command = [PYTHON, "-m", "bridge", "drive", "--car", "simulated", "--track", "seed:7:1200", "--cars", "2"]
    unit = ["systemd-run", "--quiet", "--unit=garage-bridge", f"--working-directory=/{OPT}"]
    done = box.run(*unit, f"--setenv=AC_BRIDGE_URI={uri}", *command, "--spool", "/var/lib/spool")
    assert done.returncode == 0, done.stderr


class Kept:
    """What the machine's disk has of the run, seen from outside."""

    def __init__(self, disk: Path) -> None:
        self.folder = disk / VAR.lstrip("/")

    @property
    def objects(self) -> ObjectStore:
        return open_store(BucketConfig(folder=str(self.folder / "bucket")), run_prefix("garage"))

    def steps(self) -> int:
        """Of the newest checkpoint; 0 without one."""
        checkpoint = find_newest(self.objects).checkpoint if (self.folder / "bucket").exists() else None
        return checkpoint.manifest.steps if checkpoint else 0

    def stored(self, copy: Path) -> dict[tuple[str, int], bytes]:
        """Every batch in the store, which is copied first: it is looked at while nobody works with it."""
        copy.mkdir()
        for file in self.folder.glob("store.db*"):
            shutil.copy(file, copy)
        store = Store(copy / "store.db")
        try:
            return {(one.stream, one.number): one.blob for one in store.read_batches(0, 10**6)}
        finally:
            store.close()


def test_a_run_that_is_installed_outlives_the_power(
    machine_image: Path, project: Path, network: str, tmp_path: Path
) -> None:
    layers, disk = Path(f"{project}:{machine_image}"), tmp_path / "disk"
    after = Kept(disk / "upper")
    with booted(disk, layers, network) as box:
        now = Kept(box.root)
        said = ours(box, "scripts.install_server --run /etc/garage.json", 400.0)
        uri = said.strip().splitlines()[-1]
        assert re.fullmatch(rf"wss://bridge:\w+@{re.escape(ADDRESS)}:8765/pin-[0-9a-f]{{64}}", uri), said
        # Nobody drives from here in such a run: the driver's unit says so, and has ended.
        serving = [unit for unit in UNITS if unit != "ac-driver.service"]
        assert box.run("systemctl", "is-active", *serving).stdout.split() == ["active"] * len(serving), box.log()
        assert box.run("systemctl", "show", "--value", "--property=Result", "ac-driver").stdout.strip() == "success"
        assert f"Watch it learn: https://{ADDRESS}:8766/link/" in said
        drive(box, uri)
        wait_until(lambda: now.steps() > 0, "the first checkpoint is saved", 120.0, every=0.5)
        shown = ours(box, "scripts.cloud status")
        assert "training" in shown, shown
        box.lose_power()
        box.wait_ended(30.0)

    before, steps = after.stored(tmp_path / "before"), after.steps()
    assert before
    assert steps > 0
    with booted(disk, layers, network) as box:
        now = Kept(box.root)
        wait_until(
            lambda: box.log("ac-receiver").count("event=listening") == 2, "the receiver is back", 60.0, every=0.5
        )
        assert ours(box, "scripts.cloud pair").strip().splitlines()[-1] == uri, "the PC needs no other string"
        drive(box, uri)
        wait_until(lambda: now.steps() > steps, "the run goes on", 120.0, every=0.5)
        stopped = ours(box, "scripts.cloud stop")
        assert "everything is saved" in stopped
        box.run("systemctl", "stop", "garage-bridge")
        removed = ours(box, "scripts.install_server --remove")
        assert f"The run is still in {VAR}" in removed
        assert not box.run("sh", "-c", "ls /etc/systemd/system/ac-*").stdout
        assert not re.findall(r"169\.254|metadata|amazonaws", box.log()), "nobody looked for a cloud"

    stored = after.stored(tmp_path / "after")
    assert before.items() <= stored.items(), "what was stored is stored still, to the bit"
    saved = batches_in_bucket(after.objects)
    assert stored.items() <= saved.items(), "and all of it is in the run's data"
    (stream,) = {stream for stream, _ in saved}
    numbers = sorted(number for _, number in saved)
    assert numbers == list(range(1, len(numbers) + 1)), f"the batches of {stream} are each there once"


def test_a_user_installs_the_same_without_root(
    machine_image: Path, project: Path, network: str, tmp_path: Path
) -> None:
    with booted(tmp_path / "disk", Path(f"{project}:{machine_image}"), network) as box:
        box.run("useradd", "--create-home", "racer")
        # A log-in would start this manager; the box has no package for log-ins.
        manager = ["systemd-run", "--quiet", "--unit=manager", "--uid=racer", "--property=RuntimeDirectory=racer"]
        manager += ["--property=Delegate=yes", "--setenv=XDG_RUNTIME_DIR=/run/racer", "/lib/systemd/systemd", "--user"]
        assert box.run(*manager).returncode == 0
        answers = "/run/racer/systemd/private"
        wait_until(
            lambda: box.run("test", "-e", answers).returncode == 0, "the user's manager answers", 30.0, every=0.2
        )
        as_racer = f"runuser -u racer -- env XDG_RUNTIME_DIR=/run/racer HOME=/home/racer {PYTHON} -m "
        said = ours(box, f"scripts.install_server --user --folder {HOME} --run /etc/racer.json", 400.0, as_racer)
        assert re.fullmatch(r"wss://\S+", said.strip().splitlines()[-1]), said
        assert "loginctl enable-linger racer" in said
        owner = box.run("stat", "-c", "%U %a", f"{HOME}/token").stdout.split()
        assert owner == ["racer", "600"]
        shown = ours(box, f"scripts.cloud status --folder {HOME}", before=as_racer)
        assert "bridges" in shown
        assert "everything is saved" in ours(box, f"scripts.cloud stop --folder {HOME}", before=as_racer)
        assert "is still in" in ours(box, f"scripts.install_server --user --remove --folder {HOME}", before=as_racer)
        assert not box.run("sh", "-c", "ls /home/racer/.config/systemd/user/ac-*").stdout
