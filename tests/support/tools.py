"""Programs that a tier of the tests needs and a machine may lack.

On a user's machine their absence skips the test and says what to install; where CI is "true" it fails, because a tier
that silently did not run proves nothing.
"""

import os
import shutil
import subprocess
import sys

import pytest

PACKAGES = {
    "terraform": "Terraform 1.11 or newer",
    "shellcheck": "the package shellcheck",
    "cloud-init": "the package cloud-init",
    "systemd-nspawn": "the package systemd-container",
    "systemd-analyze": "a system with systemd",
    "mmdebstrap": "the package mmdebstrap",
    "ip": "the package iproute2",
    "pebble": "the package pebble",
    "curl": "the package curl",
    "node": "Node.js 20.10 or newer (the package nodejs)",
}


def missing(reason: str) -> None:
    """Skip the running test because of `reason`, or fail it under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must not skip this: {reason}", pytrace=False)
    pytest.skip(reason)


def need_page_files() -> None:
    """Skip where the game's pages are no files: Windows' are named mappings, which the tests of tests/wine use."""
    if sys.platform == "win32":
        pytest.skip("the game's pages are files on Linux alone")


def need_tools(*names: str) -> None:
    """Skip (under CI=true: fail) unless every one of these programs is on the PATH."""
    lacking = [name for name in names if shutil.which(name) is None]
    if lacking:
        missing("needs " + ", ".join(PACKAGES.get(name, name) for name in lacking))


def need_root() -> None:
    """Skip (under CI=true: fail) unless the tests run as root with the right to make network namespaces."""
    if os.geteuid() != 0:
        missing("needs root, for namespaces and mounts")
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        missing("needs the right to make namespaces (a privileged container, or a machine of its own)")
