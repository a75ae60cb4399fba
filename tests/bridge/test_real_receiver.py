"""The bridge against the real receiver process and a real S3 server: what was driven is what is stored, bit for bit."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.link.exchange import Introduction
from bridge.spool import Spool
from experience.codec import Batch
from experience.environment import racing
from racing.driving import VectorDriving
from racing.recorded_car import RecordedCar
from racing.task import Task, TaskConfig
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import bridge_process, stored_batches
from tests.support.fault_proxy import FaultProxy
from tests.support.learners import off_policy_learner, replay_of
from tests.support.links import check_back_within, running
from tests.support.moto_s3 import MotoS3, s3
from tests.support.policies import weights_update
from tests.support.real_data import real_data
from tests.support.receivers import ReceiverProcess, blob, receiver_process
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.run_config import RunConfig
from train_cloud.store import Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.ingest import Ingest
from train_cloud.trainer.learning.replay import PackedReplayBuffer

__all__ = ["s3"]

LAYOUT = racing().spaces.layout


def replayed(receiver: ReceiverProcess) -> PackedReplayBuffer:
    """The stored experience as a trainer takes it in; what nobody has looked through is no demonstration."""
    # Of one step, so that each row is what was driven.
    learner = off_policy_learner(run_config(network=[8], buffer_size=10_000, n_step=1), racing())
    store = Store(receiver.store_file)
    try:
        ingest = Ingest(store, learner, Counters(), racing().spaces.layout)
        while ingest.read():
            pass
    finally:
        store.close()
    assert learner.demonstrations is not None
    assert learner.demonstrations.size() == 0
    return replay_of(learner)


def publish(receiver: ReceiverProcess, config: RunConfig) -> None:
    """Do what the trainer does first: put a policy into the store."""
    weights = weights_update(racing(task_config(config)).signature, 1)
    store = Store(receiver.store_file)
    store.put_weights(weights.version, weights.blob, weights.sha256)
    store.close()


def config_of(s3: MotoS3, port: int = 0, **task: float) -> RunConfig:
    bucket = {"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url}
    return run_config(
        bucket=bucket,
        listen_host="127.0.0.1",
        listen_port=port,
        task=task,
        segment_seconds=0.5,
        # No trainer takes part.
        max_lead_steps=10**9,
    )


@pytest.mark.slow
def test_a_simulated_drive_is_stored_whole(s3: MotoS3, tmp_path: Path) -> None:
    config = config_of(s3)
    with receiver_process(config, tmp_path / "instance") as receiver:
        receiver.pairing()
        publish(receiver, config)
        with bridge_process(
            receiver, tmp_path, "drive", "--cars", "3", "--steps", "3000", "--track", "seed:7:1200"
        ) as bridge:
            assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored_batches(receiver, LAYOUT)
    assert sum(batch.steps for batch in batches) == 3000
    for car in range(3):
        firsts, lengths = [], []
        for batch in batches:
            mine = batch.run_cars == car
            firsts += batch.run_first_steps[mine].tolist()
            lengths += batch.run_lengths[mine].tolist()
        assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]
        assert sum(lengths) == 1000


@pytest.mark.slow
def test_the_recorded_laps_arrive_row_by_row_as_the_task_sees_them(s3: MotoS3, tmp_path: Path) -> None:
    laps_file, monza = real_data("telemetry/monza_25hz_two_laps.csv"), real_data("tracks/monza.csv")
    task = Task(parse_track(str(monza)), TaskConfig(control_hz=25.0))
    with receiver_process(config_of(s3, control_hz=25.0), tmp_path / "instance") as receiver:
        recorded = ["--car", "recorded", "--recording", str(laps_file), "--track", str(monza)]
        with bridge_process(receiver, tmp_path, "drive", *recorded) as bridge:
            assert bridge.wait(100) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches, replay = stored_batches(receiver, LAYOUT), replayed(receiver)
    car = RecordedCar(laps_file)
    driving = VectorDriving(car, task)
    observation = driving.reset()
    arrived, learned = _rows(batches), iter(replay.newest(replay.buffer_size))
    ends = 0
    for row in range(car.rows - 1):
        action = car.upcoming_action()
        step = driving.step(action)
        end = (step.terminated[0], step.truncated[0] or (car.at_gap and not step.episodes))
        expected = (observation[0], action[0], step.reward[0], step.next_observation[0], *end)
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(expected, next(arrived), strict=True)), row
        # What the trainer learns from: one row of everything, in which a truncated step goes on.
        assert np.array_equal(np.hstack(expected[:5]).astype(np.float32), next(learned)), row
        ends += any(end)
        observation = step.observation
    assert next(arrived, None) is None
    assert next(learned, None) is None
    assert sum(len(batch.episodes) for batch in batches) == ends
    laps = [lap for batch in batches for lap in batch.laps]
    assert len(laps) == 1
    assert 105.0 < laps[0].time < 135.0


def _rows(batches: list[Batch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        current, following = batch.current_observations(), batch.next_observations()
        for row in range(batch.steps):
            end = batch.terminated[row], batch.truncated[row]
            yield current[row], batch.actions[row], batch.rewards[row], following[row], *end


@pytest.mark.slow
def test_a_bridge_of_another_rate_is_refused_by_the_real_receiver(s3: MotoS3, tmp_path: Path) -> None:
    with (
        receiver_process(config_of(s3), tmp_path / "instance") as receiver,
        bridge_process(receiver, tmp_path, "drive", "--rate", "30") as bridge,
    ):
        assert bridge.wait(120) == ExitCode.REFUSED
    assert "Start the bridge with `--rate 20`" in (tmp_path / "bridge.log").read_text()


@pytest.mark.slow
def test_a_wrong_token_is_refused_by_the_real_receiver(s3: MotoS3, tmp_path: Path) -> None:
    with receiver_process(config_of(s3), tmp_path / "instance") as receiver:
        pairing = receiver.pairing()
        file = receiver.folder / "pairing.txt"
        file.write_text(file.read_text().replace(pairing.token, "x" * 30))
        with bridge_process(receiver, tmp_path, "drive") as bridge:
            assert bridge.wait(120) == ExitCode.REFUSED
    assert "does not accept this token" in (tmp_path / "bridge.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut", "black_hole"])
def test_a_bridge_is_back_at_the_real_receiver_within_two_seconds(s3: MotoS3, tmp_path: Path, fault: str) -> None:
    config = config_of(s3)
    introduction = Introduction(racing(task_config(config)), True, 1, "test")
    with ExitStack() as running_parts:
        pairing = running_parts.enter_context(receiver_process(config, tmp_path / "instance")).pairing()
        assert pairing.pin is not None
        proxy = running_parts.enter_context(FaultProxy((pairing.host, pairing.port)))
        spool = running_parts.enter_context(Spool(tmp_path / "spool"))
        pairing = replace(pairing, port=proxy.port)
        link = running_parts.enter_context(running(pairing, spool, introduction))
        wait_until(lambda: link.state.connected, "connected", 20.0)
        getattr(proxy, fault)()
        spool.append(blob(1), 20)
        link.notify()
        # The outage itself is as long as it takes to be noticed.
        wait_until(lambda: not link.state.connected, "the fault is noticed", 20.0)
        proxy.resume()
        check_back_within(2.0, link, pairing, tmp_path / "other", introduction)


@pytest.mark.slow
def test_a_bridge_outlives_a_killed_receiver(s3: MotoS3, tmp_path: Path) -> None:
    config = config_of(s3)
    folder = tmp_path / "instance"
    with ExitStack() as processes:
        receiver = processes.enter_context(receiver_process(config, folder))
        port = receiver.pairing().port
        bridge = processes.enter_context(
            bridge_process(receiver, tmp_path, "drive", "--steps", "2000", "--track", "seed:7:1200")
        )
        log = tmp_path / "bridge.log"
        wait_until(lambda: "linked" in log.read_text(), "the bridge is linked", 20.0)
        receiver.kill()
        config = config_of(s3, port)
        successor = processes.enter_context(receiver_process(config, folder))
        successor.pairing()
        publish(successor, config)
        assert bridge.wait(120) == ExitCode.OK, log.read_text()
        assert sum(batch.steps for batch in stored_batches(successor, LAYOUT)) == 2000
