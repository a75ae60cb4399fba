"""`python -m scripts.bench.dashboard`: whether page and process grow in an hour of ten bridges, and what they take.

A real receiver, ten bridges of the load process at 60 steps/s that tell where their cars are, a trainer that tells and
does not learn, the real dashboard over TLS and Chromium on its page. Each eighth of the time is a row; the curves of
memory and processor are a picture. The named alternative is the same browser on an empty page, before.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import msgspec
from playwright.sync_api import Page, sync_playwright

from experience.environment import racing
from scripts.bench.dashboard_run import QuietTrainer
from scripts.bench.load import Load
from scripts.bench.measuring import head, options, row
from scripts.bench.processes import cpu_seconds, family, memory
from scripts.bench.setting import setting
from scripts.processes.crew import Crew
from scripts.screenshot import launch
from tests.support.reported import TRACK_SPEC
from tests.support.waiting import wait_until
from train_cloud.dashboard_link import LINK_PATH, link_code
from train_cloud.environment import task_config
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.run_folder.files import DASHBOARD_TOKEN, DASHBOARD_URL, PAIRING, RUN_CONFIG, STORE, TOKEN_VARIABLE
from wire.pairing import new_token

BRIDGES = 10
ROWS = 8
SAMPLE_SECONDS = 20.0
"""Between two samples; each has the page collect its garbage, which takes some time itself."""
EMPTY_SECONDS = 20.0
START_SECONDS = 60.0
TOTAL = 100_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: shares of a core since the sample before, memory in bytes, and what the page says of itself."""

    at: float
    dashboard_cpu: float
    dashboard_memory: int
    browser_cpu: float
    browser_memory: int
    heap: float
    nodes: float


class Sampler:
    """Looks at the dashboard's process, the browser's processes and its page."""

    def __init__(self, dashboard: int, page: Page) -> None:
        self._dashboard, self._page = dashboard, page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")
        self._began = self._then = time.monotonic()
        self._before = self._cpu()

    def sample(self) -> Sample:
        """A sample of now."""
        self._session.send("HeapProfiler.collectGarbage")
        told = self._session.send("Performance.getMetrics")["metrics"]
        page = {metric["name"]: float(metric["value"]) for metric in told}
        now, cpu = time.monotonic(), self._cpu()
        shares = [(new - old) / (now - self._then) for new, old in zip(cpu, self._before, strict=True)]
        self._then, self._before = now, cpu
        memories = [sum(map(memory, pids)) for pids in self._pids()]
        at = now - self._began
        return Sample(at, shares[0], memories[0], shares[1], memories[1], page["JSHeapUsedSize"], page["Nodes"])

    def _pids(self) -> tuple[list[int], list[int]]:
        return family(self._dashboard), family(os.getpid(), "chrom")

    def _cpu(self) -> list[float]:
        return [sum(map(cpu_seconds, pids)) for pids in self._pids()]


def main() -> None:
    """Measure and print."""
    chosen = options(
        __doc__,
        minutes=(60.0, "of load"),
        bridges=(BRIDGES, "how many drive"),
        every=(SAMPLE_SECONDS, "seconds between samples"),
        picture=("dashboard-load.png", "where the curves are drawn"),
    )
    print(setting("starlette", "uvicorn", "playwright") + "\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        empty, samples = measure(60.0 * chosen.minutes, Path(folder), chosen.bridges, chosen.every)
    print_table(empty, samples)
    draw(samples, Path(chosen.picture))
    print(f"\nThe curves are in {chosen.picture}.")


def measure(
    seconds: float, folder: Path, bridges: int = BRIDGES, every: float = SAMPLE_SECONDS
) -> tuple[float, list[Sample]]:
    """Share of a core of the browser on an empty page, and samples over so many seconds of load."""
    with Crew(folder) as crew, sync_playwright() as playwright:
        url = folder / "s3.txt"

        def come(file: Path, what: str) -> None:
            def there() -> bool:
                crew.check()
                return file.exists()

            wait_until(there, what, START_SECONDS)

        crew.start("s3", "scripts.bench.s3_server", str(url), "bench")
        come(url, "the S3 server answers")
        config = RunConfig(
            run_id="bench-dashboard",
            bucket=BucketConfig(name="bench", endpoint_url=url.read_text(encoding="utf-8")),
            listen_host="127.0.0.1",
            listen_port=0,
            total_timesteps=TOTAL,
        )
        run, token = folder / RUN_CONFIG, folder / "token.txt"
        run.write_bytes(msgspec.json.encode(config))
        token.write_text(new_token(), encoding="utf-8")
        arguments = ["--config", str(run), "--folder", str(folder)]
        keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", TOKEN_VARIABLE: str(token)}
        receiver = crew.start("receiver", "train_cloud.receiver", *arguments, environment=keys)
        come(folder / PAIRING, "the receiver listens")
        dashboard = crew.start("dashboard", "train_cloud.dashboard", *arguments, "--listen-port", "0")
        come(folder / DASHBOARD_URL, "the dashboard listens")
        browser = launch(playwright)
        page = browser.new_context(viewport={"width": 1440, "height": 900}, ignore_https_errors=True).new_page()
        sampler = Sampler(dashboard, page)
        sampler.sample()
        page.wait_for_timeout(1000 * min(EMPTY_SECONDS, seconds / 4))
        empty = sampler.sample().browser_cpu
        uri = (folder / PAIRING).read_text(encoding="utf-8").strip()
        signature = racing(task_config(config)).signature
        load = Load(uri, receiver, signature, bridges, seconds + START_SECONDS, TRACK_SPEC)
        with QuietTrainer(folder / STORE, TOTAL) as trainer, _loading(load) as loading:
            code = link_code((folder / DASHBOARD_TOKEN).read_text(encoding="utf-8").strip())
            page.goto((folder / DASHBOARD_URL).read_text(encoding="utf-8").rstrip("/") + LINK_PATH + code)
            page.locator(".car").nth(bridges - 1).wait_for(state="attached", timeout=1000 * START_SECONDS)
            sampler = Sampler(dashboard, page)
            samples = list[Sample]()
            while not samples or samples[-1].at < seconds:
                page.wait_for_timeout(1000 * every)
                crew.check()
                if loading.poll() is not None or trainer.failed is not None:
                    raise RuntimeError("The load ended before its time.") from trainer.failed
                samples.append(sampler.sample())
            there = page.locator(".car").count()
            if there != bridges:
                raise RuntimeError(f"At the end the page showed {there} cars in place of {bridges}.")
        browser.close()
    return empty, samples


@contextmanager
def _loading(load: Load) -> Iterator["subprocess.Popen[bytes]"]:
    """The load process; it is ended before it is through."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(load))
        process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()


def print_table(empty: float, samples: list[Sample]) -> None:
    """Each eighth of the time: mean shares of a core, and memory at its end."""
    print(head("minutes", "dashboard", "its memory", "browser", "its memory", "page's heap", "page's nodes"))
    length = samples[-1].at / ROWS
    for number in range(ROWS):
        part = [one for one in samples if number * length < one.at <= (number + 1) * length]
        if not part:
            continue
        last = part[-1]
        both = [mean(one.dashboard_cpu for one in part), mean(one.browser_cpu for one in part)]
        shares = [f"{100 * share:.1f} %" for share in both]
        sizes = [f"{size / 1e6:.1f} MB" for size in (last.dashboard_memory, last.browser_memory, last.heap)]
        print(row(f"{last.at / 60:.1f}", shares[0], sizes[0], shares[1], sizes[1], sizes[2], f"{last.nodes:.0f}"))
    browser = mean(one.browser_cpu for one in samples)
    print(f"\nThe browser on an empty page: {100 * empty:.1f} % of a core; on the dashboard {100 * browser:.1f} %.")


def draw(samples: list[Sample], file: Path) -> None:
    """Memory and processor over the time, as a picture."""
    from matplotlib.figure import Figure

    minutes = [one.at / 60 for one in samples]
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(minutes, [one.dashboard_memory / 1e6 for one in samples], label="dashboard")
    above.plot(minutes, [one.browser_memory / 1e6 for one in samples], label="browser, all its processes")
    above.plot(minutes, [one.heap / 1e6 for one in samples], label="the page's heap")
    above.set(ylabel="memory, MB", ylim=(0, None))
    below.plot(minutes, [100 * one.dashboard_cpu for one in samples], label="dashboard")
    below.plot(minutes, [100 * one.browser_cpu for one in samples], label="browser")
    below.set(xlabel="minutes", ylabel="% of a core", ylim=(0, None))
    for axes in (above, below):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
