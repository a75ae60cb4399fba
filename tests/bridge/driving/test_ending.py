"""However a drive ends, also by a car that fails, what was collected is delivered; and a refusal stays what it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.driving.drive import Drive
from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.link.refusal import Refused
from bridge.spool import Spool
from experience import environment
from experience.codec import decode_batch
from experience.policy_driver import PolicyDriver
from experience.recorder import Recorder
from racing.car import Controls
from racing.driving import Step, VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task
from racing.track import Track
from runtime.exit_codes import ExitCode
from tests.support.policies import weights_update
from tests.support.wire_server import WireServer

RACING = environment.racing()
SIGNATURE, LAYOUT = RACING.signature, RACING.spaces.layout
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


class HoldingDriver(PolicyDriver):
    """Holds each step back until the next one, as the game's driver does; after a while its car is no good any more."""

    def __init__(self, driving: VectorDriving, link: Link, recorder: Recorder, real_time: bool, seed: int) -> None:
        super().__init__(driving, link, recorder, real_time, seed)
        self.to_record = recorder
        self.held: tuple[Float32Array, Step] | None = None

    def step(self) -> Step | None:
        """Drive a step and record the one before it."""
        observation = self._observation
        step = self._driving.step(self._neutral)
        self._observation = step.observation
        self._hand_over()
        self.held = (observation, step)
        return step

    def finish(self) -> None:
        """Hand over what is held back."""
        self._hand_over()

    def _hand_over(self) -> None:
        held, self.held = self.held, None
        if held is not None:
            self.to_record.record(*held, 1)


@dataclass
class Prepared:
    """A drive of a failing car for a receiver."""

    drive: Drive
    car: FailingCar
    server: WireServer
    spool: Spool

    def stored(self) -> int:
        """Steps that the receiver has."""
        return sum(decode_batch(blob).steps for blob in self.server.stored[self.spool.stream])


@contextmanager
def prepared(folder: Path, kind: type[PolicyDriver], steps: int | None = None) -> Iterator[Prepared]:
    track = Track.generate(7, 1200.0)
    car = FailingCar(track, seed=1)
    introduction = Introduction(RACING, False, 1, "test")
    with WireServer() as server, Spool(folder) as spool:
        server.greeting = [weights_update(SIGNATURE, 1)]
        link = Link(server.pairing, spool, introduction)
        recorder = Recorder(
            spool, RACING.spaces.layout, 1, on_commit=link.notify, flush_seconds=60.0 if steps is None else 0.1
        )
        driver = kind(VectorDriving(car, Task(track)), link, recorder, real_time=False, seed=1)
        link.start()
        yield Prepared(Drive(driver, car.close, link, recorder, threading.Event(), steps), car, server, spool)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PolicyDriver, HoldingDriver])
def test_a_car_that_fails_to_the_last_loses_no_step_and_leaves_nothing_open(
    tmp_path: Path, kind: type[PolicyDriver]
) -> None:
    before = set(threading.enumerate())
    with prepared(tmp_path, kind) as given:
        with pytest.raises(ConnectionResetError):
            given.drive.run()
        assert given.stored() == STEPS_BEFORE_THE_FAILURE
    assert given.car.closed
    assert not {thread.name for thread in set(threading.enumerate()) - before} & {"link", "recorder", "display"}


@pytest.mark.slow
def test_a_car_that_fails_after_its_last_step_ends_the_drive_in_order(tmp_path: Path) -> None:
    with prepared(tmp_path, HoldingDriver, STEPS_BEFORE_THE_FAILURE) as given:
        assert given.drive.run() is ExitCode.OK
        assert given.stored() == STEPS_BEFORE_THE_FAILURE
    assert given.car.closed


def test_a_refusal_passes_through_a_context_manager_as_itself() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield

    with pytest.raises(Refused, match="Not you") as told, around():
        raise Refused("Not you.")
    assert told.value.exit_code is ExitCode.REFUSED
