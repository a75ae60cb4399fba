"""A run from its first weights to DONE, and through every way of being interrupted."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from experience.environment import racing
from racing.policy import Policy
from runtime.exit_codes import ExitCode
from tests.support.experience import STREAM, incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.small_disk import SmallDisk
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.bridge_table import BridgeStanding, put_standings
from train_cloud.environment import task_config
from train_cloud.trainer import session
from train_cloud.trainer.ingest import BATCHES_A_READ
from train_cloud.trainer.loop import Trainer

__all__ = ["run", "s3"]


def test_the_first_weights_come_before_any_experience(run: Run) -> None:
    config = run.config()
    ending = run.start(config)
    wait_until(lambda: run.store.latest_weights() is not None, "weights are published")
    row = run.store.latest_weights()
    assert row is not None
    policy = Policy.from_bytes(row.blob, racing(task_config(config)).signature)
    assert policy.version == row.version == 1
    run.stop.set()
    assert ending.result(300) == ExitCode.OK


def test_a_run_is_trained_to_its_end_and_marked_done(run: Run) -> None:
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    counters = run.counters()
    assert (counters.steps, counters.updates) == (400, 150)
    assert json.loads(run.objects.get("DONE")[0])["steps"] == 400
    progress = run.store.progress()
    assert (progress.trained_steps, progress.consumed_steps, progress.updates, progress.state) == (
        400,
        400,
        150,
        "done",
    )
    metrics = run.metrics()
    assert metrics["state"] == "done"
    assert metrics["laps"] == 20
    assert metrics["best_lap_s"] == pytest.approx(99.8)
    assert metrics["steps_left"] == 0
    assert metrics["checkpoint_steps"] == json.loads(run.objects.get("DONE")[0])["checkpoint_steps"] == 400


@pytest.mark.slow
def test_a_finished_run_leaves_its_curves_its_boot_and_its_story(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (run.folder / "boot_steps").write_text("address\t2.5\n")
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config(final_report=True)).result(300) == ExitCode.OK
    names = run.objects.list("tensorboard/")
    assert len(names) == 1
    local = run.folder / names[0]
    assert b"drive/laps" in local.read_bytes()
    assert local.read_bytes().startswith(run.objects.get(names[0])[0])
    steps = run.metrics()["boot_seconds"]
    assert isinstance(steps, dict)
    assert list(steps) == ["address", "first_gradient"]
    told = [record.fields for record in caplog.records if record.getMessage() == "done" and hasattr(record, "fields")]
    assert told[0]["done"] == "400/400"
    assert {"laps", "clean", "best_lap_s", "mean_reward", "actor_loss", "critic_loss", "entropy_coefficient"} <= set(
        told[0]
    )
    assert {"metres_an_episode", "metres_trend"} <= set(told[0])
    *_, done, reported, model, table, report, picture = (record.getMessage() for record in caplog.records)
    assert (done, reported) == ("the run is done", "the report is in the bucket")
    assert report.startswith("the report: `make report RUN=run.json`")
    assert model.startswith("the model: `make fetch RUN=run.json` brings it into a folder of models/test-run/")
    assert table.startswith("the table: `make status RUN=run.json`")
    assert "-m scripts.lap TRACK --policy models/test-run/STEPS/policy.safetensors --picture lap.png" in picture


def test_without_a_bridge_it_says_where_the_pairing_string_is(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ending = run.start(run.config())
    told = f"no bridge is connected: waiting for one; {run.folder / 'pairing.txt'} holds the pairing string"
    wait_until(lambda: told in caplog.text, "the pairing is named", 30)
    run.stop.set()
    assert ending.result(30) == ExitCode.OK
    assert caplog.text.count(told) == 1
    caplog.clear()
    bridge = BridgeStanding(STREAM, "pc", "collect", "test", connected=True, heard_at=1.0)
    put_standings(run.store, [bridge])
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(60) == ExitCode.OK
    assert "no bridge is connected" not in caplog.text


def test_training_follows_the_experience_at_the_wanted_ratio(run: Run) -> None:
    ending = run.start(run.config())
    for last in (3, 8, 12):
        run.store.add_batches(incoming(range(1, last + 1)))
        wait_until(lambda: run.trained() == 20 * last, "the trainer catches up", 30)  # noqa: B023 - used at once
        assert run.store.progress().updates == max(0, 20 * last - 100) // 2
    assert not ending.done()


def test_a_done_run_says_so_and_is_not_trained(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.objects.put("DONE", b"{}")
    caplog.set_level("INFO")
    run.store.add_batches(incoming([1]))
    assert run.start(run.config()).result(300) == ExitCode.OK
    assert "done already" in caplog.text
    assert run.store.latest_weights() is None
    assert run.store.progress().state == "done"


@pytest.mark.slow
def test_a_finished_run_goes_on_when_more_steps_are_asked_for(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    run.store.add_batches(incoming(range(21, 31)))
    assert run.start(run.config(total_timesteps=600)).result(300) == ExitCode.OK
    assert "the run had finished and goes on" in caplog.text
    counters = run.counters()
    assert (counters.steps, counters.updates, counters.resumes) == (600, 250, 1)
    assert json.loads(run.objects.get("DONE")[0])["total_timesteps"] == 600
    assert run.start(run.config(total_timesteps=500)).result(300) == ExitCode.OK
    assert run.counters().resumes == 1, "all that is asked for is trained"


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_same_counters_and_newer_weights(run: Run) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 30)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    stopped = run.counters()
    assert (stopped.steps, stopped.updates, stopped.consumed, stopped.resumes) == (200, 50, {STREAM: 10}, 0)
    assert (run.metrics()["state"], run.metrics()["checkpoint_steps"]) == ("stopped", 200)

    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    done = run.counters()
    assert (done.steps, done.updates, done.laps, done.resumes) == (400, 150, 20, 1)
    assert done.weights_version > stopped.weights_version
    assert done.seconds > stopped.seconds


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "learning_starts", "more"), [(2.0, 100, 200), (0.1, 100, 10), (0.5, 300, 50)])
def test_other_settings_count_from_where_the_run_stands(
    run: Run, ratio: float, learning_starts: int, more: int
) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 30)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    before = run.counters().updates

    ending = run.start(run.config(updates_per_step=ratio, learning_starts=learning_starts))
    wait_until(lambda: run.store.progress().state == "training", "the run goes on", 30)
    run.store.add_batches(incoming(range(11, 16)))
    wait_until(lambda: run.trained() == 300, "what is there is learned", 30)
    assert run.store.progress().updates == before + more
    run.stop.set()
    assert ending.result(300) == ExitCode.OK


@pytest.mark.slow
def test_updates_owed_beyond_the_cap_are_forgiven_and_the_run_ends_soon(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    # 2,500 updates are asked for at once, 2,000 more at the end; all that comes at once is read at once.
    config = run.config(total_timesteps=1_000, updates_per_step=5.0, max_updates_owed=50, max_lead_steps=1)
    run.store.add_batches(incoming(range(1, 31)))
    ending = run.start(config)
    wait_until(lambda: run.trained() == 600, "what is there is learned, as far as it has to be", 60)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    stopped = run.counters()
    assert (stopped.updates, stopped.forgiven_updates) == (50, 2_450)
    assert "updates are forgiven" in caplog.text

    ending = run.start(config)
    wait_until(lambda: run.store.progress().state == "training", "the run goes on", 60)
    assert run.store.progress().updates == 50, "nothing is owed again"
    run.store.add_batches(incoming(range(31, 51)))
    assert ending.result(300) == ExitCode.OK
    done = run.counters()
    assert (done.steps, done.updates, done.forgiven_updates) == (1_000, 100, 4_400)
    metrics = run.metrics()
    assert (metrics["forgiven_updates"], metrics["update_ratio_in_all"]) == (4_400, round(100 / 4_500, 3))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"method": "tqc"}, {"network": [32]}, {"critic_network": [8]}])
def test_another_method_or_network_is_refused_in_a_sentence(
    run: Run, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    run.start(run.config())
    wait_until(lambda: run.store.latest_weights() is not None, "the trainer is at work", 30)
    run.store.request_checkpoint()
    wait_until(lambda: run.objects.list("checkpoints/LATEST") != [], "a checkpoint is up", 30)
    run.stop.set()
    wait_until(lambda: run.store.progress().state == "stopped", "it has stopped", 30)
    assert run.start(run.config(**change)).result(300) == ExitCode.FAILED
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "it was made by method sac, network [16, 16] and critic_network [16, 16], and run.json asks for" in said
    assert len(said) < 500


def test_a_checkpoint_that_is_asked_for_is_saved_at_once(run: Run) -> None:
    run.store.request_checkpoint()
    run.store.add_batches(incoming(range(1, 8)))
    ending = run.start(run.config(save_frequency=10**6))
    wait_until(lambda: run.trained() == 140, "what is there is learned", 30)
    assert run.saved_steps() == 0, "what was asked of an earlier trainer is no request to this one"
    run.store.request_checkpoint()
    wait_until(lambda: run.saved_steps() == 140, "the checkpoint is up")
    assert not ending.done()


def test_a_missing_gpu_is_told_before_anything_begins(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    assert run.start(run.config(device="cuda:99")).result(300) == ExitCode.USAGE
    assert "'cuda:99'" in caplog.text
    assert run.store.latest_weights() is None


def test_a_full_disk_has_an_exit_code_of_its_own(run: Run, tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        (disk.folder / "store.db").touch()
        disk.fill()
        assert session.train_run(run.config(), disk.folder, run.stop) == ExitCode.DISK_FULL


def test_versions_are_never_used_twice_even_if_the_checkpoint_is_behind(run: Run) -> None:
    run.store.put_weights(41, b"published by the instance before", "0" * 64)
    run.start(run.config())
    wait_until(lambda: newest_version(run) != 41, "weights are published")
    assert newest_version(run) == 42


@pytest.mark.slow
def test_experience_of_a_lost_instance_that_comes_again_is_not_counted_again(
    run: Run, tmp_path: Path, s3: MotoS3
) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 30)
    run.stop.set()
    ending.result(300)

    (tmp_path / "new").mkdir()
    new = Run(tmp_path / "new", s3)
    new.store.add_batches(incoming(range(1, 7)))
    ending = new.start(new.config())
    wait_until(lambda: new.store.latest_weights() is not None, "the new instance trains", 30)
    new.store.add_batches(incoming(range(7, 21)))
    assert ending.result(300) == ExitCode.OK
    assert new.counters().steps == 400
    assert new.counters().laps == 20


@pytest.mark.slow
def test_learning_resumes_only_with_the_whole_replay_buffer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = 2 * BATCHES_A_READ + 10
    config = run.config(total_timesteps=20 * batches + 100, learning_starts=20 * batches, save_frequency=10**6)
    run.store.add_batches(incoming(range(1, batches + 1)))
    ending = run.start(config)
    wait_until(lambda: run.trained() == 20 * batches, "everything is taken in", 30)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK

    held: list[int] = []
    update = Trainer._update

    def noting(trainer: Trainer) -> int:
        held.append(trainer.learner.figures().replay_rows)
        return update(trainer)

    monkeypatch.setattr(Trainer, "_update", noting)
    run.store.add_batches(incoming(range(1, batches + 6)))
    assert run.start(config).result(300) == ExitCode.OK
    assert min(held) >= 20 * batches


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="systemd's socket is a Unix one")
def test_systemd_hears_of_every_phase(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.store.set_meta("ready", "0")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(run.folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(run.folder / "notify"))

        def hear(wanted: str) -> None:
            while wanted not in manager.recv(4096).decode():
                pass

        ending = run.start(run.config())
        hear("STATUS=asking whether the run is done")
        hear("STATUS=waiting for the receiver to restore the store")
        run.store.set_ready()
        hear("READY=1")
        hear("STATUS=training: 0 of 400 steps")
        hear("WATCHDOG=1")
        run.store.add_batches(incoming(range(1, 21)))
        hear("STATUS=done: 400 of 400 steps, 20 laps")
        assert ending.result(300) == ExitCode.OK
        run.start(run.config())
        hear("READY=1\nWATCHDOG=1\nSTATUS=the run is done: nothing to train")


def newest_version(run: Run) -> int:
    row = run.store.latest_weights()
    return row.version if row else 0


def test_a_wrong_configuration_is_told_before_anything_is_loaded(run: Run) -> None:
    (run.folder / "run.json").write_text('{"run_id": "x", "speed": 3}')
    command = [sys.executable, "-m", "train_cloud.trainer", "--config", str(run.folder / "run.json"), "--folder", "."]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == ExitCode.USAGE
    assert "unknown field `speed`" in ended.stderr
