"""`make screenshot`: docs/images/dashboard.png, the real page of a real demo run.

Starts the demo, opens the one-time link to the dashboard that it prints, waits until a car moves on the map and a clean
lap is drawn, and takes the picture. Nothing of it is staged. The demo's folder is temporary and goes with it.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, Playwright, sync_playwright
from playwright.sync_api import Error as BrowserError

from runtime.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "dashboard.png"
MINUTES = 6.0
END_SECONDS = 60.0
LINK = re.compile(r"https?://\S+/link/[\w.-]*\w")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WORTH_A_PICTURE = """
async (seconds) => {
  const source = new EventSource("/stream");
  const until = Date.now() + seconds * 1000;
  let lap = false, moved = false, place = null;
  source.addEventListener("look", (event) => { lap = JSON.parse(event.data).laps.clean > 0; });
  source.addEventListener("live", (event) => {
    const car = JSON.parse(event.data).cars[0];
    if (!car) return;
    moved ||= place !== null && (place[0] !== car.x || place[1] !== car.y);
    place = [car.x, car.y];
  });
  try {
    while (Date.now() < until) {
      if (lap && moved && "best" in await (await fetch("/api/traces")).json()) {
        await new Promise((resolve) => source.addEventListener("look", resolve, {once: true}));
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        return "";
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  } finally {
    source.close();
  }
  return (lap ? "a clean lap" : "no clean lap") + ", " + (moved ? "a car that moves" : "no car that moves");
}
"""
"""Resolves with "" once a clean lap was driven and is drawn and a car has moved; with what was seen after `seconds`."""


class NoPicture(Exception):
    """There is nothing to show; the text is a sentence."""


@contextmanager
def demo(minutes: float, track: str | None) -> Iterator[str]:
    """A demo that learns for its whole time; the one-time link to its dashboard. Raises NoPicture."""
    command = [sys.executable, "-m", "scripts.demo", "--whole-time", "--minutes", str(minutes)]
    command += ["--track", track] if track else []
    with tempfile.TemporaryDirectory(prefix="ac-screenshot-") as folder:
        running = subprocess.Popen(
            [*command, "--output", str(Path(folder) / "demo")],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(running, lines), daemon=True).start()
        try:
            yield _link(lines, minutes)
        finally:
            running.terminate()
            try:
                running.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _read(running: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert running.stdout is not None
    for line in running.stdout:
        lines.put(line)
    lines.put(None)


def _link(lines: "queue.Queue[str | None]", minutes: float) -> str:
    """The first one-time link that the demo prints; its reader goes on, so that no full pipe stops the demo."""
    deadline, said = time.monotonic() + minutes * 60.0, ""
    while time.monotonic() < deadline:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            continue
        if line is None:
            raise NoPicture(f"The demo ended and showed no link to a dashboard. It said:\n{said[-2000:]}")
        if found := LINK.search(line):
            return found[0]
        said += line
    raise NoPicture(f"The demo showed no link to a dashboard within {minutes:g} minutes.")


def photograph(link: str, picture: Path, minutes: float) -> None:
    """Open the link, wait for something to see, and write the picture. Raises NoPicture, playwright's Error."""
    with sync_playwright() as playwright:
        window = launch(playwright)
        page = window.new_page(viewport={"width": 1440, "height": 900}, ignore_https_errors=True)
        page.goto(link)
        if lacking := page.evaluate(WORTH_A_PICTURE, minutes * 60.0):
            raise NoPicture(f"After {minutes:g} minutes the page still had {lacking}. Give it longer with --minutes.")
        picture.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture)
        window.close()


def launch(playwright: Playwright) -> Browser:
    """The system's Chromium; without one it is Playwright's own, if `playwright install chromium` was run."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    unconfined = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=path, args=["--disable-gpu", *unconfined])


def screenshot(
    output: Annotated[Path, typer.Option(help="The PNG to write.")] = PICTURE,
    minutes: Annotated[float, typer.Option(min=0.5, help="Longest time that the demo may take until then.")] = MINUTES,
    track: Annotated[str | None, typer.Option(help="seed:NUMBER, seed:NUMBER:METRES or a CSV.")] = None,
) -> None:
    """Take the picture of the dashboard that README.md shows."""
    try:
        with demo(minutes, track) as link:
            photograph(link, output, minutes)
    except NoPicture as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(int(ExitCode.FAILED)) from error
    except BrowserError as error:
        typer.echo(f"The browser could not do it: {error.message}\nInstall Chromium and try again.", err=True)
        raise typer.Exit(int(ExitCode.FAILED)) from error
    typer.echo(f"wrote {output}")


if __name__ == "__main__":
    typer.run(screenshot)
