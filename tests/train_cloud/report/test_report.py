"""The report: from the bucket alone, one page that needs nothing else, and files beside it that others can read."""

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.reported import TRACK, driven, history, metrics, points, put_run
from tests.support.runs import run_config
from train_cloud.history_document import HistoryDocument
from train_cloud.history_table import Point
from train_cloud.instance.ledger import Life, write_life
from train_cloud.lap_table import LapRow
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.report.__main__ import main
from train_cloud.report.making import MOST_BYTES, make_report
from train_cloud.report.pictures import GIF_BYTES
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import HISTORY, METRICS, REPORT, TRACKS

__all__ = ["s3"]

HOSTILE = '"><script src="https://evil.example/x.js">alert(1)</script>&lt;'


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def assert_needs_nothing_else(self) -> None:
        assert len(self.source.encode()) <= MOST_BYTES
        tags = {tag for tag, _ in self.elements}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "image", "use", "a", "base", "form"}
        for _, attributes in self.elements:
            names = set(attributes)
            assert not names & {"src", "href", "xlink:href", "style", "srcset", "data"}
            assert not any(name.startswith("on") for name in names)
        style = self.source.partition("<style>")[2].partition("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style


@pytest.fixture
def objects(s3: MotoS3) -> ObjectStore:
    return open_store(s3.bucket, "runs/test-run/")


@pytest.fixture
def config(s3: MotoS3) -> Callable[..., RunConfig]:
    def made(**changes: Any) -> RunConfig:
        return run_config(bucket=msgspec.to_builtins(s3.bucket), total_timesteps=50_000, **changes)

    return made


Config = Callable[..., RunConfig]


def only_page(config: RunConfig, objects: ObjectStore, folder: Path) -> Page:
    """The page alone: what is made after it is not waited for."""
    return Page(next(make_report(config, objects, folder)))


@pytest.mark.slow
def test_a_whole_report_is_made_from_the_bucket_alone(objects: ObjectStore, config: Config, tmp_path: Path) -> None:
    told = history()
    told.spots = ((100.0, 7.0), (220.0, -7.5), (230.0, 3_000.0))
    put_run(objects, metrics(), told)
    objects.put(
        "endings/20260921T141000Z-i-0aa.json",
        b'{"reason":"interrupted","text":"EC2 takes it back.","at":"2026-09-21T14:10:00Z","instance_id":"i-0aa"}',
    )
    write_life(objects, Life(instance_id="i-0aa", instance_type="g5.xlarge", hours=1.5, spend_usd=0.61))
    files = {file.name: file for file in make_report(config(), objects, tmp_path / "out")}
    page = Page(files["report.html"])
    page.assert_needs_nothing_else()
    assert "It learned" in page.text
    assert "9 clean laps of 9" in page.text
    assert "\ufffd" not in page.source
    human = driven(0.97)
    assert f"{driven(0.93).time - human.time:+.3f} s against the human's best" in page.text
    assert re.search(r"reference 0:\d\d\.\d{3} Clean laps", page.text)
    assert "Most is lost to the reference driver at" in page.text
    assert "interrupted: EC2 takes it back." in page.text
    assert "0.61 USD" in page.text
    assert "Crosses: the 3 newest places where cars left the track" in page.text
    (crosses,) = re.findall(r'<path d="([^"]+)" class="left"', page.source)
    # The third is nowhere near the track.
    assert crosses.count("l6 6m0-6l-6 6") == 2
    assert "The run was taken up again from a checkpoint twice." in page.text
    assert "python 3.13.1" in page.text
    assert "make report RUN=run.json" in page.text
    assert {"lap.png", "curves.png", "lap.gif", "best-lap.ld", "best-lap.ldx", "best-lap.motec.csv"} <= set(files)

    from PIL import Image

    with Image.open(files["lap.gif"]) as animation:
        assert animation.format == "GIF"
        assert getattr(animation, "n_frames", 1) > 50
        first = animation.convert("RGB").tobytes()
        animation.seek(40)
        assert animation.convert("RGB").tobytes() != first
    assert files["lap.gif"].stat().st_size <= GIF_BYTES
    for name in ("lap.png", "curves.png"):
        with Image.open(files[name]) as picture:
            picture.verify()
    rows = files["best-lap.csv"].read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert float(last["seconds"]) == pytest.approx(driven(0.93).time)
    assert float(last["metres"]) == pytest.approx(TRACK.length)


def test_a_run_that_has_left_nothing_says_so(objects: ObjectStore, config: Config, tmp_path: Path) -> None:
    files = [file.name for file in make_report(config(), objects, tmp_path)]
    assert files == ["report.html", "run.json"]
    page = Page(tmp_path / "report.html")
    page.assert_needs_nothing_else()
    assert "The bucket holds no figures of this run yet." in page.text
    assert "The bucket has no history.json of this run yet" in page.text
    assert "The bucket has no track" in page.text
    assert "names no instance, so nothing is known of a cost" in page.text


def test_a_run_that_has_hardly_begun_is_no_success(objects: ObjectStore, config: Config, tmp_path: Path) -> None:
    put_run(
        objects, {"steps": 300, "mean_metres": 41.0, "laps": 0, "resumes": 0}, HistoryDocument(points=points(1)), None
    )
    page = only_page(config(), objects, tmp_path)
    assert "Not yet An episode gets 41 m far; no lap is completed." in page.text
    assert "There are too few points to draw a curve of." in page.text
    assert "The run was never interrupted." in page.text


@pytest.mark.slow
def test_a_run_that_is_not_racing_has_a_report_without_laps(
    objects: ObjectStore, config: Config, tmp_path: Path
) -> None:
    told = metrics(laps=0, clean_laps=0, judged={}, mean_reward=39.5)
    put_run(objects, told, HistoryDocument(points=points(60)), None)
    gym = config(environment={"kind": "gymnasium", "id": "Pendulum-v1"}, gamma=0.99)
    files = {file.name for file in make_report(gym, objects, tmp_path)}
    assert files == {"report.html", "run.json", "curves.png"}
    page = Page(tmp_path / "report.html")
    page.assert_needs_nothing_else()
    assert "A policy for Pendulum-v1" in page.text
    assert "It learned The mean return of an episode went from" in page.text
    assert "The best lap" not in page.text
    assert "Episodes that end badly" not in page.text


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"points": [{"at": "x"}]}', b"\xff\xfe", b"null"])
def test_a_damaged_history_is_told_and_the_rest_is_shown(
    objects: ObjectStore, config: Config, tmp_path: Path, damage: bytes
) -> None:
    put_run(objects, metrics(), None, None)
    objects.put(HISTORY, damage)
    page = only_page(config(), objects, tmp_path)
    page.assert_needs_nothing_else()
    assert "history.json in the bucket is damaged and counts as missing" in page.text
    assert "9 clean laps of 9" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"speed": [1.0, 2.0]},
        {"metres": [0.0] * 400},
        {"seconds": [1e308] * 400},
        {"time": -1.0},
        {name: [] for name in ("seconds", "metres", "gap", "speed", "steer", "pedals", "gear")},
    ],
)
def test_a_trace_that_is_no_lap_is_not_drawn(
    objects: ObjectStore, config: Config, tmp_path: Path, change: dict[str, Any]
) -> None:
    told = msgspec.to_builtins(history(human=False))
    told["traces"]["best"] |= change
    put_run(objects, metrics(), None, None)
    objects.put(HISTORY, msgspec.json.encode(told))
    page = only_page(config(), objects, tmp_path)
    # One that the document itself does not take is none for anybody.
    refused = "history.json in the bucket is damaged"
    assert refused in page.text or "The history's course of the policy's best lap cannot be drawn" in page.text
    assert "Pedals" not in page.text


@pytest.mark.slow
def test_what_documents_say_cannot_become_markup(objects: ObjectStore, config: Config, tmp_path: Path) -> None:
    told = metrics(state=HOSTILE, updated=HOSTILE, versions={HOSTILE: HOSTILE}, code=HOSTILE, method=HOSTILE)
    told |= {"best_lap_s": HOSTILE, "laps": [HOSTILE], "resumes": HOSTILE, "losses": HOSTILE, "judged": HOSTILE}
    put_run(objects, told, HistoryDocument(points=points(20)), None)
    ending = {"reason": HOSTILE, "text": HOSTILE, "at": HOSTILE, "instance_id": HOSTILE}
    objects.put("endings/20260921T141000Z-i-0aa.json", msgspec.json.encode(ending))
    write_life(objects, Life(instance_id="i-0aa", instance_type=HOSTILE, hours=1.0, spend_usd=1.0))
    track = msgspec.json.decode(_track_text(TRACK))
    objects.put(f"{TRACKS}{'0' * 64}.json", msgspec.json.encode(track | {"name": HOSTILE}))
    kwargs = {"token": "hunter2", "path": HOSTILE, "url": "https://user:hunter2@example.org/"}
    remote = config(environment={"kind": "gymnasium", "id": "A-v0", "source": "remote", "kwargs": kwargs}, gamma=0.9)
    for number, made in enumerate((config(), remote)):
        page = only_page(made, objects, tmp_path / str(number))
        page.assert_needs_nothing_else()
        assert HOSTILE in "".join(page.texts)
        assert "hunter2" not in page.source


@pytest.mark.slow
def test_numbers_beyond_any_run_are_not_drawn(objects: ObjectStore, config: Config, tmp_path: Path) -> None:
    told = history(human=False)
    told.traces.clear()
    wild = {"drive/mean_reward": 1e308, "train/critic_loss": -1e308}
    told.points += [Point(-1.0, 5, 0, {}), Point(1e300, 5, 0, {}), Point(told.points[-1].at, 10**18, 0, {})]
    told.points += [Point(told.points[0].at + 1.0, 600, 0, wild)]
    told.laps += [LapRow(0.0, 10**18, 1, 1e300, ()), LapRow(1.0, 1, 1, -1.0, (1.0,)), LapRow(2.0, 1, 1, 31.0, ())]
    put_run(objects, metrics(steps=10**18, best_lap_s=1e300, mean_reward=-1e300), told, None)
    files = {file.name for file in make_report(config(), objects, tmp_path)}
    page = Page(tmp_path / "report.html")
    page.assert_needs_nothing_else()
    assert "nan" not in page.source
    assert "101 points." in page.text
    assert "The newest 12 of 211 clean laps kept" in page.text
    assert "curves.png" in files


def test_the_command_uploads_and_says_what_is_wrong(
    objects: ObjectStore, config: Config, tmp_path: Path, s3: MotoS3, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(objects, metrics(), None, None)
    file, out = tmp_path / "run.json", tmp_path / "out"
    file.write_bytes(msgspec.json.encode(config()))
    options = ["--config", str(file), "--output", str(out)]
    assert main([*options, "--upload"]) == ExitCode.OK
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert objects.get(f"{REPORT}report.html")[0] == (out / "report.html").read_bytes()
    assert main(["--config", str(tmp_path / "none.json"), "--output", str(out)]) == ExitCode.USAGE
    assert main(["--config", str(file), "--output", str(file / "under")]) == ExitCode.USAGE
    s3.fail()
    assert main(options) == ExitCode.STORAGE
    s3.heal()
    assert objects.list(METRICS) == [METRICS]


@pytest.mark.slow
def test_the_report_needs_neither_torch_nor_the_trainer() -> None:
    code = (
        "import sys, train_cloud.report.making, train_cloud.report.pictures, train_cloud.report.__main__\n"
        "print([n for n in sys.modules if n.startswith(('torch', 'stable_baselines3', 'train_cloud.trainer'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"


def _track_text(track: Any) -> bytes:
    from racing.track_text import track_text

    return track_text(track)
