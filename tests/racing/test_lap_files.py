"""Files of laps: exact where the format is, whole or not at all, and sentences for what cannot be."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from racing.lap_files import FORMATS, LapFileError, file_stem, stint_stem, write
from tests.support.laps import made_lap

ROOT = Path(__file__).parents[2]


def test_plain_csv_gives_every_number_back_exactly(tmp_path: Path) -> None:
    laps = [made_lap(50, 2.1, 1), made_lap(60, 2.3, 2, engine_speed=None)]
    (file,) = write(laps, tmp_path / "two.csv", "csv")
    with file.open(newline="", encoding="utf-8") as rows:
        table = list(csv.DictReader(rows))
    assert [row["lap"] for row in table] == ["1"] * 50 + ["2"] * 60
    assert "engine_speed" not in table[0]
    for name in ("seconds", "metres", "speed", "steer", "x", "acceleration_left"):
        read = [float(row[name]) for row in table]
        assert read == np.concatenate([lap.columns()[name] for lap in laps]).tolist(), name
    assert [int(row["gear"]) for row in table] == np.concatenate([lap.gear for lap in laps]).tolist()


def test_parquet_gives_every_number_back_exactly_and_says_what_was_driven(tmp_path: Path) -> None:
    lap = made_lap()
    (file,) = write(lap, tmp_path / "one", "parquet")
    assert file.name == "one.parquet"
    table = pq.read_table(file)
    for name, values in lap.columns().items():
        assert table[name].to_pylist() == values.tolist(), name
    about = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert about == {
        "track": "monza",
        "driver": "human",
        "car": "ks_porsche_911_gt3_r_2016",
        "begun": "2026-11-30T08:09:10+00:00",
    }


@pytest.mark.parametrize(
    ("form", "one", "two"),
    [
        ("motec", ["a.1.ld", "a.1.ldx"], ["a.1.ld", "a.1.ldx"]),
        ("motec-csv", ["a.1.motec.csv"], ["a.1-1.motec.csv", "a.1-2.motec.csv"]),
        ("csv", ["a.1.csv"], ["a.1.csv"]),
        ("parquet", ["a.1.parquet"], ["a.1.parquet"]),
    ],
)
def test_an_ending_is_added_where_it_lacks_and_nothing_else_is_left(
    tmp_path: Path, form: str, one: list[str], two: list[str]
) -> None:
    lap = made_lap()
    assert [file.name for file in write(lap, tmp_path / "a.1", form)] == one
    assert [file.name for file in write([lap, lap], tmp_path / one[0], form)] == two
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted({*one, *two})


def test_all_formats_lie_beside_each_other(tmp_path: Path) -> None:
    files = [file for form in FORMATS for file in write(made_lap(), tmp_path / "lap", form)]
    assert len({*files}) == 5
    assert all(file.stat().st_size > 100 for file in files)


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "lap.csv"
    folder.mkdir()
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        write(made_lap(), folder, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["lap.csv"]
    assert folder.is_dir()


def test_an_unknown_format_and_no_lap_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(LapFileError, match=r"'pdf' is no format of a lap\. Choose motec, motec-csv, csv, parquet"):
        write(made_lap(), tmp_path / "lap", "pdf")
    with pytest.raises(LapFileError, match="no lap to write"):
        write([], tmp_path / "lap", "csv")


@pytest.mark.parametrize("name", ["../../etc/passwd", "CON", "a:b*c?", "x" * 10_000, "コース", "", "\x00\n"])
def test_a_files_name_is_one_that_every_system_takes(tmp_path: Path, name: str) -> None:
    lap = made_lap(name=name, track=name, time=65.4321)
    for stem in (file_stem(lap), stint_stem([lap, lap])):
        assert len(stem) < 150
        assert stem.isascii()
        assert not {*stem} & {*'/\\:*?"<>|. \0\n'}
        assert stem.split(".")[0].upper() not in {"CON", "NUL", "AUX", "PRN"}
        (file,) = write(lap, tmp_path / stem, "csv")
        assert file.parent == tmp_path
    assert file_stem(lap).endswith("-1m05s432")


def test_without_pyarrow_the_other_formats_work_and_parquet_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "PathFinder.find_spec = staticmethod(lambda name, *more: None if name == 'pyarrow' else found(name, *more))\n"
        "from pathlib import Path\n"
        "from racing.lap_files import LapFileError, write\n"
        "from tests.support.laps import made_lap\n"
        "for form in ('motec', 'motec-csv', 'csv'):\n"
        "    write(made_lap(), Path(sys.argv[1]) / 'lap', form)\n"
        "try:\n"
        "    write(made_lap(), Path(sys.argv[1]) / 'lap', 'parquet')\n"
        "except LapFileError as error:\n"
        "    print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.check_output([sys.executable, "-c", script, str(tmp_path)], env=environment, text=True, cwd=ROOT)
    assert "pyarrow, which is not installed" in told
    assert 'pip install "ac-training[export]"' in told
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".csv", ".csv", ".ld", ".ldx"]
