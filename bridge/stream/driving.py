"""Puts together a drive by a driver in the cloud: a car as of `drive`, its frames, its chunks, its link."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from bridge.assetto_corsa.session import opened_session
from bridge.driving.drive import Drive, Driver
from bridge.driving.game_driver import GameDriver
from bridge.driving.garage import UNUSABLE, Settings, SettingsError, exit_code_of, simulated_seed, software, task_config
from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from bridge.stream.chunks import Chunks
from bridge.stream.driven import MOST_FRAMES, ChunkDriver, Ours, SeenStates
from bridge.stream.frames import FrameMaker
from bridge.stream.sinks import SIGNATURE, Newest, batch_of
from experience import environment
from experience.policy_driver import PolicyDriver
from racing.car import Car
from racing.clock import RealTimeClock
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task
from racing.track import parse_track
from racing.track_text import track_text
from wire.messages import Role
from wire.pairing import Pairing

_NO_EXPLORATION: Final = None
"""Noise is the driver's, in the cloud."""


@dataclass(frozen=True)
class _Afar:
    """The run as a PolicyDriver sees it whose policy acts elsewhere."""

    policy: Chunks
    to_judge = None
    done = False
    lead_steps = 0
    max_lead_steps = None


@contextmanager
def assembled_cloud_drive(
    pairing: Pairing,
    settings: Settings,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None = None,
) -> Iterator[Drive]:
    """A drive by a driver in the cloud that is ready to run, in real time.

    Of the settings, those of recordings, several cars and simulated links have no effect. Raises SettingsError, and
    Stopped as `opened_session` does.
    """
    config = task_config(settings.task, settings.rate)
    period = 1.0 / config.control_hz
    chunks = Chunks(period)
    seen, out = SeenStates(chunks), Newest(MOST_FRAMES)
    ours, clock = Ours(seen, out), RealTimeClock(period)
    car: Car
    driver: Driver
    with ExitStack() as closing:
        try:
            spool = closing.enter_context(Spool(settings.spool, settings.spool_limit_bytes))
            spool.bind_signature(SIGNATURE)
            if settings.game is None:
                track = parse_track(settings.track)
                car = SimulatedCar(track, seed=simulated_seed(settings))
                driving = VectorDriving(car, Task(track, config), clock, lookout=seen)
                driver, rest = PolicyDriver(driving, _Afar(chunks), ours, real_time=True), None
            else:
                session = opened_session(settings.game, stop, settings.seed)
                closing.callback(session.car.close)
                track, car = session.track, session.car
                driver = in_game = GameDriver(
                    session,
                    Task(track, config),
                    clock,
                    policy=lambda: chunks,
                    record=ours.record,
                    collecting=lambda: True,
                    random=_NO_EXPLORATION,
                    lookout=seen,
                    # Nothing delays a watchdog that lifts the throttle.
                    as_it_is=lambda: chunks.silent,
                )
                rest = in_game.rest
        except UNUSABLE as error:
            raise SettingsError(str(error), exit_code_of(error)) from error
        introduction = Introduction(
            *(environment.racing(config), True, 1, software(), track_text(track), Role.STREAM, batch_of),
            driven=chunks.hear,
        )
        link = Link(pairing, spool, introduction, look_up, out)
        told = ChunkDriver(
            driver,
            seen,
            chunks,
            FrameMaker(track),
            out.put,
            linked=lambda: link.state.connected,
            rest=rest or (lambda: None),
        )
        link.start()
        yield Drive(told, car.close, link, ours, stop, settings.steps, real_time=True)
