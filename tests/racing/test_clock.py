"""The real-time clock keeps its rate, marks what is late, and does not run after what it missed."""

import pytest

from racing.clock import RealTimeClock, SimulatedClock


class Time:
    """A time source that moves only when told, or when slept on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def clock(time: Time, period: float = 0.05) -> RealTimeClock:
    return RealTimeClock(period, now=time, sleep=time.sleep)


def test_a_step_in_time_ends_at_its_deadline() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 0.03
    assert pace.tick() is False
    assert time.now == pytest.approx(100.05)


def test_small_delays_do_not_add_up_over_a_thousand_steps() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    for _ in range(1000):
        time.now += 0.049
        pace.tick()
        time.now += 0.0003
    assert time.now == pytest.approx(100.0 + 1000 * 0.05, abs=0.001)


def test_a_step_beyond_its_deadline_is_late_and_counted() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 0.06
    assert pace.tick() is True
    assert pace.late_ticks == 1


def test_the_step_after_a_late_one_keeps_to_the_original_grid() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 0.06
    pace.tick()
    assert pace.tick() is False
    assert time.now == pytest.approx(100.10)


def test_missed_periods_are_skipped_not_run_after() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 1.02
    assert pace.tick() is True
    assert pace.tick() is False
    assert time.now == pytest.approx(101.05)
    assert pace.late_ticks == 1


def test_the_first_tick_without_a_start_begins_a_period() -> None:
    time = Time()
    assert clock(time).tick() is False
    assert time.now == pytest.approx(100.05)


def test_simulated_time_never_waits_and_is_never_late() -> None:
    pace = SimulatedClock()
    pace.start()
    assert pace.tick() is False


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0 s"):
        RealTimeClock(0.0)
