"""Tests on real data are skipped where there are none, but never where they are promised."""

from pathlib import Path

import pytest

from tests.support import real_data as module
from tests.support.real_data import REQUIRED_VARIABLE, promised, real_data


@pytest.mark.parametrize(
    ("environment", "beside", "expected"),
    [
        ({}, True, False),
        ({"CI": "true"}, True, True),
        ({"CI": "true"}, False, False),
        ({REQUIRED_VARIABLE: "1"}, False, True),
        ({REQUIRED_VARIABLE: "0"}, True, False),
    ],
)
def test_the_data_are_promised_by_the_variable_or_by_ci_beside_them(
    tmp_path: Path, environment: dict[str, str], beside: bool, expected: bool
) -> None:
    assert promised(environment, tmp_path if beside else tmp_path / "nowhere") == expected


@pytest.mark.parametrize(("required", "outcome"), [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)])
def test_missing_data_fail_or_skip_with_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(module, "_DATA", tmp_path / "nowhere")
    monkeypatch.setenv(REQUIRED_VARIABLE, required)
    with pytest.raises(outcome, match=r"tracks/monza\.csv does not exist"):
        real_data("tracks/monza.csv")
