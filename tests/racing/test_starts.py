"""Starts show a learner all of the track, at the pace it is to reach, and again what it failed at."""

import numpy as np
import pytest

from racing.car import FloatArray
from racing.pace import pace_of
from racing.simulator import SimulatedCar
from racing.starts import AGAIN, AT_PACE, FIRST_PACE, PACE_BOUNDS, Starts
from racing.track import Track
from racing.vehicle import GT3

TRACK = Track.generate(7)
COUNT = 4_000


def points(s: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (s / TRACK.spacing).astype(np.int64) % len(TRACK.centre)


def at_full_pace() -> Starts:
    starts = Starts(TRACK, GT3)
    starts.ended(np.array([700.0]), np.array([1000.0]))
    return starts


def test_most_starts_are_near_the_fast_line_and_all_are_on_the_road() -> None:
    start, pace = Starts(TRACK, GT3).drawn(COUNT, np.random.default_rng(1)), pace_of(TRACK)
    at = points(start.s)
    share = start.speed / pace.line_speed[at]
    near = (np.abs(start.gap - pace.line_gap[at]) < 2.5) & (share > FIRST_PACE - 0.36) & (share < FIRST_PACE)
    assert np.mean(near) > AT_PACE - 0.1
    assert share.min() > 0.1
    left, right = TRACK.widths_at(start.s)
    assert (start.gap < left - 1.0).all()
    assert (start.gap > 1.0 - right).all()
    assert np.ptp(start.s) > 0.95 * TRACK.length


def test_a_car_at_pace_is_turned_along_the_line() -> None:
    start, pace = at_full_pace().drawn(COUNT, np.random.default_rng(2)), pace_of(TRACK)
    fast = start.speed > 0.91 * pace.line_speed[points(start.s)]
    assert 0.4 < fast.mean() < 0.7
    slope = (pace.line_gap[points(start.s + 10.0)] - pace.line_gap[points(start.s)]) / 10.0
    assert np.abs(start.angle - np.arctan(slope))[fast].max() <= 0.031
    assert np.abs(slope[fast]).max() > 0.05


def test_starts_become_faster_with_what_is_driven_and_slower_with_each_end_within_bounds() -> None:
    starts, nowhere = Starts(TRACK, GT3), np.zeros(1)
    starts.ended(nowhere, np.array([10.0]))
    assert starts.greatest_pace == pytest.approx(FIRST_PACE + 0.08)
    starts.ended(nowhere, np.array([0.5]))
    assert starts.greatest_pace == pytest.approx(FIRST_PACE + 0.065)
    for _ in range(100):
        starts.ended(nowhere, nowhere)
    assert starts.greatest_pace == PACE_BOUNDS[0]
    starts.ended(nowhere, np.array([3600.0]))
    assert starts.greatest_pace == PACE_BOUNDS[1]
    starts.forget()
    assert starts.greatest_pace == FIRST_PACE


def test_half_of_the_starts_are_before_the_places_where_drives_ended() -> None:
    starts, random = Starts(TRACK, GT3), np.random.default_rng(3)
    starts.ended(np.array([700.0]), np.array([2.0]))
    s = starts.drawn(COUNT, random).s
    before = ((700.0 - s) % TRACK.length >= 30.0) & ((700.0 - s) % TRACK.length <= 150.0)
    by_chance = 120.0 / TRACK.length
    assert before.mean() == pytest.approx(AGAIN + (1.0 - AGAIN) * by_chance, abs=0.03)
    starts.forget()
    assert np.mean((700.0 - starts.drawn(COUNT, random).s) % TRACK.length <= 150.0) < 0.2


def test_a_car_that_has_driven_tells_where_and_one_that_was_only_placed_does_not() -> None:
    car = SimulatedCar(TRACK, 300, seed=1)
    everybody = np.ones(300, np.bool_)
    car.reset(everybody)
    again = SimulatedCar(TRACK, 300, seed=1)
    again.reset(everybody)
    assert np.array_equal(car.read().position, again.read().position)
    car.advance(0.05)
    ended = TRACK.project(car.read().position).s[:20]
    car.reset(np.arange(300) < 20)
    for _ in range(15):
        # What has only been placed ended nowhere: the places are still those of the first twenty.
        car.reset(np.arange(300) < 20)
    begun = TRACK.project(car.read().position).s[:20]
    ahead = (ended[None] - begun[:, None]) % TRACK.length
    assert np.mean(((ahead > 29.0) & (ahead < 151.0)).any(axis=1)) > 0.4
    car.reseed(1)
    car.reset(everybody)
    fresh = SimulatedCar(TRACK, 300, seed=1)
    assert np.array_equal(car.read().position, fresh.read().position)
