"""The machine image that a box boots: Debian with systemd, cloud-init and a wheelhouse, made once and kept.

`build()` answers with the folder of a whole image, making it first where it is missing (half a minute to some minutes,
network needed). The folder is named by a hash of the recipe and the pinned dependencies, and appears by one rename, so
that a build that was cut short is never taken for an image. cloud-init is told by one patched function that this is
EC2: there is no DMI to read in a container. pip in the image finds its packages in /wheelhouse only, so that the
product's own `install.sh` installs with plain pip and knows nothing of boxes. torch comes in its CPU build.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "python3",
    "python3-venv",
    "curl",
    "ca-certificates",
    "iproute2",
    "procps",
    "cloud-init",
    "libfaketime",
    "tar",
    "xz-utils",
    "zstd",
)
# Where cloud-init reads the machine's DMI: the answers of a Nitro instance.
_DMI_FILE = "usr/lib/python3/dist-packages/cloudinit/dmi.py"
_DMI_PATCH = """

_EC2 = {
    "system-uuid": "ec2e1916-9099-7caf-fd21-012345abcdef",
    "system-serial-number": "ec2e1916-9099-7caf-fd21-012345abcdef",
    "chassis-asset-tag": "Amazon EC2",
    "system-manufacturer": "Amazon EC2",
}


def read_dmi_data(key):
    return _EC2.get(key)
"""
_CLOUD_CFG = """datasource_list: [ Ec2 ]
datasource: {Ec2: {strict_id: false, max_wait: 30, timeout: 5, apply_full_imds_network_config: false}}
network: {config: disabled}
locale: false
ssh_genkeytypes: []
"""
_PIP_CONF = "[global]\nno-index = true\nfind-links = /wheelhouse\ndisable-pip-version-check = true\n"
# What an Amazon image has running and a box has no use for; each would cost a second of every boot.
_MASKED = (
    "systemd-networkd-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "dpkg-db-backup.timer",
    "getty@.service",
    "console-getty.service",
)


class ImageError(Exception):
    """The image could not be made; the sentence says why and what to do."""


def cache_folder() -> Path:
    """Where images are kept: $AC_BOX_CACHE, else below the user's cache folder."""
    return Path(os.environ.get("AC_BOX_CACHE") or Path.home() / ".cache" / "ac-training" / "box")


def image_folder() -> Path:
    """Where the image of the present recipe and dependencies belongs; it need not exist yet."""
    digest = hashlib.sha256()
    for file in (Path(__file__), ROOT / "constraints.txt", ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return cache_folder() / f"image-{digest.hexdigest()[:16]}"


def build() -> Path:
    """The root folder of the image, made first if it is missing; one process at a time makes it.

    Raises ImageError with what the failing program said last.
    """
    folder = image_folder()
    if folder.exists():
        return folder
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    wheels = _wheelhouse()
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=cache_folder()))
    # Booted systems refuse a root folder that only root may enter.
    scratch.chmod(0o755)
    root = scratch / "root"
    try:
        options = ["--variant=minbase", "--mode=root", "--quiet", f"--include={','.join(PACKAGES)}"]
        options += ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*"]
        options += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
        _run(["mmdebstrap", *options, SUITE, str(root)], "make the Debian root folder")
        _configure(root)
        # Hard links: the wheels are the same on the same disk.
        shutil.copytree(wheels, root / "wheelhouse", copy_function=os.link)
        root.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wheelhouse() -> Path:
    """A folder with the wheels of the `cloud` extra as constraints.txt pins them."""
    constraints = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: list[str] = (
        project["dependencies"] + project["optional-dependencies"]["cloud"] + ["pip", "setuptools", "wheel"]
    )
    digest = hashlib.sha256("\n".join([constraints, *wanted]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"wheels-{digest}"
    if folder.exists():
        return folder
    lines = [f"{line}+cpu" if line.startswith("torch==") else line for line in constraints.splitlines()]
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=cache_folder()))
    try:
        (scratch / "constraints.txt").write_text("\n".join(lines))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(scratch / "wheels")]
        command += ["--only-binary=:all:", "--python-version=3.11", "-c", str(scratch / "constraints.txt")]
        wanted = [f"{line}+cpu" if line.startswith("torch==") else line for line in wanted]
        _run(
            [*command, *wanted],
            "download the wheels (torch's CPU build must be found: PIP_EXTRA_INDEX_URL="
            "https://download.pytorch.org/whl/cpu)",
        )
        (scratch / "wheels").rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _configure(root: Path) -> None:
    """Make a plain Debian believe that it is an Amazon image."""
    with (root / _DMI_FILE).open("a") as dmi:
        dmi.write(_DMI_PATCH)
    # Bytecode from before the patch would win over it if the clock of the image stood still.
    shutil.rmtree(root / _DMI_FILE.replace("dmi.py", "__pycache__"), ignore_errors=True)
    (root / "etc/cloud/cloud.cfg.d/90_dpkg.cfg").unlink(missing_ok=True)
    (root / "etc/cloud/cloud.cfg.d/99-box.cfg").write_text(_CLOUD_CFG)
    (root / "etc/cloud/ds-identify.cfg").write_text("policy: enabled\n")
    (root / "etc/pip.conf").write_text(_PIP_CONF)
    # An image has no identity of its own; and a journal that outlives the box is what the tests read.
    (root / "etc/machine-id").write_text("")
    (root / "etc/fstab").write_text("")
    # No names are looked up in this small world, and nobody there waits for a server that is not there.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    for unit in _MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"could not {what}: {(done.stderr or done.stdout).strip()[-1500:]}")


if __name__ == "__main__":
    print(build())
