"""Chunks between the link and the control thread."""

from collections.abc import Callable

from bridge.stream.chunks import Chunks
from bridge.stream.driven import ChunkDriver, SeenStates
from bridge.stream.frames import FrameMaker
from racing.driving import Step, VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task
from racing.track import Track
from wire.messages import ControlChunk


class Paused:
    """A driver whose game is paused each time before the step that it has chosen an action for is over."""

    over, version = False, 1

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def waits_for(self) -> str | None:
        return None

    def step(self) -> Step | None:
        self._act()
        return None

    def finish(self) -> None:
        pass


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
    observation, chunks = driving.reset(), Chunks(0.05, now=lambda: 0.0)
    chunks.begin(driving.state)
    paused = Paused(lambda: chunks.act(observation))
    afar = ChunkDriver(paused, SeenStates(chunks), chunks, FrameMaker(track), lambda _: None, linked=lambda: True)

    assert afar.step() is None

    assert chunks.take_played(0.0, 0.0) is None
