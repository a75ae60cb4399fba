"""A link's code lets in within its time, under its token, and not when a sign of it is another."""

import pytest

from train_cloud.dashboard_link import LINK_SECONDS, link_code, valid_until

TOKEN = "watchers0123456789only"
NOW = 1_800_000_000.0


def test_a_code_is_valid_until_its_time_is_over() -> None:
    code = link_code(TOKEN, NOW)
    assert valid_until(TOKEN, code, NOW) == NOW + LINK_SECONDS
    assert valid_until(TOKEN, code, NOW + LINK_SECONDS) == NOW + LINK_SECONDS
    assert valid_until(TOKEN, code, NOW + LINK_SECONDS + 1.0) is None
    assert TOKEN not in code
    assert code != link_code(TOKEN, NOW)


def test_another_token_or_another_sign_lets_nobody_in() -> None:
    code = link_code(TOKEN, NOW)
    assert valid_until("another0123456789token", code, NOW) is None
    for place, sign in enumerate(code):
        changed = code[:place] + ("0" if sign != "0" else "1") + code[place + 1 :]
        assert valid_until(TOKEN, changed, NOW) is None


@pytest.mark.parametrize("code", ["", ".", "..", "x" * 10_000, "9999999999.00.", "\u00e4.\u00e4.\u00e4", "nan.0.0"])
def test_what_is_no_code_lets_nobody_in(code: str) -> None:
    assert valid_until(TOKEN, code, NOW) is None
