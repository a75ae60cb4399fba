"""What is counted of a learning run, that a finished piece is never computed again, and that every method learns."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.reference_driver import ReferenceDriver
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from scripts.bench import learning
from scripts.bench.learning import RIVAL, Piece, find, finished, interval, keep, milestones, steadiness, table
from scripts.bench.learning_drive import SHARES_OF_SPEED, demonstrated

QUICK = ["--quick", "--methods", RIVAL, "sac", "sac+laps"]


def judged(*rows: tuple[int, list[int], float | None], **others: Any) -> dict[str, Any]:
    return {"reference": 30.0, "judged": [list(row) for row in rows], **others}


def test_a_policy_reaches_what_it_does_from_every_start() -> None:
    result = judged(
        (1_000, [0, 3, 3], 31.0),
        (2_000, [1, 3, 3], 33.0),
        (3_000, [3, 3, 3], 31.6),
        (4_000, [3, 2, 3], 31.5),
        (5_000, [3, 3, 3], 31.7),
    )
    assert milestones(result) == (2_000, 3_000, 4_000)
    assert milestones(judged((1_000, [0, 0, 0], None))) == (np.inf, np.inf, np.inf)
    assert steadiness([result, judged((1_000, [0, 0, 0], None))]) == (1, 2)


def test_the_interval_is_of_the_median_over_tracks_and_knows_what_was_never_reached() -> None:
    assert interval([[5.0, 5.0, 5.0], [7.0, 7.0, 7.0], [9.0, 9.0, 9.0]]) == (7.0, 7.0, 7.0)
    middle, low, high = interval([[1.0, 2.0, 3.0, 4.0, np.inf]])
    assert (middle, high) == (3.0, np.inf)
    assert 1.0 <= low < 3.0


def test_a_finished_piece_is_found_again_unless_its_settings_were_others(
    tmp_path: Path,
) -> None:
    piece = Piece("seed:7:1200", "sac", 0, 600, 300, {})
    keep(tmp_path, piece.key | judged())
    with (tmp_path / "sac.jsonl").open("a") as file:
        file.write('{"track": "seed:7:12')  # killed while it wrote
    keep(tmp_path, replace(piece, seed=1).key | judged())
    assert len(finished(tmp_path)) == 2
    assert find(finished(tmp_path), piece) is not None
    assert find(finished(tmp_path), replace(piece, seed=2)) is None
    assert find(finished(tmp_path), replace(piece, settings={"updates_per_step": 2.0})) is None


def test_the_table_has_a_row_for_each_track_and_one_for_all() -> None:
    results = [
        judged((1_000, [3, 3, 3], 31.0), method="sac", track=track, seed=seed) for track in "ab" for seed in range(2)
    ]
    lines = "\n".join(table(results, ["a", "b"], ["sac"], 40_000)).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["a", "b", "all"]
    assert "| 1,000 [1,000; 1,000] | 0.8 | 1.033 |" in lines[-1]
    never = [judged((1_000, [0, 0, 0], None), method="sac", track="a", seed=0)]
    assert "> 40,000 [> 40,000; > 40,000] | - | - |" in table(never, ["a"], ["sac"], 40_000)[-1]


@pytest.mark.slow
def test_quickly_the_rival_and_our_own_learn_and_an_interrupted_computation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["learning", *QUICK, "--results", str(tmp_path)])
    assert learning.main() == ExitCode.OK
    shown = capsys.readouterr().out
    assert f"| {RIVAL} | seed:7:1200 | 1 |" in shown
    lines = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert json.loads(lines["sac.jsonl"])["settings"] == learning.QUICK
    assert [row[0] for row in json.loads(lines["sac.jsonl"])["judged"]] == [100, 200, 300]
    assert learning.main() == ExitCode.OK
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == lines
    assert capsys.readouterr().out.splitlines()[2:] == shown.splitlines()[2:]


@pytest.mark.slow
@pytest.mark.parametrize("shown", SHARES_OF_SPEED)
def test_what_is_demonstrated_is_two_laps_that_no_policy_drove(shown: str) -> None:
    track = parse_track("seed:7:1200")
    batches = demonstrated(track, shown)
    laps = [lap for batch in batches for lap in batch.laps]
    assert {int(version) for batch in batches for version in batch.policy_versions} == {0}
    if shown == "wrong":
        assert not laps
        assert sum(len(batch.episodes) for batch in batches) > 10
    else:
        assert [lap.clean for lap in laps] == [True, True]
        expected = ReferenceDriver(track).lap_time_estimate / SHARES_OF_SPEED[shown]
        assert laps[1].time == pytest.approx(expected, rel=0.06)


def test_what_cannot_be_computed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, said in (
        (["--methods", "sca"], "no method called sca; there are: stable-baselines3, sac"),
        (["--methods", f"{RIVAL}+laps"], "with +laps, +limit, +lazy, +wrong"),
        (["--every", "50"], "must be a multiple of"),
        (["--tracks", "seed:x"], "seed:x"),
    ):
        monkeypatch.setattr(sys, "argv", ["learning", *wrong, "--results", str(tmp_path / "none")])
        assert learning.main() == ExitCode.USAGE
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
