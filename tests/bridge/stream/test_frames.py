"""Frames of a driven car: they hold what its states hold, and laps as the lap cutter cuts them."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bridge.driving.lap_sources import reference_states
from bridge.stream.frames import FrameMaker
from racing.car import CarState
from racing.lap import About, LapCutter, cut_laps
from racing.track import Track
from wire.frames import decode_up, encode_frame
from wire.messages import Telemetry

TRACK = Track.generate(7, 600.0)
ABOUT = About("reference", datetime(2026, 1, 1, tzinfo=UTC))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def states() -> list[CarState]:
    """Two laps and a little more of the reference driver, at 20 Hz."""
    found, cutter = list[CarState](), LapCutter(TRACK, ABOUT)
    for state in reference_states(TRACK, 1.0, 20.0, 120.0):
        found.append(state)
        cutter.add(state)
        if cutter.completed == 2:
            break
    return found


@pytest.fixture(scope="module")
def frames(states: list[CarState]) -> list[Telemetry]:
    maker = FrameMaker(TRACK)
    return [frame for state in states if (frame := maker.frame(state)) is not None]


def test_a_frame_holds_all_that_the_state_holds(states: list[CarState], frames: list[Telemetry]) -> None:
    assert len(frames) == len(states)
    for state, frame in list(zip(states, frames, strict=True))[::100]:
        assert decode_up(encode_frame(frame)) == frame
        for name in ("time", "heading", "yaw_rate", "engine_rpm", "steer", "throttle", "brake"):
            assert getattr(frame, name) == float(getattr(state, name)[0]), name
        for name in ("position", "velocity", "acceleration", "wheel_slip", "wheel_load", "wheel_angular_speed"):
            assert getattr(frame, name) == tuple(getattr(state, name)[0].tolist()), name
        assert (frame.gear, frame.wheels_out, frame.collided) == (state.gear[0], state.wheels_out[0], state.collided[0])
        assert frame.speed == pytest.approx(np.hypot(*state.velocity[0]))
        at = TRACK.project(state.position)
        assert [frame.place, frame.gap] == pytest.approx([at.s[0], at.gap[0]], abs=1e-6)


def test_laps_begin_at_the_line_and_last_as_long_as_the_lap_cutter_says(
    states: list[CarState], frames: list[Telemetry]
) -> None:
    at_line = [after for before, after in pairwise(frames) if after.lap_time < before.lap_time]
    # The part of a lap before the first line counts for none.
    assert [frame.laps for frame in (frames[0], *at_line)] == [0, 0, 1, 2]
    began = [frame.time - frame.lap_time for frame in at_line if frame.time is not None]
    laps = cut_laps(states, TRACK, ABOUT)
    assert [ended - at for at, ended in pairwise(began)] == pytest.approx([lap.time for lap in laps], abs=0.01)
    assert all(frame.valid for frame in frames)


def test_a_car_that_turns_about_on_the_line_completes_no_lap(states: list[CarState]) -> None:
    maker, length = FrameMaker(TRACK), TRACK.length
    places = [*range(-60, 20, 10), *range(20, -30, -10), *range(-30, 20, 10), *range(20, round(length) + 20, 10)]
    at = [float(TRACK.project(state.position).s[0]) for state in states]
    told = list[Telemetry]()
    for k, place in enumerate(places):
        nearest = int(np.argmin(np.abs(np.array(at) - place % length)))
        frame = maker.frame(replace(states[nearest], time=np.array([0.5 * k])))
        assert frame is not None
        told.append(frame)
    assert [frame.laps for frame in told[:-2]] == [0] * (len(told) - 2)
    assert told[-1].laps == 1
    begins = [after for before, after in pairwise(told) if after.lap_time < before.lap_time]
    assert len(begins) == 2


def test_a_lap_with_more_than_two_wheels_out_is_not_valid_to_its_end(states: list[CarState]) -> None:
    maker = FrameMaker(TRACK)
    out = next(k for k, state in enumerate(states) if maker.frame(state).laps == 1) + 10  # type: ignore[union-attr]
    maker = FrameMaker(TRACK)
    seen = [
        maker.frame(replace(state, wheels_out=np.array([{out: 3, out - 5: 2}.get(k, 0)])))
        for k, state in enumerate(states)
    ]
    assert [(frame.laps, frame.valid) for frame in (seen[out - 1], seen[out], seen[out + 1]) if frame] == [
        (1, True),
        (1, False),
        (1, False),
    ]
    assert {frame.valid for frame in seen[out:] if frame and frame.laps == 1} == {False}
    assert {frame.valid for frame in seen if frame and frame.laps == 2} == {True}


def test_what_does_not_join_begins_a_lap_anew_and_completes_none(states: list[CarState]) -> None:
    maker = FrameMaker(TRACK)
    before = [maker.frame(state) for state in states[:100]][-1]
    maker.interrupt()
    after = maker.frame(states[-1])
    assert before is not None
    assert after is not None
    assert (after.laps, after.lap_time) == (before.laps, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "makes_none"),
    [
        ("position", [[np.nan, 0.0]], True),
        ("velocity", [[np.inf, 0.0]], True),
        ("steer", [np.nan], True),
        ("engine_rpm", [np.nan], False),
        ("wheel_load", [[1.0, np.nan, 1.0, 1.0]], False),
        ("heading", [1e9], False),
    ],
)
def test_what_is_no_number_is_left_out(states: list[CarState], name: str, value: Any, makes_none: bool) -> None:
    frame = FrameMaker(TRACK).frame(replace(states[0], **{name: np.array(value)}))
    if makes_none:
        assert frame is None
    else:
        assert frame is not None
        assert getattr(frame, name) is None
        assert decode_up(encode_frame(frame)) == frame
