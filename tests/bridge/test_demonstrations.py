"""`ac-bridge demonstrate` against the real receiver process and a real S3 server: whole, clean laps of no policy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experience.batches import DEMONSTRATION
from experience.codec import Batch
from experience.environment import racing
from racing.track import Track
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import ROOT, bridge_process, stored_batches
from tests.support.moto_s3 import MotoS3, s3
from tests.support.real_data import real_data
from tests.support.receivers import TOKEN, receiver_process
from tests.support.recordings import along, write
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.bridge_table import standings
from train_cloud.run_config import RunConfig
from train_cloud.store import Store
from wire.pairing import Pairing, format_pairing

__all__ = ["s3"]

LAYOUT = racing().spaces.layout
TRACK = "seed:7:1200"
RECORDED_ROWS = 5988
NOWHERE = format_pairing(Pairing("127.0.0.1", 1, TOKEN, tls=False))
STILL = {"velocity_z": 0.0, "velocity_x": 0.0}
REFERENCE = ("--car", "simulated", "--driver", "reference", "--track", TRACK)


def config_of(s3: MotoS3, **task: float) -> RunConfig:
    bucket = {"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url}
    return run_config(bucket=bucket, listen_host="127.0.0.1", listen_port=0, task=task, segment_seconds=0.5)


@pytest.mark.slow
def test_the_reference_driver_shows_two_clean_laps_and_ends_when_they_are_stored(s3: MotoS3, tmp_path: Path) -> None:
    with receiver_process(config_of(s3), tmp_path / "instance") as receiver:
        with bridge_process(receiver, tmp_path, "demonstrate", *REFERENCE) as bridge:
            assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored_batches(receiver, LAYOUT)
        store = Store(receiver.store_file)
        (standing,) = standings(store)
        store.close()
    laps = [lap for batch in batches for lap in batch.laps]
    assert [lap.clean for lap in laps] == [True, True]
    assert all((batch.policy_versions == DEMONSTRATION).all() for batch in batches)
    assert standing.policy_version == 0
    # They join: one run from the start to the line of the last lap, and there it ends, as what was not watched further.
    ends = np.concatenate([batch.truncated | batch.terminated for batch in batches])
    assert ends.sum() == 1
    assert batches[-1].truncated[-1]
    (episode,) = (end for batch in batches for end in batch.episodes)
    assert (episode.reason, episode.steps) == ("demonstration", sum(batch.steps for batch in batches))
    assert "2 laps were taken, the best in 0:" in (tmp_path / "bridge.log").read_text()


@pytest.mark.slow
def test_recorded_laps_arrive_whole_and_clean(s3: MotoS3, tmp_path: Path) -> None:
    laps_file, monza = real_data("telemetry/monza_25hz_two_laps.csv"), real_data("tracks/monza.csv")
    with receiver_process(config_of(s3, control_hz=25.0), tmp_path / "instance") as receiver:
        recorded = ["--recording", str(laps_file), "--track", str(monza)]
        with bridge_process(receiver, tmp_path, "demonstrate", *recorded) as bridge:
            assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored_batches(receiver, LAYOUT)
    (lap,) = (lap for batch in batches for lap in batch.laps)
    assert lap.clean
    assert 105.0 < lap.time < 135.0
    # The way to the line and the lap; what was driven behind it is no whole lap.
    steps = sum(batch.steps for batch in batches)
    assert 25.0 * lap.time < steps < RECORDED_ROWS - 1
    assert batches[-1].laps[-1].row == batches[-1].steps - 1
    assert batches[-1].truncated[-1]
    assert all((batch.policy_versions == DEMONSTRATION).all() for batch in batches)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--track", "seed:3:1200"), "lies off the track seed:3:1200"),
        (("--track", TRACK, "--rate", "20"), "no 20 steps a second can be made"),
        ((), "--recording needs --track FILE"),
        (("--track", TRACK, "--driver", "reference"), "leave --car, --driver and --wait out"),
        (("--track", TRACK, "--pace", "0.7"), "--pace is the reference driver's"),
    ],
)
def test_a_recording_that_makes_no_sense_is_refused_before_anything_is_dialled(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    file = write(tmp_path / "mine.csv", along(Track.generate(7, 1200.0), 400))
    found = subprocess.run(
        [sys.executable, "-m", "bridge", "demonstrate", "--recording", str(file), *arguments],
        cwd=ROOT,
        env=os.environ | {"AC_BRIDGE_URI": NOWHERE, "AC_BRIDGE_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == ExitCode.USAGE, found.stderr
    assert says in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_a_recording_of_another_rate_than_the_runs_is_refused(s3: MotoS3, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.csv", along(Track.generate(7, 1200.0), 400))
    with receiver_process(config_of(s3), tmp_path / "instance") as receiver:
        with bridge_process(receiver, tmp_path, "demonstrate", "--recording", str(file), "--track", TRACK) as bridge:
            assert bridge.wait(120) == ExitCode.REFUSED, (tmp_path / "bridge.log").read_text()
        assert stored_batches(receiver, LAYOUT) == []
    assert "Start the bridge with `--rate 20`" in (tmp_path / "bridge.log").read_text()


@pytest.mark.slow
def test_laps_that_teach_nothing_are_left_out_and_said(s3: MotoS3, tmp_path: Path) -> None:
    track = Track.generate(7, 1200.0)
    around = along(track, round(track.length / 0.4) + 400)
    off = write(tmp_path / "off.csv", [row | {"out_of_track": float(k == 2000)} for k, row in enumerate(around)])
    still = write(tmp_path / "still.csv", [around[0] | {"currentTime": 0.04 * k} | STILL for k in range(400)])
    with receiver_process(config_of(s3, control_hz=25.0), tmp_path / "instance") as receiver:
        for file in (off, still):
            with bridge_process(
                receiver, tmp_path, "demonstrate", "--recording", str(file), "--track", TRACK
            ) as bridge:
                assert bridge.wait(120) == ExitCode.FAILED, (tmp_path / "bridge.log").read_text()
        assert stored_batches(receiver, LAYOUT) == []
    log = (tmp_path / "bridge.log").read_text()
    assert "that stood still." in log
    assert log.count("No lap was taken: only whole laps count") == 2
    assert "Left out: 1 that left the track." in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_demonstration_that_is_killed_goes_on_where_its_spool_ends(s3: MotoS3, tmp_path: Path) -> None:
    with receiver_process(config_of(s3), tmp_path / "instance") as receiver:
        with bridge_process(receiver, tmp_path, "demonstrate", *REFERENCE, "--laps", "200") as bridge:
            wait_until(lambda: len(laps_of(stored_batches(receiver, LAYOUT))) >= 3, "laps to arrive", 120.0)
            bridge.kill()
            bridge.wait()
        with bridge_process(receiver, tmp_path, "demonstrate", *REFERENCE, "--laps", "1", "--pace", "0.7") as bridge:
            assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored_batches(receiver, LAYOUT)
    at = 0
    for batch in batches:
        for first, length in zip(batch.run_first_steps.tolist(), batch.run_lengths.tolist(), strict=True):
            assert first == at, "nothing is missing, and nothing came twice"
            at += length
    laps = laps_of(batches)
    assert min(laps[1:-1]) == pytest.approx(max(laps[1:-1]), rel=0.02)
    assert laps[-1] == pytest.approx(laps[0] / 0.7, rel=0.1), "the lazy one came last"


def laps_of(batches: list[Batch]) -> list[float]:
    return [lap.time for batch in batches for lap in batch.laps]
