"""`make report` makes the report of the deployment's run, or of a run of one's own, wherever it is called."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.report import report
from tests.support.operated import BUCKET, RUN_ID, Operated, operated
from tests.support.runs import run_config
from train_cloud.run_folder.keys import METRICS

__all__ = ["operated"]


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_report_of_the_clouds_run_is_made_in_a_folder_of_its_name(operated: Operated) -> None:
    operated.objects.put(METRICS, b'{"steps": 41000, "mean_metres": 512.0}')
    config = run_config(run_id=RUN_ID, bucket={"name": BUCKET}, seed=4711)
    operated.objects.put("run.json", msgspec.json.encode(config))
    said = operated.run(report)
    folder = Path("reports") / RUN_ID
    assert said.code == ExitCode.OK, said.err
    assert f"{folder / 'report.html'}: the report of {RUN_ID}; beside it run.json." in said.out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "An episode gets 512 m far" in page
    assert "<dd>4711</dd>" in page


@pytest.mark.slow
def test_a_deployment_whose_run_has_not_begun_has_a_report_that_says_so(operated: Operated) -> None:
    said = operated.run(report, "--output", "here")
    assert said.code == ExitCode.OK, said.err
    page = Path("here", "report.html").read_text(encoding="utf-8")
    assert "The bucket holds no figures of this run yet." in page
    assert "The bucket has no run.json of this run" in page


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told(operated: Operated) -> None:
    Path("file").write_text("in the way")
    said = operated.run(report, "--output", "file/under")
    assert said.code == ExitCode.FAILED
    assert "Name another with OUTPUT=..." in said.err
