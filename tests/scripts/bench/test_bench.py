"""The benchmarks run one after the other, each under the setting that its figures were measured in."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.bench import __main__ as bench
from scripts.bench.load import STEPS_PER_SECOND, Measured
from scripts.bench.receiver import Row
from scripts.bench.setting import setting

ROOT = Path(__file__).parents[3]


def test_every_benchmark_of_the_folder_is_run_and_prints_its_setting() -> None:
    tables = {file.stem: file for file in (ROOT / "scripts" / "bench").glob("[!_]*.py")}
    helpers = (
        "chunks_drive",
        "dashboard_run",
        "hostile",
        "processes",
        "learning_drive",
        "load",
        "measuring",
        "realtime_drive",
        "remote_rivals",
        "s3_server",
        "setting",
    )
    for helper in helpers:
        del tables[helper]
    assert {*bench.BENCHES, *bench.LONG} == set(tables)
    assert all("setting(" in file.read_text(encoding="utf-8") for file in tables.values())


def test_the_setting_names_machine_python_packages_date_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/scripts/bench/wire.py", "--data", "my laps"])
    line = setting("numpy")
    assert line.endswith(": `python -m scripts.bench.wire --data 'my laps'`")
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in line
    assert "numpy " in line
    assert "cores" in line
    assert str(datetime.now(UTC).year) in line


def test_a_benchmark_that_does_not_exist_is_named_before_any_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["wire", "speed"]) == ExitCode.USAGE
    said = capsys.readouterr()
    assert "no benchmark called speed; there are: wire" in said.err
    assert said.out == ""


def test_a_benchmark_that_fails_does_not_keep_the_others_from_running(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        ran.append(command[-1])
        return subprocess.CompletedProcess(command, int(command[-1].endswith("wire") or check))

    monkeypatch.setattr(subprocess, "run", run)
    assert bench.main(["wire", "simulator", "wire"]) == ExitCode.FAILED
    assert ran == ["scripts.bench.wire", "scripts.bench.simulator"]
    assert "Failed: wire;" in capfd.readouterr().err


def row(offered: float = 1.0, p99: float = 0.01, load: float = 0.5, receiver: float = 0.5, lost: int = 0) -> Row:
    """100 bridges for 10 s; `offered` is the share of their steps that the load generator sent."""
    steps = round(offered * 100 * STEPS_PER_SECOND * 10)
    return Row(100, Measured(steps, steps - lost, 10.0, 0.005, p99, load, receiver, 0), steps)


def test_a_receiver_is_not_blamed_for_what_the_load_generator_cannot_do() -> None:
    assert row().verdict == ""
    assert row(lost=1).verdict == "gives way"
    assert row(p99=2.0, receiver=0.99).verdict == "gives way"
    assert row(offered=0.5, receiver=0.99).verdict == "gives way"
    assert row(offered=0.5, load=0.99).verdict == "the load generator is the limit"
    assert row(p99=2.0, load=0.99).verdict == "the load generator is the limit"
    assert row(offered=0.5, lost=1, load=0.99).verdict == "gives way"
