"""`make cost` computes from a file, with or without a deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.cost import cost
from tests.support.operated import Operated, command_line, operated

__all__ = ["operated"]

PRICES = Path(__file__).parents[3] / "terraform" / "prices.json"


def table(text: str) -> dict[str, list[str]]:
    """The rows by instance type."""
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    return {row[0]: row[1:] for row in rows[1:]}


def few_prices(folder: Path, **changes: object) -> Path:
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    made_up = {"vcpu": 4, "memory_gib": 16, "gpu": "1 x T4 16 GB", "on_demand_usd_per_hour": 0.5}
    prices |= {
        "gp3_usd_per_gb_month": 0.073,
        "hours_per_month": 730,
        "public_ipv4_usd_per_hour": 0.005,
        "instance_types": {"g4dn.xlarge": made_up | {"spot_usd_per_hour": 0.185} | changes},
    }
    file = folder / "prices.json"
    file.write_text(json.dumps(prices), encoding="utf-8")
    return file


def test_without_terraform_it_says_what_twenty_dollars_buy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = few_prices(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert command_line(cost, ["--prices", str(prices)]) == ExitCode.OK
    out = capsys.readouterr().out
    # 0.185 + 100 GB * 0.073 / 730 h + 0.005 = 0.2 an hour; a run of 200,000 steps at 20 Hz takes 2.78 hours.
    assert table(out)["g4dn.xlarge"] == ["4", "T4 16 GB", "0.500", "0.185", "0.200", "100", "36.0"]
    assert "200,000 steps at 20.0 a second (one car in real time), 2.8 hours" in out


def test_every_type_of_our_own_price_list_has_a_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nowhere = tmp_path / "deployment.json"
    assert command_line(cost, ["--prices", str(PRICES), "--deployment", str(nowhere)]) == ExitCode.USAGE
    capsys.readouterr()
    assert command_line(cost, ["--prices", str(PRICES), "--budget", "5"]) == ExitCode.OK
    rows = table(capsys.readouterr().out)
    listed = json.loads(PRICES.read_text(encoding="utf-8"))["instance_types"]
    assert {name.removesuffix(" *") for name in rows} == set(listed)
    assert [float(row[4]) for row in rows.values()] == sorted(float(row[4]) for row in rows.values())


def test_a_runs_own_pace_and_budget_are_taken(operated: Operated, tmp_path: Path) -> None:
    operated.objects.put("metrics.json", json.dumps({"steps": 50_000, "seconds": 500.0}).encode())
    out = operated.run(cost, "--prices", str(few_prices(tmp_path))).out
    assert "200,000 steps at 100.0 a second (as this run measured), 0.6 hours" in out
    assert "g4dn.xlarge *" in table(out)
    assert table(operated.run(cost, "--prices", str(tmp_path / "prices.json"), "--budget", "2").out)["g4dn.xlarge *"][
        -2:
    ] == ["10", "18.0"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"spot_usd_per_hour": -1}, "spot_usd_per_hour"), ({"vcpu": "4"}, "vcpu")],
)
def test_a_wrong_price_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], told: str
) -> None:
    assert command_line(cost, ["--prices", str(few_prices(tmp_path, **changes))]) == ExitCode.USAGE
    assert told in capsys.readouterr().err
