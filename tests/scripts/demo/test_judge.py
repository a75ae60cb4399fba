"""The demo passes when two versions, one after the other, lap cleanly from every start; luck does not do."""

import hashlib
from pathlib import Path

import pytest

from racing.task import TaskConfig
from scripts.demo import judge as module
from scripts.demo.judge import Judge
from tests.support.judged import TRACK, checkpoint
from tests.support.waiting import wait_until
from train_cloud.run_folder.keys import POLICY
from train_cloud.store import Store


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(module, "SHARE_OF_A_CORE", 1e9)
    return Judge(Store(tmp_path / "store.db"), TRACK, TaskConfig())


def publish(judge: Judge, version: int, laps: bool) -> None:
    blob = checkpoint(1, laps).files[POLICY]
    judge._store.put_weights(version, blob, hashlib.sha256(blob).hexdigest())
    wait_until(lambda: judge.judged == version or judge.error is not None, "it is judged", 60.0)
    assert judge.error is None


@pytest.mark.slow
def test_it_takes_two_in_a_row(judge: Judge) -> None:
    judge.start()
    for version, laps in enumerate((True, False, True), 1):
        publish(judge, version, laps)
        assert judge.passed is None
    publish(judge, 4, True)
    wait_until(lambda: judge.passed is not None, "it passes")
    assert judge.passed is not None
    assert (judge.passed.version, judge.passed.clean) == (4, 3)
    judge.join(60)
    assert not judge.is_alive()
    drive = judge.drive(judge.passed)
    assert len(drive.laps) == 3
    assert all(lap.clean for lap in drive.laps)
