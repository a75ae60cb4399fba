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
from runtime.exit_codes import ExitCode
from scripts.cloud.status import status
from tests.support.driven_laps import TrueLap, drive_laps
from tests.support.experience import STREAM
from tests.support.moto_s3 import s3
from tests.support.operated import command_line
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.run_folder import files
from train_cloud.store import IncomingBatch

__all__ = ["run", "s3"]

LAYOUT = racing().spaces.layout


def demonstrated_and_driven(folder: Path) -> tuple[list[IncomingBatch], list[TrueLap], int]:
    """Three laps of the reference driver, as a human's until the middle of the second, and then a policy's.

    The last is the number of the policy's steps.
    """
    track = parse_track("seed:7:1200")
    batches, true = drive_laps(folder, track, reference_actions(ReferenceDriver(track)), 3)
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
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third lap is begun before a SIGKILL and ends after it."""
    batches, true, policys_steps = demonstrated_and_driven(tmp_path / "driven")
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
