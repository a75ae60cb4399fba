"""What a bridge drives without exploration is a judgement; everything else in the stream is none."""

from dataclasses import replace

import numpy as np
import pytest

from experience.batches import Batch
from experience.codec import EpisodeRecord
from experience.environment import racing
from experience.policy_driver import LAPS, PolicyDriver
from experience.recorder import Recorder
from racing.driving import VectorDriving
from racing.evaluation import Judgement, judge, policy_actions
from racing.policy import Policy
from racing.policy_file import to_judge
from racing.simulator import SimulatedCar
from racing.task import Task
from tests.support.experience import STREAM, made_up_batch
from tests.support.in_memory import BatchesInMemory, RunInMemory
from tests.support.judged import SIGNATURE, TRACK, checkpoint
from train_cloud.run_folder.keys import POLICY
from train_cloud.trainer.judging.laps import LapsOfVersion

LAYOUT = racing().spaces.layout
HZ = 20.0


def driven(laps: bool, steps: int) -> list[Batch]:
    """What a real driver records in so many steps, of a policy to judge as version 8 and then of version 7."""
    file = checkpoint(100, laps).files[POLICY]
    marked = Policy.from_bytes(to_judge(file, 8), SIGNATURE)
    run, sink = RunInMemory(replace(Policy.from_bytes(file, SIGNATURE), version=7), marked), BatchesInMemory(LAYOUT)
    recorder = Recorder(sink, LAYOUT, 1, flush_steps=100)
    # Not in real time, but as if.
    driving = VectorDriving(SimulatedCar(TRACK, 1, start="line"), Task(TRACK))
    driver = PolicyDriver(driving, run, recorder, real_time=True, seed=1)
    for _ in range(steps):
        while not recorder.ready():
            pass
        assert driver.step() is not None
    recorder.close()
    return sink.stored


def judgement_of(batches: list[Batch], version: int = 8) -> Judgement | None:
    laps = LapsOfVersion(HZ)
    laps.follow(version)
    found = [laps.read(STREAM, batch) for batch in batches]
    return next(filter(None, found), None)


@pytest.mark.slow
def test_the_laps_of_a_judged_version_are_what_the_simulator_says_of_it() -> None:
    batches = driven(laps=True, steps=1_000)
    versions = np.concatenate([batch.policy_versions for batch in batches])
    assert set(versions.tolist()) == {7, 8}
    assert (np.diff(versions.astype(int)) <= 0).all(), "judged for some laps at once, and then no more"
    found = judgement_of(batches)
    assert found is not None
    policy = Policy.from_bytes(checkpoint(100, True).files[POLICY], SIGNATURE)
    alone = judge(policy_actions(policy), TRACK, 1, LAPS)
    assert (found.clean, found.ends) == ((LAPS,), ("",)) == (alone.clean, alone.ends)
    assert found.best == pytest.approx(alone.best, rel=0.02)
    assert found.metres == pytest.approx(alone.metres, rel=0.05)


@pytest.mark.slow
def test_a_judged_drive_ends_with_its_episode() -> None:
    found = judgement_of(driven(laps=False, steps=300))
    assert found is not None
    assert found.clean == (0,)
    assert found.ends[0] in ("off_track", "stalled", "crash")
    assert found.best is None


@pytest.mark.slow
def test_of_another_version_nothing_is_judged() -> None:
    batches = driven(laps=False, steps=300)
    assert judgement_of(batches, version=9) is None
    assert LapsOfVersion(HZ).read(STREAM, batches[0]) is None, "nothing was asked for"


@pytest.mark.parametrize("reason", ["interrupted", "stopped", "start"])
def test_what_no_policy_is_to_blame_for_is_no_judgement(reason: str) -> None:
    batch = made_up_batch(1, run_lengths=(12, 8))
    mine = np.where(np.arange(20) < 12, 8, 7).astype(np.uint32)
    assert judgement_of([replace(batch, policy_versions=mine, laps=())]) is not None
    broken = replace(batch, policy_versions=mine, laps=(), episodes=(EpisodeRecord(11, 12, 0.0, reason),))
    assert judgement_of([broken]) is None


def test_several_cars_are_several_starts() -> None:
    batch = made_up_batch(1, run_lengths=(12, 8, 5))
    all_mine = replace(batch, policy_versions=np.full(25, 8, np.uint32), laps=())
    laps = LapsOfVersion(HZ)
    laps.follow(8)
    assert laps.read(STREAM, all_mine) is None, "the last car drives on"
    other = replace(made_up_batch(2, run_lengths=(4,)), run_cars=np.array([2], np.int32), laps=())
    found = laps.read(STREAM, replace(other, policy_versions=np.array([8, 8, 7, 7], np.uint32)))
    assert found is not None
    assert found.clean == (0, 0, 0)
    assert found.ends == ("off_track", "off_track", "")
