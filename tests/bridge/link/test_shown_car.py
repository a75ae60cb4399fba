"""What is shown of a car is what it does: simulated laps, the reference driver, and looks as rare as the link's."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from bridge.link.shown_car import LapDelta, ShownCar, telemetry_of
from racing.car import FloatArray
from racing.driving import Lap, Lookout, Moment, Step, VectorDriving
from racing.evaluation import reference_actions
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Task
from racing.track import Track
from wire.frames import decode_up, encode_frame
from wire.messages import MAX_GAP, MAX_OFF_TRACKS, MAX_SPEED

TRACK = Track.generate(7, 700.0)


class Drive:
    """Cars on TRACK that a lookout shows; the first starts 10 m before the line."""

    def __init__(self, starts: FloatArray, pace: float = 0.9) -> None:
        self.lookout = Lookout()
        self.driving = VectorDriving(SimulatedCar(TRACK, len(starts), start=starts), Task(TRACK), lookout=self.lookout)
        self.drive_at(pace)
        self._observation = self.driving.reset()

    def drive_at(self, pace: float) -> None:
        self._actor = reference_actions(ReferenceDriver(TRACK, pace=pace))

    def step(self) -> Step:
        return self.driving.step(self._actor(self._observation, self.driving.state))

    @property
    def moment(self) -> Moment:
        assert self.lookout.moment is not None
        return self.lookout.moment


def test_the_first_car_is_shown_as_it_is() -> None:
    drive = Drive(np.array([300.0, 20.0]))
    shown = ShownCar(drive.lookout, TRACK.length)
    assert shown.news() is None
    for _ in range(30):
        drive.step()
    told, state = shown.news(), drive.driving.state
    assert told is not None
    at = TRACK.project(state.position)
    assert told.place == pytest.approx(at.s[0])
    assert told.place is not None
    assert 300.0 < told.place < 500.0
    assert told.gap == pytest.approx(at.gap[0])
    assert told.speed == pytest.approx(np.hypot(*state.velocity[0]))
    assert (told.gear, told.steer) == (state.gear[0], state.steer[0])
    assert (told.throttle, told.brake) == (state.throttle[0], state.brake[0])
    assert (told.laps, told.delta, told.off_tracks) == (0, None, ())
    assert told.lap_time == pytest.approx(1.5)
    assert decode_up(encode_frame(told)) == told
    assert shown.news() is None, "nothing is new"
    drive.step()
    assert shown.news() is not None


@pytest.mark.slow
def test_laps_are_counted_and_timed_from_the_line() -> None:
    drive = Drive(np.array([TRACK.length - 10.0, 100.0]))
    shown = ShownCar(drive.lookout, TRACK.length)
    laps: list[Lap] = []
    while len(laps) < 2:
        laps += [lap for lap in drive.step().laps if lap.car == 0]
    told = shown.news()
    assert told is not None
    assert told.laps == 2
    assert 0.0 <= told.lap_time <= 0.05


@pytest.mark.slow
def test_the_delta_is_against_the_best_lap_at_the_same_place() -> None:
    drive = Drive(np.array([TRACK.length - 10.0]), pace=0.95)
    delta, laps, shown = LapDelta(TRACK.length), list[Lap](), list[tuple[float, float]]()
    truth: list[tuple[float, float]] = []
    while len(laps) < 2:
        step, moment = drive.step(), drive.moment
        laps += step.laps
        if step.laps:
            drive.drive_at(0.8)
        since, at = float(moment.state.time[0] - moment.memory.lap_started[0]), float(moment.memory.lap_progress[0])
        if not laps and not math.isnan(at):
            truth.append((at, since))
        # As seldom as the link's thread looks at a car that is simulated four times as fast as the clock.
        if moment.memory.steps[0] % 4 == 0:
            found = delta.follow(moment)
            assert (found is None) == (not laps)
            if found is not None and len(laps) == 1:
                exact = since - np.interp(at, *np.array([*truth, (TRACK.length, laps[0].time)]).T)
                shown.append((found, exact))
    assert laps[1].time > laps[0].time + 0.5
    assert len(shown) > 50
    for found, exact in shown:
        assert found == pytest.approx(exact, abs=0.03)
    assert shown[-1][0] == pytest.approx(laps[1].time - laps[0].time, abs=0.2)


@pytest.mark.slow
def test_too_few_looks_at_a_lap_make_no_delta() -> None:
    drive = Drive(np.array([TRACK.length - 10.0]), pace=0.95)
    delta, laps = LapDelta(TRACK.length), list[Lap]()
    while len(laps) < 2:
        step = drive.step()
        laps += step.laps
        if drive.moment.memory.steps[0] % 150 == 0 or step.laps:
            assert delta.follow(drive.moment) is None


def test_places_where_any_car_left_the_track_are_told_once_the_newest_of_them() -> None:
    drive = Drive(np.linspace(0.0, 600.0, 12))
    shown = ShownCar(drive.lookout, TRACK.length)
    ended: list[tuple[float, float]] = []
    straight = np.tile(np.array([[0.0, 0.6]], np.float32), (12, 1))
    while len(ended) < 2 * MAX_OFF_TRACKS:
        before = drive.driving.step(straight)
        at = drive.moment.memory.projection
        ended += [(at.s[end.car], at.gap[end.car]) for end in before.episodes if end.reason == "off_track"]
    told = shown.news()
    assert told is not None
    assert list(told.off_tracks) == ended[-MAX_OFF_TRACKS:]
    for place, gap in told.off_tracks:
        left, right = TRACK.widths_at(np.array([place]))
        assert gap > left[0] - 3.0 or -gap > right[0] - 3.0
    drive.driving.step(straight)
    again = shown.news()
    assert again is not None
    assert len(again.off_tracks) <= 1


def test_numbers_out_of_bounds_never_reach_the_wire_and_what_is_none_is_not_told() -> None:
    drive = Drive(np.array([100.0]))
    drive.step()
    moment = drive.moment
    at = moment.memory.projection._replace(gap=np.array([-1e9]))
    state = replace(moment.state, velocity=np.array([[1e7, 0.0]]), steer=np.array([3.0]), gear=np.array([99]))
    told = telemetry_of(moment._replace(state=state, memory=replace(moment.memory, projection=at)), 1e9, [(-1.0, 0.0)])
    assert told is not None
    assert (told.gap, told.speed, told.steer, told.off_tracks) == (-MAX_GAP, MAX_SPEED, 1.0, ())
    assert decode_up(encode_frame(told)) == told
    broken = replace(moment.state, throttle=np.array([math.nan]))
    assert telemetry_of(moment._replace(state=broken), None, []) is None


def test_what_cannot_be_shown_costs_only_the_picture(caplog: pytest.LogCaptureFixture) -> None:
    drive = Drive(np.array([100.0]))
    drive.step()
    drive.lookout.moment = drive.moment._replace(memory=None)  # type: ignore[arg-type]  # broken on purpose
    shown = ShownCar(drive.lookout, TRACK.length)
    assert shown.news() is None
    drive.step()
    assert shown.news() is None
    assert caplog.text.count("cannot be shown any more") == 1


def test_a_receiver_from_before_streams_can_read_what_is_told_of_an_unclean_lap() -> None:
    drive = Drive(np.array([300.0]))
    drive.step()
    unclean = drive.moment._replace(memory=replace(drive.moment.memory, lap_clean=np.zeros(1, np.bool_)))
    told = telemetry_of(unclean, None, [])
    assert told is not None
    known = {"type", "place", "gap", "speed", "gear", "throttle", "brake", "steer", "laps", "lap_time", "delta"}
    assert set(msgspec.to_builtins(told)) <= known | {"off_tracks"}
