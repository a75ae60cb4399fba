"""Whom the dashboard's page serves, and what it costs: phones, keyboards, screen readers, and hours of events."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import browser as browser
from tests.support.browser import serious_findings
from tests.support.dashboard_documents import bridge_document, driven_lap
from tests.support.dashboard_feed import STATIC, TOKEN, DashboardFeed, drawn, holds, visit
from tests.support.dashboard_feed import feed as feed

HEAVIEST = 150_000
"""Bytes of the whole page with all that it loads, without the figures."""


@pytest.mark.slow
@pytest.mark.parametrize("bridges", [0, 10])
def test_a_phone_scrolls_in_one_direction_only(browser: Browser, feed: DashboardFeed, bridges: int) -> None:
    if bridges:
        feed.learning(bridges)
    with visit(browser, feed, width=390, device_scale_factor=3, has_touch=True) as page:
        if bridges:
            drawn(page, 11)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_the_theme_follows_the_system_until_one_is_chosen(browser: Browser, feed: DashboardFeed) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visit(browser, feed) as page:
        light = page.evaluate(ground)
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(ground)
        assert dark != light
        page.get_by_role("button", name="Theme: system").click()
        assert page.evaluate(ground) == light
        page.get_by_role("button", name="Theme: light").click()
        page.emulate_media(color_scheme="light")
        page.reload()
        assert page.evaluate(ground) == dark


@pytest.mark.slow
def test_everything_is_reached_by_keyboard(browser: Browser, feed: DashboardFeed) -> None:
    feed.learning(2)
    with visit(browser, feed) as page:
        expect(page.locator("#place")).to_be_visible()
        expect(page.locator("#car-choice button")).to_have_count(2)
        wanted = set(page.evaluate(_FOCUSABLE))
        reached: list[str] = []
        for _ in range(len(wanted) + 5):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(_FOCUSED)
            assert outline != "none", f"{name} shows no focus"
            reached.append(name)
        assert reached[0].startswith("Skip to the verdict")
        assert wanted <= set(reached), wanted - set(reached)
        page.locator("#place").focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        expect(page.locator("#place")).to_have_attribute("aria-valuetext", holds(" m"))
        best = driven_lap(0.94)
        seconds = best["seconds"][round(30 / 400 * len(best["seconds"]))]
        expect(page.locator("#readout tbody tr").first).to_contain_text(f"0:0{int(seconds)}.")
        expect(page.locator(".place-mark")).to_be_visible()


_FOCUSABLE = """() => [...document.querySelectorAll("a[href], button, input, [tabindex='0']")]
  .filter((found) => found.checkVisibility()).map((found) => found.innerText.slice(0, 40) + found.id + found.type)"""
_FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return ["body", "body"];
  return [at.innerText.slice(0, 40) + at.id + at.type, getComputedStyle(at).outlineStyle];
}"""


def test_only_a_new_verdict_is_said_aloud(browser: Browser, feed: DashboardFeed) -> None:
    feed.learning()
    with visit(browser, feed) as page:
        assert page.locator("[aria-live]").count() == 1
        said = page.locator("[aria-live]")
        expect(said).to_contain_text("Good: Learning.")
        first = said.text_content()
        feed.look["verdict"]["reason"] = "Other figures."
        feed.push("look")
        expect(page.locator("#verdict-reason")).to_have_text("Other figures.")
        assert said.text_content() == first
        feed.look["verdict"] |= {"word": "stalled", "level": "warn", "title": "Stalled"}
        feed.push("look")
        expect(said).to_contain_text("Warning: Stalled. Other figures.")


@pytest.mark.slow
def test_the_whole_page_is_light_and_asks_nobody_else(browser: Browser, feed: DashboardFeed) -> None:
    feed.learning()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{feed.url}/login")
        page.fill("#token", TOKEN)
        answers: dict[str, int] = {}
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        page.on("requestfinished", lambda request: answers.update({request.url: request.sizes()["responseBodySize"]}))
        page.click("button")
        drawn(page, 11)
        weight = sum(size for url, size in answers.items() if "/static/" in url or url == f"{feed.url}/")
        assert all(url.startswith(feed.url) for url in asked), asked
    files = [
        file for file in STATIC.rglob("*") if file.is_file() and file.name != "LICENSE" and "login" not in file.name
    ]
    print(f"the page weighs {weight} bytes in {len(files)} files")
    assert {file.relative_to(STATIC).as_posix() for file in files} - {url.split("/static/")[-1] for url in asked} == {
        "page.html"
    }
    assert sum(file.stat().st_size for file in files) == weight <= HEAVIEST


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, feed: DashboardFeed, scheme: Any) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        feed.message = "That token is wrong."
        page.goto(f"{feed.url}/login")
        assert not serious_findings(page)
        feed.message = ""
    with visit(browser, feed, color_scheme=scheme) as page:
        expect(page.locator("#verdict-title")).to_have_text("Waiting for a bridge")
        assert not serious_findings(page)
    feed.learning(3)
    feed.look["bridges"][2] = bridge_document(3, connected=False)
    for width, level in ((1440, "good"), (390, "bad"), (1440, "warn")):
        feed.look["verdict"]["level"] = level
        with visit(browser, feed, width=width, color_scheme=scheme, faults=-1) as page:
            drawn(page, 11)
            assert not serious_findings(page)
            if level == "warn":
                feed.cut()
                expect(page.locator("#notice")).to_be_visible()
                assert not serious_findings(page)
                feed.heal()


@pytest.mark.slow
def test_hours_of_events_do_not_make_it_grow(
    browser: Browser, feed: DashboardFeed, record_property: Callable[[str, object], None]
) -> None:
    """As many events as ten bridges make in three minutes, as fast as the page takes them; an hour of them is
    `make bench-dashboard`."""
    feed.learning(10)
    with visit(browser, feed) as page:
        drawn(page, 11)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def measured() -> dict[str, float]:
            session.send("HeapProfiler.collectGarbage")
            told = session.send("Performance.getMetrics")["metrics"]
            return {metric["name"]: metric["value"] for metric in told}

        _send(feed, page, 500, 0)
        before = measured()
        _send(feed, page, 1500, 500)
        after = measured()
    grown = (after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / 1e6
    record_property("heap_growth_mb", round(grown, 3))
    print(f"1,500 events: {after['Nodes'] - before['Nodes']:.0f} nodes and {grown:.2f} MB more")
    assert after["Nodes"] <= before["Nodes"] + 20
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5
    assert grown < 2.0


def _send(feed: DashboardFeed, page: Page, count: int, first: int) -> None:
    """Send so many live events, with a look among every five, and wait until the page has the last."""
    for n in range(first, first + count):
        cars = feed.cars(10, 0.002 * n)
        cars[0]["laps"] = n
        feed.live = {
            "at": time.time(),
            "cars": cars,
            "spots": [[float(k), float(n // 10)] for k in range(n // 10 % 500)],
        }
        feed.push("live")
        if n % 5 == 0:
            feed.look["progress"]["steps"] = 412_380 + n
            feed.look["bridges"] = [bridge_document(k, connected=(k + n) % 7 != 0) for k in range(1, 11 - n % 2)]
            feed.push("look")
        if n % 100 == 99:
            expect(page.locator("#car")).to_contain_text(f"Laps{n:,}")
    expect(page.locator("#car")).to_contain_text(f"Laps{first + count - 1:,}")
