"""The real-time clock keeps its rate, knows a step of another length, and does not run after what it missed."""

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


def test_a_period_ends_at_its_deadline() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 0.03
    pace.tick()
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


@pytest.mark.parametrize("seconds", [0.05, 0.0515, 0.0485])
def test_a_step_that_took_a_period_is_not_late(seconds: float) -> None:
    assert not clock(Time()).off_period(seconds)


@pytest.mark.parametrize("seconds", [0.053, 0.047, 4.0, 0.0, float("nan")])
def test_a_step_that_took_another_time_is_late(seconds: float) -> None:
    assert clock(Time()).off_period(seconds)


def test_after_a_late_step_a_whole_period_begins_and_nothing_is_run_after() -> None:
    time = Time()
    pace = clock(time)
    pace.start()
    time.now += 1.02
    pace.tick()
    assert time.now == pytest.approx(101.02)
    assert pace.off_period(1.02)
    pace.tick()
    assert time.now == pytest.approx(101.07)


def test_the_first_tick_without_a_start_begins_a_period() -> None:
    time = Time()
    clock(time).tick()
    assert time.now == pytest.approx(100.05)


def test_simulated_time_never_waits_and_is_never_late() -> None:
    pace = SimulatedClock()
    pace.start()
    pace.tick()
    assert not pace.off_period(4.0)


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0 s"):
        RealTimeClock(0.0)
