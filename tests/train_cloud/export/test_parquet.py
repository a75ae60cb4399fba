"""What pyarrow reads of the Parquet file is what was driven: a row for each step, values in the units that it says."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experience.rows import from_rows
from racing.task import CHANNELS, OBSERVATION_STEP
from tests.support.moto_s3 import MotoS3, s3
from tests.support.run_in_bucket import RunInBucket, column, toy_batch
from tests.support.runs import run_config
from tests.support.toys import stacked
from train_cloud.export.experience import Driven

pa = pytest.importorskip("pyarrow", reason="needs the dev extra, as it is since pyarrow is in it")

from pyarrow import parquet  # noqa: E402 - after what may skip

from train_cloud.export import parquet as export  # noqa: E402 - after what may skip
from train_cloud.export.__main__ import main  # noqa: E402 - after what may skip

__all__ = ["s3"]


@pytest.mark.slow
def test_rows_are_the_steps_with_names_and_units(
    tmp_path: Path, s3: MotoS3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "ROW_GROUP_STEPS", 90)
    run = RunInBucket(tmp_path, s3)
    run.drive_policy()
    shown = run.demonstrate()
    file = tmp_path / "exports" / "steps.parquet"
    assert main(["parquet", "--config", str(run.file), "--output", str(file)]) == 0
    about = parquet.ParquetFile(file).metadata
    assert max(about.row_group(group).num_rows for group in range(about.num_row_groups)) <= 90
    table = parquet.read_table(file)
    in_all = sum(len(steps) for cars in run.driven.values() for steps in cars.values())
    assert table.num_rows == in_all
    assert f"{in_all:,} steps of 2 streams" in capsys.readouterr().out
    assert table.schema.metadata[b"signature"].decode() == run.environment.signature
    assert table.schema.field("speed_forward").metadata == {b"unit": b"m/s", b"scale": b"40.0"}
    for stream, cars in run.driven.items():
        for car, steps in cars.items():
            mine = table.filter((pa.compute.field("stream") == stream) & (pa.compute.field("car") == car))
            rows = {name: mine[name].to_numpy() for name in mine.column_names if name not in ("stream", "bridge")}
            assert rows["step"].tolist() == list(range(len(steps)))
            assert (np.diff(rows["number"]) >= 0).all()
            seen = np.stack([rows[channel.name] / channel.scale for channel in CHANNELS], axis=1)
            # Nothing is lost by the units: the grid gives the policy's own numbers back.
            on_grid = (np.rint(seen / OBSERVATION_STEP) * OBSERVATION_STEP).astype(np.float32)
            np.testing.assert_array_equal(on_grid, column(steps, "observation"))
            actions = np.stack([rows["action_steer"], rows["action_pedals"]], axis=1)
            np.testing.assert_array_equal(actions, column(steps, "action"), strict=True)
            np.testing.assert_array_equal(rows["reward"], column(steps, "reward").astype(np.float32), strict=True)
            for name, its in (("terminated", "terminated"), ("truncated", "truncated"), ("policy_version", "version")):
                np.testing.assert_array_equal(rows[name], column(steps, its))
            assert (rows["demonstration"] == (stream == shown)).all()
            for place, step in enumerate(steps):
                if (led_to := rows["led_to"][place]) is not None:
                    np.testing.assert_array_equal(led_to, step.led_to)
                else:
                    np.testing.assert_array_equal(on_grid[place + 1], step.led_to)


@pytest.mark.parametrize(
    ("seen", "moved"), [("vector", "box"), ("cells", "many"), ("image", "discrete"), ("dict", "box")]
)
def test_other_environments_have_numbered_columns_and_large_observations_one(
    seen: str, moved: str, tmp_path: Path
) -> None:
    environment, batch, told, _ = toy_batch(seen, moved)
    file = tmp_path / "steps.parquet"
    assert export.write_parquet(file, "toy", environment, [Driven("a" * 32, "pc", 1, batch)]) == 20
    table = parquet.read_table(file)
    large = seen in ("image", "dict")
    rows = np.stack(table["obs"].to_numpy()) if large else table["obs_0"].to_numpy()[:, None]
    back = from_rows(
        environment.spaces.observation.space, np.concatenate([rows, table["led_to"][19].values.to_numpy()[None]])
    )
    np.testing.assert_equal(back, stacked(told))
    taken = np.stack([table[f"action_{place}"].to_numpy() for place in range(batch.actions.shape[1])], axis=1)
    np.testing.assert_array_equal(taken, batch.actions, strict=True)


def test_without_the_extra_a_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.json"
    config.write_bytes(msgspec.json.encode(run_config()))
    for kind, package in (("parquet", "pyarrow"), ("minari", "minari"), ("onnx", "onnx")):
        with monkeypatch.context() as without:
            for name in [name for name in sys.modules if name.startswith("train_cloud.export.")]:
                without.delitem(sys.modules, name)
            without.setitem(sys.modules, package, None)
            assert main([kind, "--config", str(config), "--output", str(tmp_path / kind)]) == 2
        assert capsys.readouterr().err == (
            f"The package {package} is not installed, which this export needs. Install the extra in the project's "
            'folder: pip install -c constraints.txt -e ".[operator,export]"\n'
        )
