"""Trainers that are killed, terminated and started again, with what was driven and what was demonstrated."""

import os
import signal

import pytest
from safetensors.numpy import load

from runtime.exit_codes import ExitCode
from tests.support.experience import incoming
from tests.support.moto_s3 import s3
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.trainer.saving.manifest import find_newest

__all__ = ["run", "s3"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can answer")
@pytest.mark.slow
def test_a_killed_and_a_terminated_trainer_leave_the_same_run_behind(run: Run) -> None:
    config = run.config(total_timesteps=600, save_frequency=100)
    run.store.add_batches(incoming(range(1, 14)))
    process = run.start_process(config)
    wait_until(lambda: run.saved_steps() >= 260, "a checkpoint is up", 90)
    process.kill()
    process.wait(120)
    saved = run.counters()

    run.store.add_batches(incoming(range(1, 21)))
    process = run.start_process(config)
    wait_until(lambda: run.trained() == 400, "the resumed trainer catches up", 90)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == ExitCode.OK
    assert run.rebuilt_digest() == saved.replay_digest
    saved = run.counters()
    assert saved.steps == 400

    run.store.add_batches(incoming(range(1, 31)))
    assert run.start_process(config).wait(120) == ExitCode.OK
    assert run.rebuilt_digest() == saved.replay_digest
    done = run.counters()
    assert (done.steps, done.updates, done.laps, done.episodes) == (600, 250, 30, 30)
    assert done.resumes == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sac", "tqc", "crossq", "xqc"])
def test_a_killed_trainer_goes_on_with_all_that_was_demonstrated(run: Run, method: str) -> None:
    settings = {"total_timesteps": 480, "save_frequency": 100, "buffer_size": 120, "demonstration_updates": 1.0}
    config = run.config(method=method, **settings)
    shown = {1, 2, 3, 8, 16, 21}
    run.store.add_batches(incoming(range(1, 14), demonstrated=shown))
    process = run.start_process(config)
    wait_until(lambda: run.saved_steps() >= 260, "a checkpoint is up", 180)
    process.kill()
    process.wait(120)
    saved = run.counters()
    assert (saved.steps, saved.demonstrations) == (260, 80)
    assert 0 < saved.updates <= (180 + 80 - 100) / 2, "demonstrations owe none, and learning begins the sooner"

    run.store.add_batches(incoming(range(1, 31), demonstrated=shown))
    assert run.start_process(config).wait(240) == ExitCode.OK
    assert run.rebuilt_digest() == saved.replay_digest
    done = run.counters()
    assert (done.steps, done.demonstrations, done.updates, done.laps) == (600, 120, 240, 24)
    found = find_newest(run.objects).checkpoint
    assert found is not None
    assert len(load(found.files["demonstrations.safetensors"])["rows"]) == 120
    metrics = run.metrics()
    assert (metrics["demonstrations"], metrics["trained_steps"], metrics["steps_left"]) == (120, 480, 0)
    assert "demonstrations=120" in run.log.read_text()


@pytest.mark.slow
def test_from_the_first_demonstration_on_there_are_more_updates_a_step(run: Run) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config(demonstration_updates=4.0))
    wait_until(lambda: run.store.progress().updates == 50, "half an update for each step from the hundredth on")
    run.store.add_batches(incoming(range(1, 12), demonstrated={11}))
    wait_until(lambda: run.store.progress().consumed_steps == 220, "the demonstration is taken in")
    run.store.add_batches(incoming(range(1, 22), demonstrated={11}))
    assert ending.result(300) == ExitCode.OK
    counters = run.counters()
    assert (counters.driven, counters.demonstrations, counters.updates) == (400, 20, 50 + 200 * 2)
