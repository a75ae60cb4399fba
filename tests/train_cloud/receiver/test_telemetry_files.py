"""Telemetry's files: what was written is there once, whatever a kill left behind, and they keep to their limit."""

import errno
import json
import sys
from pathlib import Path

import pytest

from tests.support.telemetry import frame, written_rows
from train_cloud.receiver import telemetry_files
from train_cloud.receiver.telemetry_files import Form, Frames, NoParquet, TelemetryFiles
from wire.messages import Telemetry

LIMIT = 2**30
STREAM = "a" * 32


def batch(number: int | None, *indices: int, stream: str = STREAM) -> Frames:
    return Frames(stream, "pc", number, 1.5, tuple(frame(index) for index in indices))


def times(folder: Path) -> list[float]:
    return [row["time"] for row in written_rows(folder)]


def test_each_frame_is_a_line_with_whose_it_is(tmp_path: Path) -> None:
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(1, 0, 1), batch(None, 2, stream="b" * 32)])
    first, _, single = written_rows(tmp_path)
    said = {"speed": 40.0, "gear": 4, "throttle": 0.5, "brake": 0.0, "steer": -0.25, "laps": 1, "lap_time": 12.5}
    assert first == {"at": 1.5, "stream": STREAM, "bridge": "pc", "batch": 1, "time": 0.0} | said
    assert single == {"at": 1.5, "stream": "b" * 32, "bridge": "pc", "time": 2.0} | said
    assert (files.stored_through(STREAM), files.stored_through("b" * 32)) == (1, 0)


def test_what_was_not_committed_is_cut_off_at_the_next_start_and_written_once(tmp_path: Path) -> None:
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(1, 0)])
    with (tmp_path / "telemetry-000001.jsonl").open("ab") as file:
        file.write(b'{"time": 1.0}\n{"time": 2.')
    again = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    assert again.stored_through(STREAM) == 1
    again.write([batch(2, 1), batch(3, 2)])
    # A bridge that has not heard the acknowledgement sends it again, over another connection.
    again.write([batch(2, 1), batch(3, 2), batch(4, 3)])
    assert times(tmp_path) == [0.0, 1.0, 2.0, 3.0]


def test_a_gap_is_never_written(tmp_path: Path) -> None:
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(1, 0), batch(3, 2)])
    assert (times(tmp_path), files.stored_through(STREAM)) == ([0.0], 1)


def test_a_disk_that_takes_nothing_costs_nothing_that_was_there(tmp_path: Path) -> None:
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(1, 0)])
    # A position that cannot be replaced: its name is taken by a folder.
    (tmp_path / "position.json").rename(tmp_path / "kept")
    (tmp_path / "position.json").mkdir()
    (tmp_path / "position.json" / "x").touch()
    with pytest.raises(IsADirectoryError):
        files.write([batch(2, 1)])
    assert files.stored_through(STREAM) == 1
    (tmp_path / "position.json" / "x").unlink()
    (tmp_path / "position.json").rmdir()
    files.write([batch(2, 5), batch(3, 6)])
    assert times(tmp_path) == [0.0, 5.0, 6.0]


def test_a_folder_that_cannot_be_brought_to_the_disk_is_an_error_and_then_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)

    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(folder))

    with monkeypatch.context() as broken:
        broken.setattr(telemetry_files, "sync_folder", failing)
        with pytest.raises(OSError, match="Input/output error"):
            files.write([batch(1, 0)])
    files.write([batch(1, 0), batch(2, 1)])
    assert times(tmp_path) == [0.0, 1.0]
    assert TelemetryFiles(tmp_path, "jsonl", LIMIT).stored_through(STREAM) == 2


def filled(folder: Path, form: Form, batches: int) -> TelemetryFiles:
    """Files of 128 KiB, of batches of a hundred frames."""
    files = TelemetryFiles(folder, form, 2**20)
    for number in range(1, batches + 1):
        files.write([batch(number, *range(100 * number, 100 * number + 100))])
    return files


@pytest.mark.slow
def test_files_rotate_and_the_oldest_go_while_the_streams_position_stays(tmp_path: Path) -> None:
    files = filled(tmp_path, "jsonl", 120)
    kept = sorted(tmp_path.glob("telemetry-*"))
    assert len(kept) > 3
    assert kept[0].name > "telemetry-000001.jsonl"
    assert sum(file.stat().st_size for file in kept) <= 2**20
    found = times(tmp_path)
    assert found == [float(index) for index in range(int(found[0]), 12_100)]
    assert files.stored_through(STREAM) == TelemetryFiles(tmp_path, "jsonl", 2**20).stored_through(STREAM) == 120


def test_a_file_that_somebody_took_away_stops_nobody(tmp_path: Path) -> None:
    TelemetryFiles(tmp_path, "jsonl", LIMIT).write([batch(1, 0)])
    (tmp_path / "telemetry-000001.jsonl").unlink()
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(2, 1)])
    assert times(tmp_path) == [1.0]


@pytest.mark.parametrize("position", [None, b'{"file": 1, "si', b"\xff{}"])
def test_without_a_readable_position_nothing_that_was_written_is_touched(
    tmp_path: Path, position: bytes | None
) -> None:
    TelemetryFiles(tmp_path, "jsonl", LIMIT).write([batch(1, 0)])
    said = tmp_path / "position.json"
    said.unlink()
    if position is not None:
        said.write_bytes(position)
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    assert files.stored_through(STREAM) == 0
    files.write([batch(1, 1)])
    assert times(tmp_path) == [0.0, 1.0]
    assert TelemetryFiles(tmp_path, "jsonl", LIMIT).stored_through(STREAM) == 1


def test_files_that_came_after_the_position_are_not_written_over(tmp_path: Path) -> None:
    TelemetryFiles(tmp_path, "jsonl", LIMIT).write([batch(1, 0)])
    (tmp_path / "telemetry-000002.jsonl").write_bytes(b'{"time":7.0}\n')
    files = TelemetryFiles(tmp_path, "jsonl", LIMIT)
    files.write([batch(2, 1)])
    assert times(tmp_path) == [0.0, 7.0, 1.0]


@pytest.mark.slow
def test_whole_files_become_parquet_also_after_a_kill_in_between(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    filled(tmp_path, "jsonl", 30)
    # As after a kill before the first was finished, and one after the second was and its lines were not yet deleted.
    first, second = sorted(tmp_path.glob("telemetry-*.jsonl"))[:2]
    lines = second.read_bytes()
    TelemetryFiles(tmp_path, "parquet", 2**20)
    second.write_bytes(lines)
    TelemetryFiles(tmp_path, "parquet", 2**20)
    assert not first.exists()
    assert not second.exists()
    tables = [parquet.read_table(file) for file in sorted(tmp_path.glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()] + written_rows(tmp_path)
    assert [row["time"] for row in rows] == [float(index) for index in range(100, 3100)]
    assert {*Telemetry.__struct_fields__} < {*tables[0].schema.names}
    assert rows[0] == {
        **dict.fromkeys(tables[0].schema.names),
        **json.loads(lines.split(b"\n")[0]),
        "batch": 1,
        "time": 100.0,
        "valid": True,
    }


def test_without_pyarrow_parquet_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python's own way to say that a module is not there.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NoParquet, match=r"pip install 'ac-training\[export\]'"):
        TelemetryFiles(tmp_path, "parquet", LIMIT)
    TelemetryFiles(tmp_path, "jsonl", LIMIT)


def test_lines_that_parquet_cannot_hold_stay_lines_and_stop_nobody(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    files = filled(tmp_path, "jsonl", 10)
    first = min(tmp_path.glob("telemetry-*.jsonl"))
    damaged = b"no line of ours\n" + first.read_bytes()
    first.write_bytes(damaged)
    again = TelemetryFiles(tmp_path, "parquet", 2**20)
    assert first.read_bytes() == damaged
    again.write([batch(11, 5)])
    assert again.stored_through(STREAM) == files.stored_through(STREAM) + 1 == 11


def test_whole_frames_survive_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = frame(
        0,
        place=5.0,
        gap=-1.0,
        delta=0.5,
        off_tracks=((1.0, 2.0),),
        valid=False,
        position=(1.0, 2.0),
        wheel_load=(1.0, 2.0, 3.0, 4.0),
        wheels_out=3,
        collided=True,
        ended="off_track",
        action=(0.5, -0.5),
        chunk=7,
    )
    files = TelemetryFiles(tmp_path, "parquet", 2**20)
    files.write([Frames(STREAM, "pc", 1, 1.5, (whole,) * 128)] + [batch(n, *range(128)) for n in range(2, 12)])
    (file,) = tmp_path.glob("*.parquet")
    row = parquet.read_table(file).to_pylist()[0]
    for name in Telemetry.__struct_fields__:
        said = getattr(whole, name)
        expected = (
            [list(spot) for spot in said] if name == "off_tracks" else list(said) if isinstance(said, tuple) else said
        )
        assert row[name] == expected, name
