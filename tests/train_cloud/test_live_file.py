"""The file of where the cars are: whole, or nothing."""

from pathlib import Path

import msgspec
import pytest

from train_cloud.live_file import MAX_BYTES, LiveCar, LiveFile, read_live, write_live
from train_cloud.spot_table import KEPT

CAR = LiveCar("a" * 32, "pc", 1.5, 100.0, -2.0, 30.0, 3, 0.5, 0.0, -0.25, 2, 12.5, None)
LIVE = LiveFile(2.5, (CAR, msgspec.structs.replace(CAR, stream="b" * 32, delta=-0.5)), ((1.0, 2.0), (3.0, -4.0)))


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    assert read_live(path) is None
    write_live(path, LiveFile(1.0))
    write_live(path, LIVE)
    assert read_live(path) == LIVE
    assert msgspec.json.decode(path.read_bytes())["spots"] == [[1.0, 2.0], [3.0, -4.0]]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        msgspec.json.encode(LIVE)[:-20],
        b"[1]",
        b'{"at": "now"}',
        b'{"at": 1.0, "bridges": [{}]}',
        msgspec.json.encode({"at": 1.0, "spots": [[0.0, 0.0]] * (KEPT + 1)}),
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"at": 1.0}' + b" " * MAX_BYTES,
    ],
)
def test_a_file_that_is_not_whole_or_not_ours_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "live.json"
    path.write_bytes(content)
    assert read_live(path) is None


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    write_live(path, LIVE)
    (tmp_path / ".live.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_live(path, LiveFile(3.0))
    assert read_live(path) == LIVE
    path.unlink()
    path.mkdir()
    assert read_live(path) is None
