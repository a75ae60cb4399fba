"""Terraform's own checks and checkov over the configuration: its format, its validity, `terraform test`, no finding."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import ROOT, copy_project, initialise, terraform, terraform_environment
from tests.support.tools import missing, need_tools

pytestmark = [pytest.mark.terraform, pytest.mark.timeout(1000)]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an initialised copy of the configuration, as a user has it."""
    folder = tmp_path_factory.mktemp("checks") / "project"
    copy_project(folder)
    initialise(folder, terraform_environment())
    return folder


def test_the_configuration_is_formatted() -> None:
    need_tools("terraform")
    done = terraform(ROOT, terraform_environment(), "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


def test_the_configuration_is_valid_without_warnings(configuration: Path) -> None:
    done = terraform(configuration, terraform_environment(), "validate", "-json")
    assert '"error_count": 0' in done.stdout, done.stdout
    assert '"warning_count": 0' in done.stdout, done.stdout


def test_plans_are_what_each_concern_asks_for_and_wrong_values_are_refused(configuration: Path) -> None:
    done = terraform(configuration, terraform_environment(), "test")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    passed = re.findall(r'run "(\w+)"... pass', done.stdout)
    assert len(passed) >= 18, done.stdout


def checkov() -> str:
    """The program; the test is skipped (under CI=true: fails) where it is not installed."""
    places = (os.environ.get("CHECKOV"), shutil.which("checkov"), str(ROOT / "build" / "checkov" / "bin" / "checkov"))
    for place in places:
        if place and Path(place).exists():
            return place
    missing("needs checkov; `python scripts/checkov_setup.py` installs it")
    raise AssertionError


def test_checkov_finds_nothing_that_has_no_reason_beside_it() -> None:
    command = [checkov(), "--directory", str(ROOT / "terraform"), "--framework", "terraform"]
    done = subprocess.run(
        [*command, "--skip-download", "--quiet", "--compact"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (counts,) = re.findall(r"Passed checks: (\d+), Failed checks: (\d+), Skipped checks: \d+(.*)", done.stdout)
    assert int(counts[0]) > 80
    assert counts[1:] == ("0", ""), "a file could not be parsed: " + done.stdout


def test_a_skipped_check_says_why() -> None:
    skips = [
        line.strip()
        for path in sorted((ROOT / "terraform").glob("*.tf"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "checkov:skip" in line
    ]
    assert skips
    for skip in skips:
        assert re.fullmatch(r"#checkov:skip=CKV\d?_AWS_\d+:.{20,}", skip), skip
