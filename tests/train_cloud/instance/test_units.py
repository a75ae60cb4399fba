"""The systemd units and the shell code, held against systemd's own judges and shellcheck."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.scratch_instance import SOURCES
from tests.support.tools import need_tools

UNITS = SOURCES / "units"
SERVICES = sorted(file.name for file in UNITS.glob("*.service"))
MAX_EXPOSURE = 3.0


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A root in which everything that the units name exists, with the units installed."""
    need_tools("systemd-analyze")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, units)
    for program in ("opt/ac-training/env/bin/python", "usr/local/lib/ac-training/lifeline.sh"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    return tmp_path


def _here(system: Path) -> None:
    # verify looks for programs on this machine: those of an instance are put where they are here.
    for file in (system / "etc/systemd/system").glob("*.service"):
        text = re.sub(r"^(ExecStart=)(/opt|/usr/local)", rf"\1{system}\2", file.read_text(), flags=re.MULTILINE)
        file.write_text(text)


def test_systemd_takes_every_unit_without_a_word(system: Path) -> None:
    _here(system)
    folder = system / "etc/systemd/system"
    files = sorted(str(file) for kind in ("service", "path", "timer") for file in folder.glob(f"*.{kind}"))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    # Words about the units of this machine are not about ours.
    said = [line for line in done.stderr.splitlines() if "ac-" in line]
    assert said == []
    assert done.returncode == 0, done.stderr


def test_an_unknown_key_would_be_told(system: Path) -> None:
    _here(system)
    unit = system / "etc/systemd/system/ac-receiver.service"
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchdogSecs"))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert "WatchdogSecs" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("service", SERVICES)
def test_no_unit_says_otherwise_what_the_drop_in_for_all_overrules(service: str) -> None:
    several = {"Environment", "EnvironmentFile", "SystemCallFilter"}
    own, common = (
        set(re.findall(r"^(\w+)=", file.read_text(), re.MULTILINE))
        for file in (UNITS / service, UNITS / "ac-.service.d" / "common.conf")
    )
    assert own & common <= several


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_sandboxed(system: Path, service: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(system / "etc/systemd/system" / service)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert match is not None, done.stderr
    assert float(match[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"ac-end.service", "ac-drain.service", "ac-token.service"}))
def test_only_who_speaks_to_systemd_is_root(service: str) -> None:
    text = (UNITS / service).read_text()

    # The dashboard is nobody that owns anything: it cannot write what it shows.
    watches = service == "ac-dashboard.service"
    assert ("DynamicUser=yes\n" if watches else "User=ac-training\nGroup=ac-training\n") in text
    assert "CapabilityBoundingSet=\n" in text


def test_all_that_the_units_start_exists() -> None:
    """No unit names another one, or a program of ours, that is not there."""
    known = {file.name for file in UNITS.iterdir()}
    for file in UNITS.glob("*.*"):
        if file.is_dir():
            continue
        text = file.read_text()
        assert set(re.findall(r"ac-[a-z-]+\.(?:service|path|timer)", text)) <= known, file.name
        for module in re.findall(r"-m (train_cloud[a-z_.]+)", text):
            path = SOURCES.parents[1] / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), module


def test_stopping_in_order_fits_the_time_after_a_notice() -> None:
    seconds = [
        int(match[1])
        for unit in ("ac-training", "ac-receiver")
        if (match := re.search(r"^TimeoutStopSec=(\d+)$", (UNITS / f"{unit}.service").read_text(), re.MULTILINE))
    ]

    assert len(seconds) == 2
    assert sum(seconds) < 60


@pytest.mark.slow
def test_shellcheck_finds_nothing() -> None:
    need_tools("shellcheck")
    scripts = sorted(str(file) for file in SOURCES.glob("*.sh"))

    done = subprocess.run(
        ["shellcheck", "--external-sources", "--source-path", str(SOURCES.parents[1]), *scripts],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stdout) == (0, "")
