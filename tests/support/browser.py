"""The system's Chromium through Playwright, for tests of pages; import the fixture `browser` from here.

`axe` looks for what keeps people from using a page. It is fetched from npm once, and kept among the temporary files.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_PATHS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-precise-memory-info"]
AXE = "4.14.1"
_AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module."""
    path = need_chromium()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield launched
        launched.close()


def need_chromium() -> str:
    """The system's Chromium; where there is none, the test is skipped, or fails where nothing may be."""
    path = next(filter(None, map(shutil.which, _PATHS)), None)
    if path is None:
        _lacking("no Chromium is installed (Debian: apt-get install chromium)")
    return path


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds on the page that is serious or critical: a rule and an element each."""
    page.evaluate(_axe())
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"
    )
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in grave for node in one["nodes"]]


def _axe() -> str:
    file = Path(tempfile.gettempdir()) / f"ac-training-axe-{AXE}-{os.getuid()}" / "axe.min.js"
    if not file.exists():
        _fetch(file)
    script = file.read_bytes()
    if hashlib.sha256(script).hexdigest() != _AXE_SHA256:
        raise AssertionError(f"{file} is not axe-core {AXE}: remove its folder")
    return script.decode()


def _fetch(file: Path) -> None:
    if shutil.which("npm") is None:
        _lacking("npm is not installed, which fetches axe-core")
    file.parent.mkdir(mode=0o700, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", f"axe-core@{AXE}", "--silent"], cwd=file.parent, capture_output=True, text=True, check=False
    )
    if packed.returncode:
        _lacking(f"axe-core cannot be fetched: {packed.stderr[-300:]}")
    with tarfile.open(file.parent / packed.stdout.split()[-1]) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        content = member.read()
    # Replaced as a whole: two test processes may fetch at once.
    whole = file.with_name(f"axe-{os.getpid()}")
    whole.write_bytes(content)
    whole.replace(file)


def _lacking(reason: str) -> NoReturn:
    """Skip, but never where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
