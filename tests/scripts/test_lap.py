"""Laps on demand: of the reference driver, of a policy in a file, and a sentence for what is neither."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experience import environment
from scripts.lap import lap
from tests.support.runs import run_config
from train_cloud.trainer.learning.learners import make_learner

TRACK = "seed:7:1200"
app = typer.Typer()
app.command()(lap)


@pytest.mark.slow
def test_the_reference_driver_laps_cleanly() -> None:
    result = CliRunner().invoke(app, [TRACK, "--laps", "1"])
    assert result.exit_code == 0
    assert result.output.startswith("lap 1: 0:3")


@pytest.mark.slow
def test_a_lap_is_drawn_where_that_is_asked_for(tmp_path: Path) -> None:
    picture = tmp_path / "lap.png"
    assert CliRunner().invoke(app, [TRACK, "--laps", "1", "--picture", str(picture)]).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_policy_that_has_learned_nothing_is_told_how_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    learner = make_learner(run_config(network=[8], buffer_size=10), environment.racing())
    file.write_bytes(learner.policy(1))
    result = CliRunner().invoke(app, [TRACK, "--policy", str(file)])
    assert result.exit_code == 1
    assert "The drive ended in lap 1" in result.output


@pytest.mark.slow
def test_a_file_that_is_no_policy_is_refused_with_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    file.write_bytes(b"not a policy")
    assert CliRunner().invoke(app, [TRACK, "--policy", str(file)]).exit_code == 2
    assert CliRunner().invoke(app, [TRACK, "--policy", str(tmp_path / "none")]).exit_code == 2
