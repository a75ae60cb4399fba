"""Checkpoints are judged by a child that costs learning nothing; the best is kept in the bucket."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from racing.policy import Policy
from racing.policy_file import is_to_judge
from tests.support.ended import has_ended
from tests.support.experience import STREAM, made_up_batch
from tests.support.frozen import freeze
from tests.support.judged import SIGNATURE, announce, checkpoint
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.bridge_table import put_standings, standings
from train_cloud.object_store import PreconditionFailed
from train_cloud.open_store import open_store
from train_cloud.receiver.server import WEIGHTS_POLL_SECONDS
from train_cloud.run_folder.keys import BEST, POLICY
from train_cloud.store import Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.judging.judging import Judging
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.saving.manifest import Best, find_best, find_newest
from train_cloud.trainer.saving.publish import Publisher
from train_cloud.trainer.saving.uploads import AnotherWriter, Uploads
from train_cloud.trainer.verdict import COLLAPSED

__all__ = ["run", "s3"]


class Site:
    """What judges for one life of a trainer, with a real store and a real bucket."""

    def __init__(self, folder: Path, s3: MotoS3, **changes: object) -> None:
        self.objects = open_store(s3.bucket, "runs/test-run/")
        self.store = Store(folder / "store.db")
        self.counters = Counters(weights_version=7)
        best = find_best(self.objects)
        newest = find_newest(self.objects)
        self.uploads = Uploads(self.objects, newest.latest_etag, None, best.etag)
        publisher = Publisher(self.store, self.counters)
        config = run_config(**changes)
        self.judging = Judging(config, self.store, self.uploads, self.counters, publisher, best.checkpoint)

    def judged(self, steps: int) -> bool:
        """Whether the newest judgement is of the checkpoint at these steps."""
        self.judging.look()
        newest = self.counters.judged.newest
        return newest is not None and newest.steps == steps

    def judge(self, steps: int, laps: bool) -> None:
        """Save a checkpoint and wait for its judgement."""
        made = checkpoint(steps, laps)
        self.uploads.checkpoint(made)
        self.judging.saved(made)
        wait_until(lambda: self.judged(steps), f"the checkpoint at {steps} is judged", 60.0)

    def child(self) -> int:
        """The process id of the child that judges."""
        simulator = self.judging._simulator
        assert simulator is not None
        wait_until(lambda: simulator._child is not None, "the child is there")
        assert simulator._child is not None
        return simulator._child.pid

    def close(self) -> None:
        self.judging.close()
        self.uploads.close()


def unread(site: Site) -> int:
    """Bytes that were written for the child that judges and that it has not read."""
    import fcntl
    import termios

    simulator = site.judging._simulator
    assert simulator is not None
    assert simulator._child is not None
    assert simulator._child.stdin is not None
    count = fcntl.ioctl(simulator._child.stdin.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(count, sys.byteorder)


@pytest.fixture
def site(tmp_path: Path, s3: MotoS3) -> Iterator[Site]:
    made = Site(tmp_path, s3)
    announce(made.store)
    yield made
    made.close()


@pytest.mark.slow
def test_the_best_is_kept_beside_the_newest(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site.judge(100, laps=False)
    assert site.counters.judged.best is None
    assert site.objects.find(BEST) is None
    site.judge(200, laps=True)
    site.judge(300, laps=False)
    assert site.uploads.wait(120)
    best = site.counters.judged.best
    assert best is not None
    assert (best.steps, best.judgement.clean, best.judgement.ends) == (200, (3, 3, 3), ("", "", ""))
    found, newest = find_best(site.objects), find_newest(site.objects).checkpoint
    assert found.checkpoint is not None
    assert newest is not None
    assert (found.checkpoint.manifest.steps, newest.manifest.steps) == (200, 300)
    assert found.checkpoint.files == checkpoint(200, True).files
    assert found.verdict == best
    body = site.objects.get(BEST)[0]
    assert json.loads(body)["verdict"]["judgement"]["clean"] == [3, 3, 3]
    assert msgspec.json.decode(body, type=Best).manifest == checkpoint(200, True).manifest
    told = [record.fields for record in caplog.records if record.getMessage() == "policy judged"]
    assert [(one["steps"], one["best"]) for one in told] == [(100, False), (200, True), (300, False)]


def test_who_only_streams_does_not_judge(site: Site) -> None:
    # Later than the bridge that collects, which has gone meanwhile.
    gone = replace(standings(site.store)[0], connected=False)
    watching = replace(
        gone, stream="d" * 32, bridge="pc-d", role="stream", connected=True, real_time=True, heard_at=2.0
    )
    put_standings(site.store, [gone, watching])
    site.judging.saved(checkpoint(100, laps=False))
    assert site.judging._simulator is not None
    assert site.judging._driven == {}


@pytest.mark.slow
def test_the_best_that_was_given_up_for_a_newer_one_gets_into_the_bucket_all_the_same(site: Site, s3: MotoS3) -> None:
    s3.fail()
    site.judge(200, laps=True)
    newer = checkpoint(300, laps=False)
    site.uploads.checkpoint(newer)
    site.judging.look()
    s3.heal()
    site.judging._keep_at = 0.0

    def kept() -> bool:
        site.judging.look()
        return site.uploads.best_steps == 200

    wait_until(kept, "the best is kept", 60.0, 0.1)
    found = find_best(site.objects).checkpoint
    assert found is not None
    assert found.files == checkpoint(200, True).files


@pytest.mark.slow
def test_a_second_writer_of_the_best_is_noticed(site: Site, tmp_path: Path, s3: MotoS3) -> None:
    other = Site(tmp_path, s3)
    site.judge(200, laps=True)
    wait_until(lambda: site.uploads.best_steps == 200, "the best is kept", 60.0)
    assert site.counters.judged.best is not None
    other.uploads.best(checkpoint(100, True), site.counters.judged.best)
    with pytest.raises(AnotherWriter, match="Another trainer"):
        other.uploads.wait(120)
    other.close()
    with pytest.raises(PreconditionFailed):
        site.objects.put(BEST, b"", if_none_match=True)


@pytest.mark.slow
def test_a_damaged_best_counts_no_more_and_the_next_takes_its_place(
    site: Site, tmp_path: Path, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    site.judge(200, laps=True)
    wait_until(lambda: site.uploads.best_steps == 200, "the best is kept", 60.0)
    site.uploads.checkpoint(checkpoint(300, True))
    assert site.uploads.wait(120)
    site.objects.put(checkpoint(200, True).manifest.folder + POLICY, b"damaged")
    assert find_best(site.objects)[:2] == (None, None)
    assert "THE BEST CHECKPOINT IS DAMAGED" in caplog.text
    later = Site(tmp_path, s3)
    later.judge(400, laps=True)
    wait_until(lambda: later.uploads.best_steps == 400, "the next best is kept", 60.0)
    later.close()


@pytest.mark.slow
def test_one_that_waits_is_dropped_for_the_newest_and_nobody_waits_for_a_child_that_hangs(site: Site) -> None:
    site.judge(100, laps=False)
    freeze(site.child())
    site.judging.saved(checkpoint(200, laps=True))
    simulator = site.judging._simulator
    assert simulator is not None
    wait_until(lambda: simulator._waiting is None, "the one at 200 is under way")
    for steps in (300, 400):
        site.judging.saved(checkpoint(steps, laps=True))
        site.judging.look()
    assert site.judged(100)
    os.kill(site.child(), signal.SIGCONT)
    seen = set()

    def newest() -> bool:
        done = site.judged(400)
        assert site.counters.judged.newest is not None
        seen.add(site.counters.judged.newest.steps)
        return done

    wait_until(newest, "the newest is judged", 60.0)
    assert 300 not in seen


@pytest.mark.slow
def test_a_child_that_is_killed_costs_its_judgement_and_is_replaced(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.judge(100, laps=False)
    pid = site.child()
    freeze(pid)
    site.judging.saved(checkpoint(200, laps=True))
    wait_until(lambda: unread(site) > 0, "the child was asked")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "could not be judged: training goes on" in caplog.text, "that is told", 30.0)
    site.judge(300, laps=True)


@pytest.mark.slow
def test_the_child_is_nicer_than_whoever_trains(site: Site) -> None:
    site.judge(100, laps=False)
    assert os.getpriority(os.PRIO_PROCESS, site.child()) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


@pytest.mark.slow
def test_the_child_ends_with_a_trainer_that_is_killed(run: Run) -> None:
    announce(run.store)
    process = run.start_process(run.config(total_timesteps=10_000))
    wait_until(lambda: run.store.latest_weights() is not None, "the trainer is at work", 60.0)
    run.store.request_checkpoint()

    def child() -> int | None:
        # A thread, or a child of it, may end between the list and the look at it.
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                for pid in (task / "children").read_text().split():
                    if b"judging.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return int(pid)
        return None

    seen: list[int] = []

    def judges() -> bool:
        seen.extend(pid for pid in [child()] if pid is not None)
        return bool(seen)

    wait_until(judges, "the child judges", 60.0)
    pid = seen[0]
    process.kill()
    process.wait(120)
    wait_until(lambda: has_ended(pid), "the child has ended", 30.0)


@pytest.mark.slow
def test_log_metrics_and_curves_tell_the_newest_and_the_best(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    announce(run.store)
    run.objects.put(BEST, b"{}")
    ending = run.start(run.config())
    wait_until(lambda: run.store.latest_weights() is not None, "the trainer is at work", 60.0)
    run.store.request_checkpoint()
    wait_until(lambda: "policy judged" in caplog.text, "its first policy is judged", 60.0)
    run.stop.set()
    assert ending.result(300) == 0
    judged = run.metrics()["judged"]
    assert isinstance(judged, dict)
    assert judged["best"] is None
    assert (judged["newest"]["by"], judged["newest"]["of_laps"], len(judged["newest"]["clean_laps"])) == (
        "simulator",
        3,
        3,
    )
    (story,) = [r.fields for r in caplog.records if r.getMessage() == "stopped" and hasattr(r, "fields")]
    assert story["judged_newest"].endswith("clean at 0")


@pytest.mark.slow
def test_learning_that_gets_nowhere_any_more_has_collapsed(site: Site) -> None:
    site.judge(100, laps=True)
    for k in range(1, COLLAPSED):
        site.judge(100 + k, laps=False)
    with pytest.raises(Diverged, match="Learning has collapsed: the last 3 policies"):
        site.judge(200, laps=False)


def test_cars_in_real_time_are_sent_the_policy_to_be_judged_and_then_the_newest_again(site: Site) -> None:
    announce(site.store, real_time=True)
    publisher = site.judging._publisher
    made = checkpoint(100, laps=True)
    publisher.newest, publisher._version, publisher._published_updates = made.files[POLICY], 7, 0
    site.judging.saved(made)
    row = site.store.latest_weights()
    assert row is not None
    sent = Policy.from_bytes(row.blob, SIGNATURE)
    assert (row.version, sent.version, sent.to_judge) == (8, 8, True)
    publisher.publish(None)  # type: ignore[arg-type]  # nothing was learned: the learner is not asked
    again = site.store.latest_weights(row.serial)
    assert again is not None
    assert (again.version, again.blob) == (7, made.files[POLICY])
    publisher.publish(None)  # type: ignore[arg-type]  # the same
    assert site.store.latest_weights(again.serial) is None
    site.judging.saved(made)
    newest = site.store.latest_weights()
    assert newest is not None
    assert newest.version == 9, "no number is used twice"
    publisher.saw(9)
    assert publisher._next_version() == 10, "experience of it is of this life"


@pytest.mark.slow
def test_what_is_to_be_judged_is_not_hidden_before_a_receiver_has_looked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(run.store, real_time=True)
    put, rows = Store.put_weights, list[tuple[float, bool]]()

    def noting(store: Store, version: int, blob: bytes, sha256: str) -> None:
        put(store, version, blob, sha256)
        rows.append((time.monotonic(), is_to_judge(blob)))

    monkeypatch.setattr(Store, "put_weights", noting)
    ending = run.start(run.config(publish_seconds=0.001))
    wait_until(lambda: len(rows) > 0, "the trainer is at work", 60.0)
    run.store.request_checkpoint()
    wait_until(lambda: len(rows) > 2, "the newest policy comes again", 60.0)
    assert [judged for _, judged in rows[:3]] == [False, True, False]
    assert rows[2][0] - rows[1][0] > 5 * WEIGHTS_POLL_SECONDS
    run.stop.set()
    assert ending.result(300) == 0


def test_cars_in_real_time_explore_most_of_the_time(site: Site) -> None:
    announce(site.store, real_time=True)
    made, judging = checkpoint(100, laps=True), site.judging
    judging._publisher.newest = made.files[POLICY]
    whole = made_up_batch(1, run_lengths=(12, 8))

    def asked() -> int:
        """The version that is asked for after one more checkpoint."""
        judging.saved(made)
        return site.store.newest_version()

    def drive(versions: list[int]) -> None:
        judging.drove(STREAM, replace(whole, policy_versions=np.array(versions, np.uint32), laps=()))

    first = asked()
    assert asked() == first + 1, "nobody has begun: the newest is driven"
    drive([0] * 12 + [first + 1] * 8)
    assert asked() == first + 1, "what is being driven is not given up"
    drive([0] * 20)
    assert asked() == first + 1, "what was found is taken before anything else is asked for"
    assert site.judged(100), "somebody else took over, so it is over"
    newest = site.counters.judged.newest
    assert newest is not None
    assert (newest.by, newest.judgement.clean, newest.version) == ("bridges", (0,), first + 1)
    site.counters.steps = 3 * 8 - 1
    assert asked() == first + 1
    site.counters.steps += 1
    assert asked() == first + 2
    drive([0] * 12 + [first + 2] * 8)
    judging._give_up_at = 0.0
    assert asked() == first + 3, "whoever has gone is not waited for"
    assert asked() == first + 4
    drive([0] * 12 + [first + 3] * 8)
    drive([0] * 20)
    judging.look()
    newest = site.counters.judged.newest
    assert newest is not None
    assert newest.version == first + 3, "it was begun before the next was asked for, and seen after"


def test_other_environments_have_no_laps_and_lose_nothing(
    tmp_path: Path, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site = Site(tmp_path, s3, environment={"kind": "gymnasium", "id": "Pendulum-v1"})
    assert "no laps, so no judgement" in caplog.text
    site.judging.saved(checkpoint(100, laps=True))
    site.judging.look()
    assert site.counters.judged.newest is None
    site.close()
