"""Sessions by themselves: how long they last, and what is remembered of those that have ended."""

import pytest

from train_cloud.dashboard.sessions import SESSION_SECONDS, Refused, Sessions, cookie_name, set_cookie
from train_cloud.dashboard_link import LINK_SECONDS, link_code

TOKEN = "TheDashboardsOwnToken0123"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_by_its_age_and_by_the_end_of_who_gave_it() -> None:
    clock = Clock()
    sessions = Sessions(TOKEN, "c", clock=clock)
    value = sessions.open_by_token("10.0.0.1", TOKEN)
    clock.now += SESSION_SECONDS - 1
    assert sessions.knows(value)
    assert not Sessions(TOKEN, "c", clock=clock).knows(value)
    clock.now += 2
    assert not sessions.knows(value)


def test_of_ended_sessions_only_those_are_remembered_that_would_last() -> None:
    clock = Clock()
    sessions = Sessions(TOKEN, "c", clock=clock)
    first = sessions.open_by_token("10.0.0.1", TOKEN)
    sessions.end(first)
    assert not sessions.knows(first)
    clock.now += SESSION_SECONDS + 1
    second = sessions.open_by_token("10.0.0.1", TOKEN)
    sessions.end(second)
    sessions.end("nothing of ours")
    sessions.end(None)
    assert list(sessions._ended) == [second]


def test_a_link_is_good_for_its_time_in_the_life_in_which_it_was_made() -> None:
    clock = Clock()
    sessions = Sessions(TOKEN, "c", clock=clock)
    clock.now += 60
    codes = [link_code(TOKEN, clock.now) for _ in range(2)]
    clock.now += LINK_SECONDS - 10
    assert sessions.knows(sessions.open_by_link("10.0.0.1", codes[0]))
    with pytest.raises(Refused, match="has been used"):
        Sessions(TOKEN, "c", clock=clock).open_by_link("10.0.0.1", codes[1])
    clock.now += 20
    with pytest.raises(Refused, match="not valid, or not any more"):
        sessions.open_by_link("10.0.0.1", codes[1])


def test_who_guesses_is_slowed_down_by_address() -> None:
    sessions = Sessions(TOKEN, "c", clock=Clock())
    for _ in range(10):
        with pytest.raises(Refused) as refused:
            sessions.open_by_token("10.0.0.1", "guess")
        assert refused.value.wait == 0
    with pytest.raises(Refused) as refused:
        sessions.open_by_link("10.0.0.1", "guess")
    assert 0 < refused.value.wait <= 60
    with pytest.raises(Refused) as refused:
        sessions.open_by_token("10.0.0.2", "guess")
    assert refused.value.wait == 0
    assert sessions.knows(sessions.open_by_token("10.0.0.1", TOKEN))


def test_a_cookie_is_for_this_host_alone_and_no_script() -> None:
    assert cookie_name(8766, secure=True) == "__Host-ac_session_8766"
    told = set_cookie("__Host-ac_session_8766", "v", secure=True)
    assert told == "__Host-ac_session_8766=v; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict; Secure"
    assert "Max-Age=0" in set_cookie("ac_session_8766", "", secure=False)
