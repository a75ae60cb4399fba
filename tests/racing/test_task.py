"""What driving well means: told apart case by case on a straight and round a whole circuit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from racing.car import CarState
from racing.pace import pace_of
from racing.task import (
    ACTION_STEP,
    CHANNELS,
    OBSERVATION_BOUND,
    OBSERVATION_SIZE,
    OBSERVATION_STEP,
    REWARD_STEP,
    End,
    Float32Array,
    Outcome,
    Task,
    TaskConfig,
    TaskMemory,
    controls_of,
    merge_memory,
    on_action_grid,
    on_observation_grid,
)
from racing.track import Track

TRACK = Track.generate(7, 1200.0)
TASK = Task(TRACK)
PERIOD = 1.0 / TASK.config.control_hz
COAST = np.zeros((1, 2), np.float32)


def car_at(s: float, time: float = 0.0, gap: float = 0.0, turned: float = 0.0, speed: float = 20.0) -> CarState:
    """One car at arc length `s`, `gap` metres left of the centreline, `turned` rad away from its direction."""
    at = np.array([s])
    return CarState(
        time=np.array([time]),
        position=TRACK.position_at(at, gap),
        heading=TRACK.heading_at(at) + turned,
        velocity=np.array([[speed, 0.0]]),
        acceleration=np.zeros((1, 2)),
        yaw_rate=np.zeros(1),
        steer=np.zeros(1),
        throttle=np.zeros(1),
        brake=np.zeros(1),
        engine_rpm=np.array([5000.0]),
        gear=np.array([3]),
        wheel_slip=np.zeros((1, 4)),
        wheel_load=None,
        wheel_angular_speed=None,
        wheels_out=np.zeros(1, np.int64),
        collided=np.zeros(1, bool),
    )


def channel(observation: np.ndarray, name: str) -> float:
    """The value of one channel, in its unit."""
    index = [item.name for item in CHANNELS].index(name)
    return float(observation[0, index] * CHANNELS[index].scale)


def test_an_observation_lies_on_the_grid_and_names_what_it_shows() -> None:
    state = car_at(100.0, gap=1.5, turned=0.2)
    observation = TASK.observe(state, TASK.begin(state))
    assert observation.shape == (1, OBSERVATION_SIZE)
    assert observation.dtype == np.float32
    assert np.array_equal(observation, np.rint(observation / OBSERVATION_STEP) * OBSERVATION_STEP)
    assert channel(observation, "speed_forward") == pytest.approx(20.0, abs=0.02)
    assert channel(observation, "gap") == pytest.approx(1.5, abs=0.05)
    assert channel(observation, "heading_error") == pytest.approx(0.2, abs=0.02)
    room = channel(observation, "room_left") + channel(observation, "room_right")
    left, right = TRACK.widths_at(np.array([100.0]))
    assert room == pytest.approx(float(left[0] + right[0]), abs=0.05)


def turning_seen(observation: np.ndarray, kind: str) -> tuple[float, float, float]:
    """First and last metre that the channels of this kind look ahead, and the turning that they show, in rad."""
    total, borders = 0.0, []
    for name in (item.name for item in CHANNELS if item.name.startswith(f"{kind}_")):
        near, far = (float(part) for part in name.removeprefix(f"{kind}_").removesuffix("m").split("_"))
        total += channel(observation, name) * (far - near)
        borders += [near, far]
    return borders[0], borders[-1], total


@pytest.mark.parametrize("s", [300.0, TRACK.length - 100.0])
def test_look_ahead_curvatures_sum_to_the_turn_ahead(s: float) -> None:
    state = car_at(s)
    first, last, seen = turning_seen(TASK.observe(state, TASK.begin(state)), "curvature")
    ahead = np.unwrap(TRACK.heading_at(np.arange(s + first, s + last + 0.5, 0.5)))
    assert seen == pytest.approx(ahead[-1] - ahead[0], abs=0.05)


@pytest.mark.parametrize("s", [300.0, TRACK.length - 100.0])
def test_bends_far_ahead_count_left_and_right_alike_so_that_a_chicane_is_no_straight(s: float) -> None:
    state = car_at(s)
    first, last, seen = turning_seen(TASK.observe(state, TASK.begin(state)), "bend")
    ahead = np.unwrap(TRACK.heading_at(np.arange(s + first, s + last + 0.5, 0.5)))
    assert seen == pytest.approx(np.abs(np.diff(ahead)).sum(), rel=0.1, abs=0.05)


@pytest.mark.parametrize("kind", ["spare_speed", "line_spare_speed"])
def test_it_shows_how_much_faster_the_road_ahead_allows_to_be(kind: str) -> None:
    pace = pace_of(TRACK)
    allowed = pace.middle_speed if kind == "spare_speed" else pace.line_speed
    slowest = float(np.argmin(allowed) * TRACK.spacing)
    fast, slow = car_at(slowest - 80.0, speed=45.0), car_at(slowest - 80.0, speed=15.0)
    seen = TASK.observe(fast, TASK.begin(fast))
    assert channel(seen, f"{kind}_80m") == pytest.approx(allowed.min() - 45.0, abs=1.0)
    assert channel(seen, f"{kind}_80m") < channel(seen, f"{kind}_40m") < channel(seen, f"{kind}_0m")
    assert channel(TASK.observe(slow, TASK.begin(slow)), f"{kind}_0m") > 0.0
    assert np.abs(seen).max() < OBSERVATION_BOUND


def test_it_shows_where_the_fast_line_lies_as_seen_from_the_car() -> None:
    line = pace_of(TRACK).line_gap
    s = float(np.argmax(line) * TRACK.spacing)
    state = car_at(s, gap=1.0)
    assert channel(TASK.observe(state, TASK.begin(state)), "line_left_0m") == pytest.approx(line.max() - 1.0, abs=0.1)
    behind = car_at(s - 45.0, gap=line.max())
    assert channel(TASK.observe(behind, TASK.begin(behind)), "line_left_45m") == pytest.approx(0.0, abs=0.1)
    assert pace_of(TRACK) is pace_of(TRACK)


def test_what_a_car_does_not_report_reads_zero_and_the_rest_is_unchanged() -> None:
    state = car_at(50.0)
    memory = TASK.begin(state)
    poor = TASK.observe(replace(state, acceleration=None, wheel_slip=None), memory)
    assert np.array_equal(poor, TASK.observe(state, memory))


def test_observation_and_action_grids_clip_and_keep_nan() -> None:
    grid = on_observation_grid(np.array([9.0, -9.0, 1.0 / 3.0, np.nan]))
    assert grid[0] == 8.0 - OBSERVATION_STEP
    assert grid[1] == -8.0
    assert abs(grid[2] - 1.0 / 3.0) <= OBSERVATION_STEP / 2
    assert np.isnan(grid[3])
    assert on_action_grid(np.array([1.5, -1.5]))[0] == 1.0 - ACTION_STEP
    assert on_action_grid(np.array([1.5, -1.5]))[1] == -1.0


def test_grids_know_no_negative_zero_which_no_integer_could_carry() -> None:
    tiny = np.array([-1e-9, -0.0])
    assert not np.signbit(on_observation_grid(tiny)).any()
    assert not np.signbit(on_action_grid(tiny)).any()


def test_pedals_are_throttle_above_zero_and_brake_below() -> None:
    controls = controls_of(np.array([[0.5, 0.25], [-0.5, -0.75]], np.float32))
    assert controls.steer.tolist() == [0.5, -0.5]
    assert controls.throttle.tolist() == [0.25, 0.0]
    assert controls.brake.tolist() == [0.0, 0.75]


def step_to(
    state: CarState, previous: CarState | None = None, action: Float32Array = COAST
) -> tuple[TaskMemory, Outcome]:
    """The outcome of one step from `previous` (10 m before, by default) to `state`."""
    memory = TASK.begin(previous or car_at(90.0))
    return TASK.advance(memory, state, action)


def test_progress_is_rewarded_by_the_metre_also_over_the_line() -> None:
    _, ahead = step_to(car_at(91.0, PERIOD))
    assert float(ahead.reward[0]) == pytest.approx(0.1, abs=0.005)
    _, over_line = step_to(car_at(1.0, PERIOD), previous=car_at(TRACK.length - 1.0))
    assert float(over_line.reward[0]) == pytest.approx(0.2, abs=0.01)
    _, back = step_to(car_at(89.0, PERIOD))
    assert float(back.reward[0]) == pytest.approx(-0.1, abs=0.005)


def test_more_than_two_wheels_out_costs_more_than_the_metres_won() -> None:
    _, two = step_to(replace(car_at(91.0, PERIOD), wheels_out=np.array([2])))
    _, three = step_to(replace(car_at(91.0, PERIOD), wheels_out=np.array([3])))
    assert float(two.reward[0]) == pytest.approx(0.1, abs=0.005)
    assert float(three.reward[0]) < 0.0
    assert not three.terminated[0]


def test_a_jerk_of_the_controls_costs_a_little() -> None:
    _, calm = step_to(car_at(91.0, PERIOD))
    _, jerk = step_to(car_at(91.0, PERIOD), action=np.array([[1.0, 0.0]], np.float32))
    cost = TASK.config.smoothness_penalty * TASK.config.control_hz
    assert 0.0 < cost < float(calm.reward[0])
    assert float(calm.reward[0] - jerk.reward[0]) == pytest.approx(cost, abs=REWARD_STEP)


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"wheels_out": np.array([4])}, End.OFF_TRACK),
        ({"collided": np.array([True])}, End.CRASH),
        ({"heading": TRACK.heading_at(np.array([91.0])) + 1.7}, End.REVERSED),
    ],
)
def test_each_end_of_driving_terminates_and_says_why(change: dict[str, Any], end: End) -> None:
    _, outcome = step_to(replace(car_at(91.0, PERIOD), **change))
    assert outcome.end[0] == end
    assert outcome.terminated[0]
    assert not outcome.truncated[0]
    assert float(outcome.reward[0]) < -1.0


def test_leaving_the_track_slower_costs_less_so_that_braking_too_little_beats_not_braking() -> None:
    def cost(speed: float) -> float:
        _, outcome = step_to(replace(car_at(90.0, PERIOD, speed=speed), wheels_out=np.array([4])))
        return -float(outcome.reward[0])

    config = TASK.config
    # The pace that the car had (20 m/s) is lost at an end.
    out = 2 * config.wheels_out_penalty / config.control_hz + 20.0 * config.pace_scale
    assert cost(50.0) == pytest.approx(config.off_track_penalty + config.impact_penalty + out, abs=0.01)
    assert cost(25.0) == pytest.approx(config.off_track_penalty + 0.25 * config.impact_penalty + out, abs=0.01)


def test_pace_won_pays_at_once_up_to_what_the_line_allows_and_is_taken_back_when_it_is_lost() -> None:
    scale, allowed = TASK.config.pace_scale, float(pace_of(TRACK).line_speed[round(90.0 / TRACK.spacing)])

    def brought(before: float, after: float) -> float:
        _, outcome = step_to(car_at(90.0, PERIOD, speed=after), previous=car_at(90.0, speed=before))
        return float(outcome.reward[0])

    assert allowed > 21.0
    assert brought(20.0, 21.0) == pytest.approx(scale, abs=0.001)
    assert brought(21.0, 20.0) == pytest.approx(-scale, abs=0.001)
    # Between two points of the line, so not to the digit.
    assert brought(allowed - 1.0, allowed + 3.0) == pytest.approx(-2.0 * scale, rel=0.2)
    assert brought(3.0 * allowed, 2.5 * allowed) == 0.0  # so fast that slower is still worth nothing
    memory = TASK.begin(car_at(90.0))
    speeds, total = (21.0, 25.0, 23.0, 30.0, 20.0), 0.0
    for index, speed in enumerate(speeds, start=1):
        memory, outcome = TASK.advance(memory, car_at(90.0, index * PERIOD, speed=speed), COAST)
        total += float(outcome.reward[0])
    assert total == pytest.approx(0.0, abs=0.01)  # a round trip of the speed is worth nothing


def test_standing_for_three_seconds_is_a_stall_but_not_sooner() -> None:
    memory = TASK.begin(car_at(90.0, speed=0.5))
    for index in range(1, 61):
        memory, outcome = TASK.advance(memory, car_at(90.0, index * PERIOD, speed=0.5), COAST)
        assert outcome.terminated[0] == (index >= 60)
    assert outcome.end[0] == End.STALLED


def test_time_truncates_and_does_not_terminate() -> None:
    task = Task(TRACK, TaskConfig(max_episode_seconds=1.0))
    memory = task.begin(car_at(90.0))
    _, outcome = task.advance(memory, car_at(91.0, 1.0), COAST)
    assert outcome.truncated[0]
    assert not outcome.terminated[0]
    assert outcome.end[0] == End.TIME


def laps_of(wheels_out_at: float | None) -> list[tuple[float, bool]]:
    """Times and cleanness of what two and a bit rounds at 25 m/s complete, one wheel mistake at `wheels_out_at` m."""
    memory = TASK.begin(car_at(TRACK.length - 30.0))
    laps = []
    for index in range(1, int((2.1 * TRACK.length) / 25.0 / PERIOD)):
        driven = index * 25.0 * PERIOD
        out = 3 if wheels_out_at is not None and 0.0 <= driven - wheels_out_at < 2.0 else 0
        state = car_at((TRACK.length - 30.0 + driven) % TRACK.length, index * PERIOD, speed=25.0)
        memory, outcome = TASK.advance(memory, replace(state, wheels_out=np.array([out])), COAST)
        if not np.isnan(outcome.lap_time[0]):
            laps.append((float(outcome.lap_time[0]), bool(outcome.lap_clean[0])))
    return laps


def test_laps_are_timed_from_line_to_line_finer_than_a_step() -> None:
    laps = laps_of(wheels_out_at=None)
    assert [clean for _, clean in laps] == [True, True]
    assert [time for time, _ in laps] == pytest.approx([TRACK.length / 25.0] * 2, abs=0.02)


def test_a_lap_with_three_wheels_out_counts_but_is_not_clean_and_the_next_one_may_be() -> None:
    assert [clean for _, clean in laps_of(wheels_out_at=400.0)] == [False, True]


def test_crossing_the_line_back_and_forth_is_not_a_lap() -> None:
    memory = TASK.begin(car_at(TRACK.length - 2.0))
    places = [1.0, 3.0, 1.0, TRACK.length - 2.0, 1.0, 3.0]
    for index, s in enumerate(places):
        memory, outcome = TASK.advance(memory, car_at(s, (index + 1) * PERIOD), COAST)
        assert np.isnan(outcome.lap_time[0])


def test_equal_inputs_give_equal_bits() -> None:
    state = car_at(91.0, PERIOD)
    first, outcome = step_to(state)
    again, same = step_to(state)
    assert np.array_equal(TASK.observe(state, first), TASK.observe(state, again))
    assert outcome.reward.tobytes() == same.reward.tobytes()


def test_a_nan_from_the_car_stays_visible_for_the_checks_at_the_door() -> None:
    state = replace(car_at(91.0), yaw_rate=np.array([np.nan]))
    assert np.isnan(TASK.observe(state, TASK.begin(state))).any()


def test_memories_merge_car_by_car() -> None:
    old, fresh = TASK.begin(car_at(90.0)), TASK.begin(car_at(500.0, time=9.0))
    assert merge_memory(old, fresh, np.array([False])).started[0] == 0.0
    merged = merge_memory(old, fresh, np.array([True]))
    assert merged.started[0] == 9.0
    assert merged.projection.s[0] == pytest.approx(500.0, abs=0.5)


def test_a_rate_outside_ten_to_sixty_hertz_is_refused() -> None:
    with pytest.raises(ValueError, match="10 to 60 Hz"):
        TaskConfig(control_hz=100.0)
