"""The policy's driver needs no link and no spool: a view of a run and a recorder with any sink will do."""

from dataclasses import replace

import numpy as np
import pytest

from experience import environment
from experience.chunks import Chunk
from experience.codec import Column, Layout
from experience.policy_driver import LAPS, CheckedActions, PolicyDriver
from experience.recorder import Recorder
from racing.driving import Lap, VectorDriving
from racing.policy import Policy
from racing.simulator import SimulatedCar
from racing.task import ACTION_SIZE, ACTION_STEP, OBSERVATION_SIZE, OBSERVATION_STEP, Task
from racing.track import Track
from tests.support.in_memory import BatchesInMemory, RunInMemory
from tests.support.policies import following_policy

LAYOUT = Layout(Column(OBSERVATION_SIZE, step=OBSERVATION_STEP), Column(ACTION_SIZE, step=ACTION_STEP))
SIGNATURE = environment.racing().signature
CARS = 3


def driving() -> VectorDriving:
    track = Track.generate(7, 1200.0)
    return VectorDriving(SimulatedCar(track, count=CARS, seed=1), Task(track))


def policy(version: int) -> Policy:
    return Policy.from_bytes(following_policy(SIGNATURE, version), SIGNATURE)


@pytest.mark.slow
def test_experience_is_made_of_a_view_of_the_run_alone() -> None:
    run, sink = RunInMemory(), BatchesInMemory(LAYOUT)
    recorder = Recorder(sink, LAYOUT, CARS)
    driver = PolicyDriver(driving(), run, recorder, real_time=False, seed=1)
    assert driver.waits_for() == "the first policy"
    assert driver.step() is None
    run.policy = policy(3)
    for _ in range(50):
        assert driver.waits_for() is None
        assert driver.step() is not None
    run.lead_steps, run.max_lead_steps = 100, 100 + recorder.pending_steps
    assert driver.waits_for() is None
    run.lead_steps = 101 + recorder.collected_steps
    assert driver.waits_for() == "the trainer"
    run.done = True
    assert driver.step() is None
    driver.finish()
    recorder.close()
    assert [sink.steps_of_car(car) for car in range(CARS)] == [50] * CARS
    assert all((batch.policy_versions == 3).all() for batch in sink.stored)


def broken(version: int) -> Policy:
    """A policy that gave actions when it was read, and gives NaN now."""
    made = policy(version)
    layer = made.layers[-1]
    assert isinstance(layer, tuple)
    layer.bias[:] = np.nan
    return made


@pytest.mark.slow
def test_where_a_policy_gives_no_action_the_one_before_drives(caplog: pytest.LogCaptureFixture) -> None:
    run, sink = RunInMemory(policy(1)), BatchesInMemory(LAYOUT)
    recorder = Recorder(sink, LAYOUT, CARS)
    driver = PolicyDriver(driving(), run, recorder, real_time=False, seed=1)
    for newest in (run.policy, broken(2), policy(3)):
        run.policy = newest
        for _ in range(10):
            assert driver.step() is not None
    recorder.close()
    versions = np.concatenate(
        [batch.policy_versions[batch.run_cars.repeat(batch.run_lengths) == 0] for batch in sink.stored]
    )
    assert versions.tolist() == [1] * 20 + [3] * 10
    assert caplog.text.count("gave a number that is no action") == 1


@pytest.mark.slow
def test_without_a_policy_before_nobody_steers_and_nothing_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    run, sink = RunInMemory(broken(1)), BatchesInMemory(LAYOUT)
    recorder = Recorder(sink, LAYOUT, CARS)
    driver = PolicyDriver(driving(), run, recorder, real_time=False, seed=1)
    assert [driver.step() for _ in range(10)] == [None] * 10
    run.policy = policy(2)
    assert driver.step() is not None
    recorder.close()
    assert caplog.text.count("gave a number that is no action") == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_between_two_steps_of_an_episode_an_observation_is_one_array(seed: int) -> None:
    drive, chunk = driving(), Chunk(600, CARS, LAYOUT)
    observation, random, ends = drive.reset(), np.random.default_rng(seed), []
    for k in range(600):
        step = drive.step(random.uniform(-1.0, 1.0, (CARS, ACTION_SIZE)).astype(np.float32))
        chunk.add(observation, step, 1)
        observation = step.observation
        ends += [k] if step.episodes else []
    assert ends
    assert list(chunk.apart) == [k for k in ends if k < 599]


@pytest.mark.slow
def test_a_policy_to_judge_drives_alone_from_an_episodes_begin_or_a_lap_for_some_laps_or_to_its_end() -> None:
    newest, judged = policy(1), policy(2)
    waiting: list[Policy | None] = [None]
    actions = CheckedActions(
        lambda: newest, np.random.default_rng(1), np.zeros((1, ACTION_SIZE), np.float32), lambda: waiting[0]
    )
    drive = VectorDriving(SimulatedCar(Track.generate(7, 1200.0), count=1, seed=1), Task(Track.generate(7, 1200.0)))
    observation = drive.reset()
    actions.begin()
    assert actions.choose(observation)[1] == 1
    waiting[0] = judged
    assert actions.choose(observation)[1] == 1, "in the middle of an episode nothing changes"
    actions.begin()
    actions.begin()  # An episode that ended before a policy drove takes nothing from it.
    for _ in range(3):
        chosen, version = actions.choose(observation)
        assert version == 2
        assert np.array_equal(chosen, judged.act(observation)), "without exploration"
    step = drive.step(chosen)
    actions.drove(replace(step, laps=(Lap(0, 60.0, True),) * (LAPS - 1)))
    assert actions.choose(observation)[1] == 2
    actions.drove(replace(step, laps=(Lap(0, 60.0, True),)))
    assert actions.choose(observation)[1] == 1, "its laps are driven"
    actions.begin()
    assert actions.choose(observation)[1] == 1, "nobody is judged twice"
    waiting[0] = policy(3)
    actions.begin()
    assert actions.choose(observation)[1] == 3
    actions.begin()
    assert actions.choose(observation)[1] == 1, "the episode is over"
    waiting[0] = policy(5)
    actions.drove(replace(step, laps=()))
    assert actions.choose(observation)[1] == 1, "in the middle of a lap nothing changes"
    actions.drove(replace(step, laps=(Lap(0, 60.0, True),)))
    assert actions.choose(observation)[1] == 5, "it takes over at the line"
    for _ in range(LAPS):
        assert actions.choose(observation)[1] == 5
        actions.drove(replace(step, laps=(Lap(0, 60.0, True),)))
    assert actions.choose(observation)[1] == 1, "its laps are driven, and the episode goes on"
    waiting[0] = broken(4)
    actions.begin()
    assert actions.choose(observation)[1] == 1, "what gives no action judges nothing"


@pytest.mark.slow
@pytest.mark.parametrize(("real_time", "cars"), [(False, 1), (True, 2)])
def test_simulated_cars_and_several_at_once_explore_all_the_time(real_time: bool, cars: int) -> None:
    run, sink = RunInMemory(policy(1), policy(2)), BatchesInMemory(LAYOUT)
    track = Track.generate(7, 1200.0)
    recorder = Recorder(sink, LAYOUT, cars)
    driver = PolicyDriver(VectorDriving(SimulatedCar(track, count=cars, seed=1), Task(track)), run, recorder, real_time)
    for _ in range(20):
        driver.step()
    recorder.close()
    assert {int(version) for batch in sink.stored for version in batch.policy_versions} == {1}
