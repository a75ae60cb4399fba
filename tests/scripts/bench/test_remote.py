"""The benchmark of remote environments runs from end to end, and judges what it has measured."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.remote import CARTPOLE, PENDULUM, cpu_table, in_turns, rate_table
from scripts.bench.remote_rivals import ASYNC, LOCAL, OURS, RLMESH, Cost, family, rlmesh_is_there
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_its_short_form_measures_everybody() -> None:
    short = ["--seconds", "0.02", "--repeats", "1", "--rows", "Pendulum-v1:1", "CartPole-v1:2", "--delays", "0", "5"]
    command = [sys.executable, "-m", "scripts.bench.remote", *short]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| Pendulum-v1 | 1 |") for line in lines) == 1
    assert sum(line.startswith("| CartPole-v1 | 2 |") for line in lines) == 2
    (delayed,) = (line.split(" | ") for line in lines if line.startswith("| 5 | 10 |"))
    assert float(delayed[2]) >= 10.0
    assert ("RLMesh is not installed" in done.stdout) is not rlmesh_is_there()


def test_goals_are_judged_where_there_are_any() -> None:
    costs = {
        LOCAL: Cost(0.001, 0.0001),
        ASYNC: Cost(0.004, 0.001),
        OURS: Cost(0.001, 0.0003),
        RLMESH: Cost(0.002, 0.001),
    }
    found = {(PENDULUM, 1): costs, (PENDULUM, 4): costs, (CARTPOLE, 4): costs | {OURS: Cost(0.003, 0.0003)}}
    cpu, rates = cpu_table(found)[2:], rate_table(found)[2:]
    assert cpu[0] == "| Pendulum-v1 | 1 | 0.100 | 0.20 | 0.90 | 0.90 | at most 0.45 | kept |"
    assert cpu[1].endswith("| - | - |")
    assert rates[1] == "| Pendulum-v1 | 4 | 1000 | 4000 | 4.00 | 4000 | 4.00 | 2000 | 2.00 | at least 2 | kept |"
    assert rates[2].endswith("| 1333 | 1.33 | 2000 | 2.00 | at least 2 | missed |")
    alone = {(PENDULUM, 1): {LOCAL: costs[LOCAL], OURS: Cost(0.1, 0.1)}}
    assert cpu_table(alone)[2].endswith("| - | - | at most 0.45 | missed |")
    assert rate_table(alone)[2:] == []


def test_they_take_turns_and_the_first_does_not_count() -> None:
    order, costs = list[str](), iter(range(100, 0, -1))

    def measured(name: str) -> Cost:
        order.append(name)
        return Cost(next(costs), 1.0)

    found = in_turns({"a": lambda: measured("a"), "b": lambda: measured("b")}, repeats=3)
    assert order == ["a", "b"] * 4
    assert found == {"a": Cost(96, 1.0), "b": Cost(95, 1.0)}


def test_the_processes_that_a_process_starts_are_its_family() -> None:
    script = "import subprocess, sys; subprocess.Popen(['sleep', '60']).wait()"
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        try:
            wait_until(lambda: "sleep" in [name_of(one) for one in family(parent.pid)], "it has started another")
            first, child = family(parent.pid)
            assert (first, name_of(child)) == (parent.pid, "sleep")
            os.kill(child, signal.SIGKILL)
        finally:
            parent.kill()


def name_of(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()
