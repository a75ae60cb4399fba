"""A trainer whose bucket is silent, slow, denied, or another trainer's."""

from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.support.experience import incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.trainer import session

__all__ = ["run", "s3"]


@pytest.mark.slow
def test_a_second_trainer_stops_with_its_own_exit_code(run: Run, tmp_path: Path, s3: MotoS3) -> None:
    ending = run.start(run.config())
    wait_until(lambda: run.store.latest_weights() is not None, "the first trainer is at work", 30)
    (tmp_path / "other").mkdir()
    other = Run(tmp_path / "other", s3)
    other.store.add_batches(incoming(range(1, 21)))
    assert other.start(other.config()).result(300) == ExitCode.OK
    run.store.add_batches(incoming(range(1, 12)))
    assert ending.result(300) == ExitCode.REFUSED


def test_training_goes_on_while_s3_denies_and_is_saved_when_it_is_back(
    run: Run, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    ending = run.start(run.config())
    wait_until(lambda: run.store.latest_weights() is not None, "the trainer is at work", 30)
    s3.fail("403 Forbidden")
    run.store.add_batches(incoming(range(1, 21)))
    wait_until(lambda: run.trained() == 400, "all is learned without S3", 60)
    wait_until(lambda: "training goes on" in caplog.text, "the outage is told")
    s3.heal()
    assert ending.result(300) == ExitCode.OK
    assert run.counters().updates == 150


def test_a_stop_while_s3_is_silent_is_told_as_not_saved(run: Run, s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "STOP_SECONDS", 1.0)
    ending = run.start(run.config())
    wait_until(lambda: run.store.latest_weights() is not None, "the trainer is at work", 30)
    s3.fail()
    run.stop.set()
    assert ending.result(300) == ExitCode.STORAGE


@pytest.mark.slow
def test_a_stop_while_s3_is_slow_saves_within_a_few_calls(
    run: Run, s3: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = session.STOP_SECONDS / 2.0
    monkeypatch.setattr(session, "STOP_SECONDS", 300.0)
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 30)
    s3.slow(2.0)
    run.store.request_checkpoint()
    before = s3.requests
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    assert s3.requests - before < calls, "one after the other they would take longer than a stop may"
    assert run.counters().steps == 200
