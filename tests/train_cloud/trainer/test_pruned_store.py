"""A trainer that comes back to a store whose old experience was pruned learns from what it would have learned from."""

import shutil
import sqlite3
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from tests.support.experience import STREAM, incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store
from train_cloud.receiver.backup import Backup
from train_cloud.receiver.restore import restore
from train_cloud.store import Store
from train_cloud.trainer import session
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.saving.manifest import find_newest

__all__ = ["s3"]

BUFFER = 100
SAVES = (100, 200, 300, 400)
SHOWN = {2, 3, 14}
"""Batches that no policy drove, where there are any: most of them are pruned."""


class Run:
    """A run of which `saves` steps were driven and saved, a part of them late; nothing was pruned yet."""

    def __init__(
        self, folder: Path, s3: MotoS3, saves: tuple[int, ...] = SAVES, method: str = "sac", shown: Collection[int] = ()
    ) -> None:
        folder.mkdir()
        self.folder, self._bucket, self._method, self.shown = folder, s3.bucket, method, shown
        self.objects = open_store(s3.bucket, "runs/test-run/")
        self._pool = ThreadPoolExecutor(1)
        with closing(Store(folder / "store.db")) as store:
            store.register_stream(STREAM, "pc", "signature")
            store.set_ready()
        self.train(folder, saves)
        with closing(Store(folder / "store.db")) as store:
            store.mark_safe(STREAM, 20)

    def train(self, folder: Path, totals: tuple[int, ...]) -> None:
        """Train as far as each of `totals` steps, until it is saved, then stop."""
        stop = threading.Event()
        config = run_config(
            bucket=msgspec.to_builtins(self._bucket),
            method=self._method,
            network=[8],
            batch_size=8,
            learning_starts=50,
            updates_per_step=0.1,
            buffer_size=BUFFER,
            save_frequency=100,
            publish_seconds=0.1,
        )
        ending = self._pool.submit(session.train_run, config, folder, stop)
        with closing(Store(folder / "store.db")) as store:
            wait_until(lambda: store.progress().state == "training", "the trainer is at work", 60)
            for total in totals:
                store.add_batches(incoming(range(1, total // 20 + 1), late_share=0.3, demonstrated=self.shown))
                wait_until(lambda: self.is_saved(folder, total), f"{total} steps are saved", 30)  # noqa: B023 - called in this turn of the loop
        stop.set()
        assert ending.result(300) == ExitCode.OK

    def is_saved(self, folder: Path, steps: int) -> bool:
        return max(noted(folder), default=0) == steps and self.counters().steps == steps

    def counters(self) -> Counters:
        found = find_newest(self.objects).checkpoint
        return Counters() if found is None else msgspec.json.decode(found.files["counters.json"], type=Counters)

    def pruned(self) -> Path:
        """A folder with the store, all pruned that may be."""
        pruned = Path(shutil.copytree(self.folder, self.folder / "pruned"))
        with closing(Store(pruned / "store.db")) as store:
            before = [row.number for row in store.read_batches(0, 100)]
            assert before == list(range(1, 21))
            assert store.prune(1) == 1
            while store.prune(5):
                pass
            left = [row.number for row in store.read_batches(0, 100)]
            # The checkpoint before the newest holds batches up to the fifteenth; 14 of 20 steps are not late.
            assert left == before[-len(left) :]
            assert left[0] in (7, 8, 9) if not self.shown else left[0] in (6, 7, 8)
        return pruned


@pytest.fixture(params=[("sac", ()), ("sac", SHOWN), ("xqc", SHOWN)], ids=["sac", "sac+demos", "xqc+demos"])
def run(request: pytest.FixtureRequest, tmp_path: Path, s3: MotoS3) -> Run:
    method, shown = request.param
    return Run(tmp_path / "instance", s3, method=method, shown=shown)


def noted(folder: Path) -> list[int]:
    """Steps of the checkpoints that the store allows pruning by."""
    with closing(sqlite3.connect(folder / "store.db")) as database:
        return [row[0] for row in database.execute("SELECT steps FROM checkpoints ORDER BY steps")]


def rebuilt(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """What the last trainer said of the memory that it rebuilt."""
    record = [record for record in caplog.records if record.getMessage() == "replay buffer rebuilt"][-1]
    told: dict[str, object] = record.fields  # type: ignore[attr-defined]  # our own logger's
    return told


@pytest.mark.slow
def test_the_memory_is_rebuilt_the_same_as_from_a_store_that_has_everything(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    saved, pruned = run.counters(), run.pruned()
    for folder in (pruned, run.folder):
        run.train(folder, ())
        assert rebuilt(caplog) == {"rows": BUFFER, "digest": saved.replay_digest, "as_saved": True}
    assert run.counters().steps == 400
    assert run.counters().demonstrations == 20 * len(run.shown)


@pytest.mark.slow
def test_a_new_instance_that_restores_only_the_newest_remembers_the_same(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("train_cloud.receiver.backup.MAX_BATCHES", 2)
    with closing(Store(run.folder / "store.db")) as store:
        with store.writing() as database:
            database.execute("UPDATE streams SET safe_through = 0, safe_steps = 0")
        assert Backup(store, run.objects, 1.0, lambda *_: None).flush(60)
    saved = run.counters()
    other = tmp_path / "other"
    other.mkdir()
    with closing(Store(other / "store.db")) as fresh:
        restore(fresh, run.objects, BUFFER + saved.off_period_steps + 20, None, threading.Event())
        assert len(fresh.read_batches(0, 100)) <= 14, "the first demonstrations are in the checkpoint alone"
        fresh.set_ready()
    run.train(other, ())
    assert rebuilt(caplog) == {"rows": BUFFER, "digest": saved.replay_digest, "as_saved": True}
    run.train(other, (500,))
    counters = run.counters()
    assert (counters.steps, counters.demonstrations) == (500, 20 * len(run.shown))


@pytest.mark.slow
def test_the_run_goes_on_and_is_pruned_on(run: Run) -> None:
    pruned = run.pruned()
    run.train(pruned, (500, 600))
    counters = run.counters()
    assert (counters.steps, counters.laps, counters.consumed, counters.resumes) == (
        600,
        30 - len(run.shown),
        {STREAM: 30},
        1,
    )
    with closing(Store(pruned / "store.db")) as store:
        store.mark_safe(STREAM, 30)
        assert store.prune(100) > 0
        assert store.read_batches(0, 1)[0].number in (17, 18, 19)


@pytest.mark.slow
def test_the_checkpoint_before_the_newest_finds_all_that_it_needs(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pruned = run.pruned()
    for key in run.objects.list(f"checkpoints/{400:012d}"):
        run.objects.put(key, b"damaged")
    before = run.counters()
    assert before.steps == 300
    run.train(pruned, (400,))
    assert "THE NEWEST CHECKPOINT IS DAMAGED" in caplog.text
    assert rebuilt(caplog) == {"rows": BUFFER, "digest": before.replay_digest, "as_saved": True}
    counters = run.counters()
    assert (counters.steps, counters.laps, counters.consumed) == (400, 20 - len(run.shown), {STREAM: 20})


@pytest.mark.slow
def test_a_trainer_notes_the_newest_two_and_forgets_what_it_could_not_resume_from(tmp_path: Path, s3: MotoS3) -> None:
    run = Run(tmp_path / "instance", s3, saves=())
    with closing(Store(run.folder / "store.db")) as store:
        store.note_checkpoint(500, 1)
        store.note_checkpoint(600, 1)
    run.train(run.folder, ())
    assert noted(run.folder) == [], "there is no checkpoint in the bucket"
    run.train(run.folder, SAVES)
    assert noted(run.folder) == [300, 400]
