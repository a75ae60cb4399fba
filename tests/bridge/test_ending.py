"""However a drive ends, also by a car that fails, what was collected is delivered; and a refusal stays what it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.drive import Drive, PolicyDriver
from bridge.exchange import Introduction
from bridge.garage import LAYOUT
from bridge.link import Link
from bridge.recorder import Recorder
from bridge.refusal import Refused
from bridge.spool import Spool
from racing.car import Controls
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import ACTION_SIZE, OBSERVATION_SIZE, Task, TaskConfig, task_signature
from racing.track import Track
from tests.support.policies import weights_update
from tests.support.wire_server import WireServer
from wire.codec import decode_batch
from wire.process import ExitCode

SIGNATURE = task_signature(TaskConfig())
STEPS_BEFORE_THE_FAILURE = 30


class FailingCar(SimulatedCar):
    """A car that takes no controls any more after a while, as one whose game was closed."""

    applied = 0
    closed = False

    def apply(self, controls: Controls) -> None:
        self.applied += 1
        if self.applied > STEPS_BEFORE_THE_FAILURE:
            raise ConnectionResetError("the game is gone")
        super().apply(controls)

    def close(self) -> None:
        self.closed = True
        super().close()


def test_a_car_that_fails_to_the_last_loses_no_step_and_leaves_nothing_open(tmp_path: Path) -> None:
    track = Track.generate(7, 1200.0)
    car = FailingCar(track, seed=1)
    introduction = Introduction(SIGNATURE, OBSERVATION_SIZE, ACTION_SIZE, False, 1, "test")
    with WireServer() as server, Spool(tmp_path) as spool:
        server.greeting = [weights_update(SIGNATURE, 1)]
        link = Link(server.pairing, spool, introduction)
        recorder = Recorder(spool, LAYOUT, 1, on_commit=link.notify, flush_seconds=60.0)
        driver = PolicyDriver(VectorDriving(car, Task(track)), link, recorder, real_time=False, seed=1)
        link.start()
        with pytest.raises(ConnectionResetError):
            Drive(driver, car, link, recorder, threading.Event()).run()
        stored = sum(decode_batch(blob).steps for blob in server.stored[spool.stream])
    assert stored == STEPS_BEFORE_THE_FAILURE
    assert car.closed
    assert not any(thread.name in ("link", "recorder") for thread in threading.enumerate())


def test_a_refusal_passes_through_a_context_manager_as_itself() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield

    with pytest.raises(Refused, match="Not you") as told, around():
        raise Refused("Not you.")
    assert told.value.exit_code is ExitCode.REFUSED
