"""What Minari reads back of a run is what was driven, episode by episode, to the bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.moto_s3 import MotoS3, s3
from tests.support.run_in_bucket import DrivenStep, RunInBucket, column, toy_batch
from tests.support.toys import stacked
from train_cloud.export import episodes as module
from train_cloud.export.episodes import Episodes
from train_cloud.export.experience import Driven

minari = pytest.importorskip("minari", reason="needs the dev extra, as it is since Minari is in it")

from train_cloud.export.__main__ import main  # noqa: E402 - after what may skip
from train_cloud.export.minari_dataset import write_minari  # noqa: E402 - after what may skip

__all__ = ["s3"]


@pytest.fixture
def run(tmp_path: Path, s3: MotoS3) -> RunInBucket:
    return RunInBucket(tmp_path, s3)


def episodes_of(steps: list[DrivenStep]) -> list[list[DrivenStep]]:
    """Cut where an episode ended, and where a step was not chosen on what the one before led to."""
    cut: list[list[DrivenStep]] = []
    for step in steps:
        before = cut[-1][-1] if cut else None
        if before is None or before.terminated or before.truncated or (before.led_to != step.observation).any():
            cut.append([])
        cut[-1].append(step)
    return cut


def load(run: RunInBucket, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[dict[str, Any]]]:
    """Every episode and its metadata, by Minari's own way."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    dataset = minari.load_dataset("driven-run-1-v0")
    assert dataset.spec.observation_space == run.environment.spaces.observation.space
    assert dataset.spec.action_space == run.environment.spaces.action.space
    episodes = list(dataset.iterate_episodes())
    return episodes, list(dataset.storage.get_episode_metadata(range(len(episodes))))


@pytest.mark.slow
def test_minari_loads_what_was_driven(
    run: RunInBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run.drive_policy()
    shown = run.demonstrate()
    assert main(["minari", "--config", str(run.file), "--output", str(tmp_path / "datasets")]) == 0
    said = capsys.readouterr()
    episodes, told = load(run, tmp_path / "datasets", monkeypatch)
    expected = {(stream, car): episodes_of(steps) for stream, cars in run.driven.items() for car, steps in cars.items()}
    assert len(episodes) == sum(map(len, expected.values())) > 8
    found = 0
    for (stream, car), wanted in expected.items():
        mine = [(e, t) for e, t in zip(episodes, told, strict=True) if (t["stream"], t["car"]) == (stream, car)]
        for (episode, about), steps in zip(mine, wanted, strict=True):
            last = steps[-1]
            np.testing.assert_array_equal(episode.observations[:-1], column(steps, "observation"), strict=True)
            np.testing.assert_array_equal(episode.observations[-1], last.led_to, strict=True)
            np.testing.assert_array_equal(episode.actions, column(steps, "action"), strict=True)
            np.testing.assert_array_equal(episode.rewards, column(steps, "reward").astype(np.float32), strict=True)
            np.testing.assert_array_equal(episode.terminations, column(steps, "terminated"), strict=True)
            driven_to_its_end = last.terminated or last.truncated
            assert about["ended"] == driven_to_its_end
            assert episode.truncations.tolist() == [
                *column(steps[:-1], "truncated").tolist(),
                last.truncated or not driven_to_its_end,
            ]
            np.testing.assert_array_equal(episode.infos["policy_version"][1:], column(steps, "version"))
            assert (episode.infos["demonstration"] == (stream == shown)).all()
            assert about["demonstration"] == ("whole" if stream == shown else "none")
            assert about["total_steps"] == len(steps)
            found += len(steps)
    assert f"{found:,} steps of 2 streams" in said.out
    (lap,) = (about for about in told if about["stream"] == shown)
    assert (lap["begun"], lap["ended"], lap["reason"], lap["bridge"]) == (True, True, "demonstration", "teacher")
    assert f"Demonstrations are {len(run.driven[shown][0]):,} of the steps." in said.out
    assert "Left out" not in said.err


@pytest.mark.slow
def test_what_has_no_known_beginning_is_marked_and_counted(
    run: RunInBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = run.drive_policy()
    assert main(["minari", "--config", str(run.file), "--output", str(tmp_path / "datasets")]) == 0
    _, told = load(run, tmp_path / "datasets", monkeypatch)
    for car in (0, 1):
        mine = [about for about in told if (about["stream"], about["car"]) == (stream, car)]
        # The policy came in the middle of the first one.
        assert (mine[0]["begun"], mine[0]["ended"], mine[0]["first_step"]) == (False, True, 0)
        # While the run wanted no steps one broke off, or an end was not recorded; what came next lacks its beginning.
        (place,) = (number for number, about in enumerate(mine) if about["first_step"] == 60)
        assert not mine[place]["begun"]
        whole = [about for about in mine if about["begun"] and about["ended"]]
        assert {about["reason"] for about in whole} <= {"time", "off_track", "reversed", "crash"}
        assert whole
    said = capsys.readouterr().out
    assert f"{sum(about['begun'] and about['ended'] for about in told)} whole" in said
    assert f"{sum(not about['begun'] for about in told)} without a known beginning" in said


@pytest.mark.parametrize(
    ("seen", "moved"), [("vector", "box"), ("cells", "many"), ("image", "discrete"), ("dict", "box")]
)
def test_values_of_any_space_come_back_as_they_were(seen: str, moved: str, tmp_path: Path) -> None:
    environment, batch, told, actions = toy_batch(seen, moved)
    episodes = Episodes().of([Driven("a" * 32, "pc", 1, batch)])
    folder = write_minari(tmp_path, "toy", environment, "sac", episodes)
    (episode,) = minari.MinariDataset(folder / "data").iterate_episodes()
    np.testing.assert_equal(episode.observations, stacked(told))
    np.testing.assert_equal(episode.actions, np.stack(actions))
    assert episode.truncations.tolist() == batch.truncated.tolist()


def test_what_is_held_of_episodes_that_go_on_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, batch, _, _ = toy_batch("vector", "box")
    endless = replace(batch, truncated=np.zeros(20, bool), observations=np.zeros((21, 1), np.float32))
    batches = [
        replace(endless, run_cars=np.array([car], np.int32), run_first_steps=np.array([20 * lap]))
        for lap in range(20)
        for car in range(3)
    ]
    driven = [Driven("a" * 32, "pc", number, batch) for number, batch in enumerate(batches, 1)]
    assert sorted(episode.steps for episode in Episodes().of(driven)) == [400, 400, 400]
    monkeypatch.setattr(module, "MOST_STEPS", 100)
    assert [episode.steps for episode in Episodes().of(driven)] == [100] * 12
    monkeypatch.setattr(module, "MOST_BYTES", 5_000)
    episodes = Episodes()
    pieces = list(episodes.of(driven))
    assert sum(piece.steps for piece in pieces) == episodes.steps == 1_200
    assert len(pieces) > 12
    assert [piece.kind() for piece in pieces if piece.first_step] == ["without a known beginning"] * (len(pieces) - 3)


def test_holes_in_the_bucket_are_left_out_and_told(
    run: RunInBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = run.drive_policy(cars=1)
    keys = run.segments(stream)
    assert len(keys) == 3
    data, _ = run.objects.get(keys[1])
    run.objects.put(keys[1], data[:-9])
    assert main(["minari", "--config", str(run.file), "--output", str(tmp_path / "datasets")]) == 0
    assert "1 unusable segment, 1 hole." in capsys.readouterr().err
    episodes, told = load(run, tmp_path / "datasets", monkeypatch)
    steps = run.driven[stream][0]
    kept = [*steps[:50], *steps[100:]]
    np.testing.assert_array_equal(np.concatenate([e.rewards for e in episodes]), column(kept, "reward"))
    (beyond,) = (about for about in told if about["first_step"] == 100)
    assert not beyond["begun"]
    (before,) = (about for about in told if about["first_step"] < 50 <= about["first_step"] + about["total_steps"])
    assert not before["ended"]


def test_nothing_half_made_stays_and_what_is_there_is_left_alone(
    run: RunInBucket, s3: MotoS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["minari", "--config", str(run.file), "--output", str(tmp_path / "datasets")]
    assert main(command) == 2
    assert "holds no experience of the run driven.run-1" in capsys.readouterr().err
    run.drive_policy(cars=1, steps=40)
    other = json.loads(run.file.read_text())
    run.file.write_text(json.dumps(other | {"task": {"progress_scale": 0.5}}))
    assert main(command) == 2
    assert "experience of another task" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("datasets")] == []
    run.file.write_text(json.dumps(other))
    (tmp_path / "datasets").mkdir()
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    s3.fail("403 Forbidden")
    assert main(command) == 5
