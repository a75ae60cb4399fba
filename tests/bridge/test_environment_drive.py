"""`drive --env` as a process, against the real receiver: an environment's own steps are what is stored, to the bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.spool import Spool
from runtime.exit_codes import ExitCode
from tests.support import toy_environments as toys
from tests.support.bridge_processes import ROOT
from tests.support.environment_site import Row, environment_site, named
from tests.support.moto_s3 import MotoS3, s3
from tests.support.waiting import wait_until
from train_cloud.store import Store

__all__ = ["s3"]


def ended(rows: list[Row]) -> list[Row]:
    """With the last step truncated, unless it ended by itself, as the end of a drive leaves it."""
    *steps, there, late = rows[-1]
    return [*rows[:-1], [*steps, there, late or not there]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [toys.Reach, toys.Picking])
def test_an_environments_own_steps_are_what_is_stored(kind: type[toys.Reach], tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(kind), tmp_path, s3) as place:
        with place.drive("--steps", "500", "--seed", "3") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        rows, batches = place.rows(), place.batches()
    assert rows == ended(place.written())
    assert len(rows) == 500
    actions = np.concatenate([batch.actions for batch in batches])[:, 0]
    if kind is toys.Picking:
        assert set(actions.tolist()) == {-2, -1, 0}
    else:
        assert not np.array_equal(actions * 2**15, np.rint(actions * 2**15)), "racing's grid is racing's"
        assert -0.5 <= actions.min() < 0.0 < 1.0 < actions.max() <= 2.0
    ends = [end for batch in batches for end in batch.episodes]
    assert {end.reason for end in ends} == {"terminated", "truncated", "stopped"}
    assert sum(end.steps for end in ends) == 500
    assert all((batch.policy_versions == 1).all() and not batch.off_period.any() for batch in batches)
    assert "mean_return=" in place.log.read_text()
    assert "laps" not in place.log.read_text()


@pytest.mark.slow
def test_several_environments_are_cars_of_one_stream(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(toys.Gridded), tmp_path, s3) as place:
        with place.drive("--steps", "600", "--num-envs", "3") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches = place.batches()
    assert place.environment.spaces.observation.step == 2.0**-8
    for car in range(3):
        firsts = [first for batch in batches for first in batch.run_first_steps[batch.run_cars == car].tolist()]
        lengths = [length for batch in batches for length in batch.run_lengths[batch.run_cars == car].tolist()]
        assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]
        assert sum(lengths) == 200
    places = np.concatenate([batch.observations for batch in batches])[:, 0] * 2**8
    assert np.array_equal(places, np.rint(places))
    # What was done is what is stored, on the actions' grid as well.
    done = sorted(line[1][0] for line in place.written())
    assert done == sorted(float(value) for batch in batches for value in batch.actions[:, 0])
    assert np.array_equal(np.multiply(done, 2**4), np.rint(np.multiply(done, 2**4)))


@pytest.mark.slow
def test_a_killed_bridge_goes_on_where_its_spool_stands(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(toys.Reach), tmp_path, s3) as place:
        with place.drive() as bridge:
            wait_until(lambda: place.receiver.store_file.exists() and place.steps() > 300, "some is stored", 30.0)
            bridge.kill()
            bridge.wait()
        with Spool(tmp_path / "spool") as spool:
            before, stream = spool.total_steps, spool.stream
        first_life = place.written()
        with place.drive("--steps", "300") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        rows, batches = place.rows(), place.batches()
        with Spool(tmp_path / "spool") as spool:
            assert (spool.stream, spool.total_steps) == (stream, before + 300)
    # What the first life had committed, whole and once; then all of the second.
    assert rows == [*first_life[:before], *ended(place.written()[len(first_life) :])]
    firsts = [first for batch in batches for first in batch.run_first_steps.tolist()]
    lengths = [length for batch in batches for length in batch.run_lengths.tolist()]
    assert firsts == [0, *np.cumsum(lengths)[:-1].tolist()]


@pytest.mark.slow
def test_an_environment_that_raises_ends_the_drive_and_loses_no_whole_step(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(toys.Reach), tmp_path, s3) as place:
        with place.drive("--seed", "3", TOY_FAILS_AT="139") as bridge:
            assert bridge.wait(120) == ExitCode.FAILED
        rows, batches = place.rows(), place.batches()
    assert rows == ended(place.written())
    assert len(rows) == 138
    assert batches[-1].episodes[-1].reason == "interrupted"
    assert "RuntimeError: the wheel came off. So the drive ends" in place.log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process alone")
def test_an_environment_that_hangs_is_told_with_its_line_and_one_ctrl_c_ends_the_drive(
    tmp_path: Path, s3: MotoS3
) -> None:
    with environment_site(named(toys.Reach), tmp_path, s3) as place:
        with place.drive("--seed", "3", TOY_HANGS_AT="139") as bridge:
            wait_until(lambda: "has not come back from step for 10 s" in place.log.read_text(), "it is told", 30.0)
            assert "in step: time.sleep(3600.0)" in place.log.read_text()
            assert bridge.poll() is None, "it is waited for"
            bridge.send_signal(signal.SIGINT)
            assert bridge.wait(120) == ExitCode.FAILED
        rows, batches = place.rows(), place.batches()
    assert rows == ended(place.written())
    assert len(rows) == 138
    assert batches[-1].episodes[-1].reason == "interrupted"
    assert "hung in step when the drive was to end, and was broken off" in place.log.read_text()
    assert "Traceback" not in place.log.read_text()


@pytest.mark.slow
def test_what_paces_itself_is_not_paced_by_us(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(toys.Paced), tmp_path, s3) as place:
        with place.drive("--steps", "60") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        (streams,) = Store(place.receiver.store_file).streams().values()
        batches = place.batches()
    assert streams.spaces == place.environment.spaces.text
    ages = np.concatenate([batch.action_ages for batch in batches])
    # An action is applied at once; with a clock of ours beside its own it would be as old as a period.
    assert np.median(ages) < toys.PERIOD / 2
    off = np.concatenate([batch.off_period for batch in batches])
    assert np.flatnonzero(off).tolist() == [9, 19, 29, 39, 49, 59], "it says itself which steps were off"


@pytest.mark.slow
def test_our_clock_paces_what_does_not(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(named(toys.Reach), tmp_path, s3) as place:
        with place.drive("--steps", "60", "--real-time", "--rate", "25") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches = place.batches()
    ages = np.concatenate([batch.action_ages for batch in batches])
    assert np.median(ages) > 0.03, "an action waits for the next beat of the clock"
    assert len(ages) == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--env", "Pendulum-v1", "--track", "seed:7"], "--track is for cars and has no effect on --env"),
        (["--env", "Pendulum-v1", "--wait"], "An option of the game is for cars"),
        (["--env", "Pendulum-v1", "--rate", "20"], "--rate and --real-time together"),
        (["--num-envs", "2"], "go with --env NAME"),
        (["--env", "Pendulum-v77"], "Gymnasium knows no environment"),
        (["--env", named(toys.Images)], "images, which a policy on this PC does not take"),
        (["--env", named(toys.Misnamed)], "observation_setp"),
        (["--env", named(toys.Paced), "--rate", "20", "--real-time"], "paces itself"),
        (["--env", named(toys.Cells)], "Its observations are Discrete"),
    ],
)
def test_what_cannot_be_driven_is_a_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    environment = os.environ | {"AC_BRIDGE_URI": f"ws://bridge:{'a' * 20}@127.0.0.1:1"}
    spool = ["--spool", str(tmp_path / "spool")]
    command = [sys.executable, "-m", "bridge", "drive", *arguments, *spool]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == ExitCode.USAGE, ended.stderr
    assert sentence in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
