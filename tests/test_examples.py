"""Each example learns over what a PC serves, as its first lines say: as a process beside a real receiver."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.remote_pc import remote_pc

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS: dict[str, list[str]] = {
    "car_racing_ppo": ["--episode-steps", "100"],
    "cartpole_ppo": [],
    "minigrid_ppo": [],
    "pendulum_sac": [],
}
"""Each program, and what it is told so that episodes end in the little time of a test."""
NEEDS = {"car_racing_ppo": "Box2D", "minigrid_ppo": "minigrid"}


def offered(program: str) -> list[str]:
    """What the example asks the PC to offer."""
    text = (EXAMPLES / f"{program}.py").read_text(encoding="utf-8")
    return re.findall(r"--env (\S+)", text)


@contextmanager
def learning(program: str, folder: Path, steps: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-u", "-m", f"examples.{program}", str(folder), "--steps", str(steps)]
    command += PROGRAMS[program]
    # Threads of torch's that wait for each other are dear where others use the processor.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_learns(program: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if program in NEEDS:
        pytest.importorskip(NEEDS[program], reason="what it draws with has no wheel for this Python")
    folder = tmp_path_factory.mktemp("r")
    with remote_pc(offered(program), folder), learning(program, folder, 600) as process:
        said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert re.search(r"mean return of the last 10 episodes: -?[\d.]+\n", said), said


@pytest.mark.slow
def test_an_example_goes_on_when_the_pc_comes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("r")
    with remote_pc(["CartPole-v1"], folder) as pc, learning("cartpole_ppo", folder, 3000) as process:
        assert process.stdout is not None
        while "total_timesteps" not in process.stdout.readline():
            assert process.poll() is None
        pc.restart()
        said = process.stdout.read()
        assert process.wait(500) == 0, said
    assert "Waiting for it." in said
    assert "mean return of the last 10 episodes" in said


def test_every_example_is_tried() -> None:
    tried = {*PROGRAMS, "going_on", "grids", "own_realtime_game", "rtgym_interface"}
    # tests/examples/test_strangers.py
    tried |= {"stranger_stream", "stranger_watch"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__"} == tried
