"""A run's curves over its lives: TensorBoard's files on the disk and in the bucket, read by TensorBoard's own code."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]  # has no types
from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]  # has no types

from experience.environment import racing
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from tests.support.small_disk import SmallDisk
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_folder import files
from train_cloud.run_folder.keys import TENSORBOARD
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.reporting.metrics import Rates, metrics_document
from train_cloud.trainer.reporting.tracking import TAGS, Tracking, curve_points

__all__ = ["s3"]

CONFIG = run_config(network=[8], buffer_size=100)


@pytest.fixture(autouse=True)
def _files_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one second are told apart by a counter, whose names sort right only while its digits do not grow."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))


@pytest.fixture
def objects(s3: MotoS3) -> ObjectStore:
    return open_store(s3.bucket, "runs/test-run/")


def document(steps: int) -> dict[str, Any]:
    """What the trainer tells at `steps`; every value grows with the steps, the best lap is not known yet."""
    counted = dict.fromkeys(TAGS.values(), float(steps)) | {"best_lap_s": None}
    return counted | {"steps": steps, "losses": {"actor_loss": steps / 10, "n_updates": steps}}


def life(folder: Path, objects: ObjectStore, resumed_at: int, steps: list[int], upload: bool = True) -> None:
    tracking = Tracking(CONFIG, folder, objects, resumed_at)
    for at in steps:
        tracking.draw(document(at))
    if upload:
        tracking.upload()
    tracking.close()


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The points of one curve, as TensorBoard shows them."""
    accumulator = EventAccumulator(str(folder / files.TENSORBOARD), size_guidance={"scalars": 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_curves_are_those_of_the_metrics_document() -> None:
    learner = make_learner(CONFIG, racing())
    rates, counters = Rates(), Counters()
    rates.mark(0, counters)
    points = curve_points(metrics_document(CONFIG, counters, learner, rates, "training", 0, None))
    assert "drive/best_lap_s" not in points
    assert points["run/replay_rows"] == 0


def test_what_the_policy_takes_longer_than_the_human_is_drawn_by_sectors() -> None:
    points = curve_points(document(10) | {"behind_human_s": [0.5, 0.25, -0.125]})
    drawn = [points[f"drive/behind_human_{sector}_s"] for sector in (1, 2, 3)]
    assert drawn == [0.5, 0.25, -0.125]
    assert not [tag for tag in curve_points(document(10) | {"behind_human_s": None}) if "behind" in tag]


def test_what_a_remote_environments_steps_take_is_drawn_once_it_is_known() -> None:
    known = {"environment_seconds": 0.001, "round_trip_seconds": 0.004, "overhead_seconds": 0.003}
    points = curve_points(document(10) | {"remote": known})
    assert {name: points[f"remote/{name}"] for name in known} == known
    unknown = curve_points(document(10) | {"remote": dict.fromkeys(known)})
    assert not [tag for tag in unknown if tag.startswith("remote/")]


def test_a_resumed_run_goes_on_at_its_checkpoint_and_no_point_is_there_twice(
    tmp_path: Path, objects: ObjectStore
) -> None:
    life(tmp_path, objects, 0, [0, 10, 20, 20, 30, 40])
    life(tmp_path, objects, 30, [30, 35, 50])
    expected = [10, 20, 30, 35, 50]
    assert curve(tmp_path, "drive/laps") == [(steps, float(steps)) for steps in expected]
    assert [steps for steps, _ in curve(tmp_path, "train/actor_loss")] == expected


def test_a_new_instance_shows_the_whole_run_from_the_bucket(tmp_path: Path, objects: ObjectStore) -> None:
    life(tmp_path / "first", objects, 0, [10, 20, 30])
    life(tmp_path / "second", objects, 20, [25, 40])
    life(tmp_path / "third", objects, 40, [45])
    assert [steps for steps, _ in curve(tmp_path / "third", "drive/laps")] == [10, 20, 25, 40, 45]
    assert len(objects.list(TENSORBOARD)) == 3


@pytest.mark.parametrize("folder", ["first", "second"])
def test_what_a_life_without_a_checkpoint_had_drawn_counts_no_more(
    tmp_path: Path, objects: ObjectStore, folder: str
) -> None:
    life(tmp_path / "first", objects, 0, [10, 20, 30])
    life(tmp_path / folder, objects, 0, [5, 15])
    assert [steps for steps, _ in curve(tmp_path / folder, "drive/laps")] == [5, 15]
    life(tmp_path / "third", objects, 15, [25])
    assert [steps for steps, _ in curve(tmp_path / "third", "drive/laps")] == [5, 15, 25]


def test_only_files_that_have_grown_are_uploaded_again(tmp_path: Path, objects: ObjectStore, s3: MotoS3) -> None:
    tracking = Tracking(CONFIG, tmp_path, objects, 0)
    tracking.draw(document(10))
    tracking.upload()
    s3.fail()
    tracking.upload()
    tracking.draw(document(20))
    with pytest.raises(ObjectStoreError):
        tracking.upload()
    s3.heal()
    tracking.upload()
    tracking.close()
    stored = objects.get(objects.list(TENSORBOARD)[0])[0]
    assert stored == next((tmp_path / files.TENSORBOARD).iterdir()).read_bytes()


def test_a_silent_bucket_only_costs_the_earlier_curves(
    tmp_path: Path, objects: ObjectStore, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    s3.fail()
    life(tmp_path, objects, 20, [30], upload=False)
    assert "earlier curves not fetched" in caplog.text
    assert curve(tmp_path, "drive/laps") == [(30, 30.0)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_ends_the_curves_and_not_the_training(
    tmp_path: Path, objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        tracking = Tracking(CONFIG, disk.folder, objects, 0)
        disk.fill()
        for steps in range(1, 1000):
            tracking.draw(document(steps))
        tracking.upload()
        tracking.draw(document(1000))
        tracking.close()
    assert "training goes on without" in caplog.text
