"""Chunks between the link and the control thread."""

from bridge.stream.chunks import Chunks
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task
from racing.track import Track
from wire.messages import ControlChunk


def test_it_is_said_where_an_action_is_the_watchdogs() -> None:
    track = Track.generate(7, 1200.0)
    driving = VectorDriving(SimulatedCar(track, start="line"), Task(track))
    observation, now = driving.reset(), float(driving.state.time[0])
    chunks = Chunks(0.05, now=lambda: 0.0)
    chunks.begin(driving.state)
    chunks.act(observation)
    assert chunks.silent
    chunks.hear(ControlChunk(1, now, now, 0.05, ((0.1, 0.2),), now + 1.0, 3))
    chunks.act(observation)
    assert not chunks.silent


def test_what_was_played_for_a_step_that_was_not_driven_is_not_the_next_episodes() -> None:
    track = Track.generate(7, 1200.0)
    driving = VectorDriving(SimulatedCar(track, start="line"), Task(track))
    observation, state = driving.reset(), driving.state
    chunks = Chunks(0.05, now=lambda: 0.0)
    now = float(state.time[0])
    chunks.begin(state)
    chunks.hear(ControlChunk(1, now, now, 0.05, ((0.1, 0.2),), now + 1.0, 3))
    chunks.act(observation)
    # The game was paused before the step was over: nobody takes it.
    chunks.begin(state)

    assert chunks.take_played(0.0, 0.0) is None
