"""The report at a run's end: in the bucket when the run is done, and never what keeps an instance alive."""

import json
import time
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.support.experience import incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from tests.support.trainer_runs import Run, run
from train_cloud.run_folder.keys import REPORT
from train_cloud.trainer import final_report

__all__ = ["run", "s3"]


@pytest.mark.slow
def test_a_run_that_is_done_leaves_its_report_in_the_bucket(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config(seed=4711, final_report=True)).result(300) == ExitCode.OK
    page = run.objects.get(f"{REPORT}report.html")[0].decode()
    assert "<h1>Training report: test-run</h1>" in page
    assert "the run is done." in page
    assert "10 clean laps were driven while it explored, the best in 1:39.800" in page
    settings = json.loads(run.objects.get(f"{REPORT}run.json")[0])
    assert (settings["run_id"], settings["seed"]) == ("test-run", 4711)
    assert "the report is in the bucket" in caplog.text


def test_a_run_that_is_stopped_makes_none(run: Run) -> None:
    run.store.add_batches(incoming(range(1, 6)))
    ending = run.start(run.config())
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    assert run.objects.list(REPORT) == []


def test_a_stop_ends_it_at_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.stop.set()
    began = time.monotonic()
    assert not final_report.report_run(run.config(), run.stop)
    assert time.monotonic() - began < final_report.REPORT_SECONDS / 2
    assert "the report is not whole: the run is done and saved" in caplog.text
    assert run.objects.list(REPORT) == []


def test_a_bucket_that_is_silent_costs_a_warning_and_no_more_than_the_bound(
    run: Run, s3: MotoS3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(final_report, "REPORT_SECONDS", 1.0)
    s3.hang()
    began = time.monotonic()
    assert not final_report.report_run(run.config(), run.stop)
    assert time.monotonic() - began < 30.0
    s3.heal()
    assert "`make report` makes it at any time" in caplog.text


def test_a_folder_that_cannot_be_made_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tempfile
    import threading

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert not final_report.report_run(run_config(), threading.Event())
    assert "the report could not be made" in caplog.text
