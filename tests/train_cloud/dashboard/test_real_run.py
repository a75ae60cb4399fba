"""The page about a real run, in a real browser: from the sign-in to a silent link and a trainer that is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from racing.track import parse_track
from scripts.demo.__main__ import Scene, start_processes
from scripts.demo.settings import TRACK
from scripts.processes.crew import Crew
from tests.support.browser import browser as browser
from tests.support.browser import serious_findings
from tests.support.waiting import PATIENCE, wait_until
from train_cloud.dashboard_link import LINK_PATH, link_code
from train_cloud.run_folder.files import DASHBOARD_TOKEN, DASHBOARD_URL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PICTURES = Path(__file__).parents[3] / "build" / "dashboard"
"""What the page looked like, to be looked at by a person."""


@dataclass
class Site:
    """A run as the demo starts it, and where its page is."""

    crew: Crew
    folder: Path
    pids: dict[str, int]

    @property
    def url(self) -> str:
        return (self.folder / DASHBOARD_URL).read_text(encoding="utf-8").rstrip("/")

    @property
    def token(self) -> str:
        return (self.folder / DASHBOARD_TOKEN).read_text(encoding="utf-8").strip()

    def send(self, name: str, number: signal.Signals) -> float:
        """Send a signal to a process and all it has started; the moment (monotonic, s)."""
        os.killpg(self.pids[name], number)
        return time.monotonic()


class NotedCrew(Crew):
    """A crew of which it is known who has which process id."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self.pids: dict[str, int] = {}

    def start(self, name: str, module: str, *arguments: str, environment: object = None) -> int:
        self.pids[name] = super().start(name, module, *arguments, environment=environment)  # type: ignore[arg-type]  # handed on
        return self.pids[name]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("run")
    began = time.monotonic()
    scene = Scene(folder, TRACK, parse_track(TRACK), 4, 3600.0, True, began, threading.Event())
    (folder / "instance").mkdir()
    with pytest.MonkeyPatch.context() as patch, NotedCrew(folder / "logs") as crew:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "demo")
        start_processes(crew, scene)
        yield Site(crew, folder / "instance", crew.pids)


@pytest.fixture(scope="module")
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A tab that came in by a link, and that may say nothing to its console."""
    said: list[str] = []
    with browser.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 900}) as context:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE * 60_000)
        tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(site.url + LINK_PATH + link_code(site.token))
        yield tab
        assert said == []


def keep(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def place(page: Page) -> tuple[float, float]:
    box = page.locator(".car > i").first.bounding_box()
    assert box is not None
    return box["x"], box["y"]


def verdict_after(page: Page, titles: str, since: float) -> float:
    """How long it took from `since` until the verdict is one of `titles` (a regular expression)."""
    script = "titles => new RegExp(titles, 'i').test(document.getElementById('verdict-title').textContent)"
    page.wait_for_function(script, arg=titles)
    return time.monotonic() - since


def test_a_wrong_token_lets_nobody_in_and_the_right_one_does(browser: Browser, site: Site) -> None:
    with browser.new_context(ignore_https_errors=True) as context:
        tab = context.new_page()
        tab.goto(site.url)
        tab.get_by_label("Dashboard token").fill("not the token at all")
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.get_by_role("alert")).to_contain_text("The token is wrong")
        keep(tab, "wrong-token")
        tab.get_by_label("Dashboard token").fill(site.token)
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.locator("#verdict")).to_be_visible()


def test_it_shows_the_run_and_moves_with_the_car(page: Page) -> None:
    page.wait_for_selector(".car > i")
    first = place(page)
    wait_until(lambda: place(page) != first, "the car's dot moves", 60)
    expect(page.locator("#bridges tbody tr")).to_have_count(1)
    expect(page.locator(".tile[data-kind=reference] .time")).to_contain_text("0:", timeout=PATIENCE * 120_000)
    verdict_after(page, "learning", time.monotonic())
    steps = page.locator("#progress").inner_text()
    wait_until(lambda: page.locator("#progress").inner_text() != steps, "the figures go on", 60)
    assert serious_findings(page) == []
    keep(page, "learning")


def test_a_reload_keeps_what_was_chosen_dark_and_narrow_too(page: Page) -> None:
    theme = page.locator("#theme")
    for _ in range(2):
        theme.click()
    expect(theme).to_have_text("Theme: dark")
    page.reload()
    expect(theme).to_have_text("Theme: dark")
    page.wait_for_selector(".car > i")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious_findings(page) == []
    keep(page, "narrow")
    page.set_viewport_size({"width": 1440, "height": 900})


def test_a_silent_bridge_and_a_killed_trainer_are_told_within_seconds(page: Page, site: Site) -> None:
    paused = verdict_after(page, "paused|no bridge|link|nothing is driven", site.send("bridge", signal.SIGSTOP))
    keep(page, "silent-bridge")
    again = site.send("bridge", signal.SIGCONT)
    verdict_after(page, "learning|warming", again)
    down = verdict_after(page, "trainer", site.send("trainer", signal.SIGKILL))
    keep(page, "killed-trainer")
    # The promise is 5 s; a busy machine may be slower, and never much.
    assert paused < PATIENCE * 10.0
    assert down < PATIENCE * 10.0
    print(f"told after: silent bridge {paused:.1f} s, killed trainer {down:.1f} s")
