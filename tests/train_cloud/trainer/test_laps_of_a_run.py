"""How the policy stands against the human's best lap, by sectors: a run's log, metrics and curves, over its lives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]  # has no types

from experience.codec import decode_batch, encode_batch
from experience.environment import racing
from racing.evaluation import reference_actions
from racing.reference_driver import ReferenceDriver
from racing.track import parse_track
from racing.track_text import track_hash, track_text
from runtime.exit_codes import ExitCode
from scripts.cloud.status import status
from tests.support.driven_laps import TrueLap, drive_laps
from tests.support.experience import STREAM
from tests.support.moto_s3 import MotoS3, s3
from tests.support.operated import command_line
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.history_document import decode_history, history_of
from train_cloud.history_table import beats, points, report
from train_cloud.lap_table import laps
from train_cloud.run_folder import files
from train_cloud.run_folder.keys import HISTORY
from train_cloud.store import IncomingBatch
from train_cloud.track_table import put_track

__all__ = ["run", "s3"]

LAYOUT = racing().spaces.layout


TRACK = parse_track("seed:7:1200")
Driven = tuple[list[IncomingBatch], list[TrueLap], int]


@pytest.fixture(scope="module")
def demonstrated_and_driven(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    """Three laps of the reference driver, as a human's until the middle of the second, and then a policy's.

    The last is the number of the policy's steps.
    """
    folder = tmp_path_factory.mktemp("driven")
    batches, true = drive_laps(folder, TRACK, reference_actions(ReferenceDriver(TRACK)), 3)
    humans = int((true[0].lap.time + 0.5 * true[1].lap.time) * 20)
    incoming, steps = [], 0
    for number, spooled in enumerate(batches, 1):
        batch = decode_batch(spooled.blob, LAYOUT)
        versions = np.where(np.arange(steps, steps + batch.steps) < humans, 0, 1).astype(np.uint32)
        steps += batch.steps
        blob = encode_batch(replace(batch, policy_versions=versions))
        incoming.append(IncomingBatch(STREAM, number, batch.steps, blob))
    return incoming, true, steps - humans


@pytest.mark.slow
def test_a_killed_trainer_knows_the_laps_of_its_lives_and_the_one_under_way(
    run: Run, demonstrated_and_driven: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third lap is begun before a SIGKILL and ends after it."""
    batches, true, policys_steps = demonstrated_and_driven
    config = run.config(total_timesteps=policys_steps, updates_per_step=0.02, save_frequency=10**6)
    run.store.add_batches(batches[:-3])
    process = run.start_process(config)
    wait_until(lambda: run.trained() > 0, "experience is taken in", 120)
    run.store.request_checkpoint()
    wait_until(lambda: run.objects.list("checkpoints/LATEST") != [], "a checkpoint is up", 120)
    process.kill()
    process.wait(60)
    saved = run.counters()
    assert saved.steps == sum(batch.steps for batch in batches[:-3])
    yours, _, policys = true
    assert saved.lap_times.human == pytest.approx(yours.sectors, abs=0.05)
    assert saved.lap_times.policy is None

    run.store.add_batches(batches)
    assert run.start_process(config).wait(300) == ExitCode.OK
    times = run.counters().lap_times
    assert times.human == saved.lap_times.human
    assert times.policy == times.last == pytest.approx(policys.sectors, abs=0.05)
    metrics = run.metrics()
    assert metrics["human_sectors_s"] == list(times.human or ())
    assert metrics["policy_lap_s"] == pytest.approx(policys.lap.time, abs=0.002)
    behind = np.subtract(policys.sectors, yours.sectors)
    assert metrics["behind_human_s"] == pytest.approx(behind, abs=0.1)
    told = f"best {policys.lap.time:.1f} s, yours {yours.lap.time:.1f} s: "
    assert f'against_you="{told}' in run.log.read_text()
    assert command_line(status, ["--run", str(run.folder / "run.json")]) == ExitCode.OK
    assert f"against your best lap: {told}" in capsys.readouterr().out
    curves = EventAccumulator(str(run.folder / files.TENSORBOARD))
    curves.Reload()
    assert curves.Scalars("drive/human_lap_s")[-1].value == pytest.approx(yours.lap.time, abs=0.01)
    drawn = [curves.Scalars(f"drive/behind_human_{sector}_s")[-1].value for sector in (1, 2, 3)]
    assert drawn == pytest.approx(metrics["behind_human_s"], abs=1e-5)


@pytest.mark.slow
def test_on_another_machine_a_killed_trainer_has_its_history_back(
    run: Run, demonstrated_and_driven: Driven, tmp_path: Path, s3: MotoS3
) -> None:
    batches, (yours, _, policys), policys_steps = demonstrated_and_driven
    config = run.config(total_timesteps=policys_steps, updates_per_step=0.02, save_frequency=10**6)
    run.store.add_batches(batches[:-3])
    process = run.start_process(config)
    wait_until(lambda: points(run.store) != [] and laps(run.store) != [], "there is something to tell", 120)
    assert beats(run.store)["trainer"].state == report(run.store)["state"] == "training"
    run.store.request_checkpoint()
    wait_until(lambda: run.objects.find(HISTORY) is not None, "the history is up", 120)
    process.kill()
    process.wait(60)
    before = decode_history(run.objects.get(HISTORY)[0])
    (lap,) = before.laps
    assert (lap.version, lap.time) == (0, yours.lap.time)
    assert lap.sectors == pytest.approx(yours.sectors, abs=0.05)
    assert list(before.traces) == ["human"]
    assert {point.life for point in before.points} == {0}

    (tmp_path / "new").mkdir()
    new = Run(tmp_path / "new", s3)
    try:
        put_track(new.store, track_hash(track_text(TRACK)), track_text(TRACK))
        # As its receiver brought it back, and what came then.
        new.store.add_batches(batches)
        assert new.start_process(config).wait(300) == ExitCode.OK
        after = history_of(new.store)
        beat, told = beats(new.store)["trainer"], report(new.store)
    finally:
        new.close()
    assert after.points[: len(before.points)] == before.points
    assert [point.life for point in after.points[len(before.points) :]] == [1]
    last = after.points[-1]
    assert last.steps == sum(batch.steps for batch in batches)
    assert last.values["drive/policy_lap_s"] == pytest.approx(policys.lap.time, abs=0.002)
    newest, oldest = after.laps
    assert oldest == lap
    assert (newest.version, newest.time, newest.steps) == (1, policys.lap.time, last.steps)
    assert (beat.state, told["state"], told["steps"]) == ("done", "done", last.steps)
    assert after.traces["human"] == before.traces["human"]
    assert after.traces["best"] == after.traces["newest"]
    best = after.traces["best"]
    assert [best.time, best.metres[-1]] == pytest.approx([policys.lap.time, TRACK.length], abs=0.01)
    assert decode_history(new.objects.get(HISTORY)[0]) == after
