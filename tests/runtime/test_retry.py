"""What fails is tried again, ever more slowly and not for ever."""

from types import SimpleNamespace

import pytest

from runtime.retry import Backoff, GaveUp, retry


class Flaky:
    """Fails `failures` times, then answers."""

    def __init__(self, failures: int) -> None:
        self.calls, self._failures = 0, failures

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise ConnectionError(f"failure {self.calls}")
        return self.calls


def test_waits_between_attempts_grow_to_a_cap() -> None:
    backoff = Backoff(first=1.0, cap=4.0)
    waits = [backoff.seconds() for _ in range(5)]
    assert all(0.75 * full <= wait <= full for wait, full in zip(waits, (1, 2, 4, 4, 4), strict=True))
    backoff.reset()
    assert backoff.seconds() <= 1.0


def test_what_fails_for_a_while_is_answered_in_the_end_and_each_wait_is_told(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    assert retry(Flaky(3), ConnectionError, 60.0, "asking", waits.append) == 4
    assert all(0.75 * full <= wait <= full for wait, full in zip(waits, (0.5, 1, 2), strict=True))
    told = [(record.getMessage(), record.__dict__["fields"]["reason"]) for record in caplog.records]
    assert told == [("asking", f"failure {number}") for number in (1, 2, 3)]


def test_when_the_time_is_over_the_last_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("runtime.retry.time", SimpleNamespace(monotonic=lambda: sum(waits)))
    with pytest.raises(ConnectionError, match="failure 2"):
        retry(Flaky(100), (ConnectionError, TimeoutError), 1.0, wait=waits.append)
    assert len(waits) == 1, "it does not wait for an attempt that would come too late"


def test_another_error_is_not_worth_a_try() -> None:
    flaky = Flaky(1)
    with pytest.raises(ConnectionError):
        retry(flaky, TimeoutError, 60.0)
    assert flaky.calls == 1


def test_who_waits_may_give_up() -> None:
    flaky = Flaky(1)
    with pytest.raises(GaveUp, match="Stopped while asking"):
        retry(flaky, ConnectionError, 60.0, "asking", lambda _: True)
    assert flaky.calls == 1
