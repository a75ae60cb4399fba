"""Raw pages to a file and back: exact, bounded, readable after a crash, and clear about damage."""

import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.assetto_corsa.recording.recording import (
    PageKind,
    Record,
    RecordingDamaged,
    RecordingReader,
    RecordingWriter,
)

RECORDS = st.builds(
    Record,
    kind=st.sampled_from(PageKind),
    time=st.floats(allow_nan=False),
    data=st.binary(max_size=700),
)


def packets(count: int) -> list[Record]:
    """What a drive of `count` packets at 333 Hz looks like: pages that differ in a few bytes."""
    page = bytes(range(256)) * 2 + bytes(68)
    return [Record(PageKind.PHYSICS, n / 333.0, n.to_bytes(4, "little") + page[4:]) for n in range(count)]


def written(path: Path, records: list[Record]) -> Path:
    with RecordingWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


@given(records=st.lists(RECORDS, max_size=30))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_was_written_is_read_again(tmp_path: Path, records: list[Record]) -> None:
    reader = RecordingReader(written(tmp_path / "pages", records))
    assert list(reader) == records
    assert not reader.cut_short


def test_it_is_small_and_can_be_read_twice(tmp_path: Path) -> None:
    records = packets(3000)
    path = written(tmp_path / "pages", records)
    assert path.stat().st_size < 3000 * 580 / 5
    reader = RecordingReader(path)
    assert list(reader) == list(reader) == records


def test_what_was_flushed_survives_a_killed_recorder(tmp_path: Path) -> None:
    records, path = packets(2000), tmp_path / "pages"
    writer = RecordingWriter(path)
    for record in records[:1200]:
        writer.write(record)
    writer.flush()
    for record in records[1200:1210]:
        writer.write(record)
    assert list(RecordingReader(path)) == records[:1200]
    assert writer.bytes_written == path.stat().st_size
    writer.close()
    writer.close()


def test_a_file_that_was_cut_short_plays_up_to_its_last_whole_block(tmp_path: Path) -> None:
    records = packets(2000)
    path = written(tmp_path / "pages", records)
    whole = path.read_bytes()
    lengths = set()
    for missing in (1, 2000, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:-missing])
        reader = RecordingReader(path)
        played = list(reader)
        assert reader.cut_short
        assert played == records[: len(played)]
        lengths.add(len(played))
    assert len(lengths) > 2


def test_a_flipped_bit_is_damage_and_says_where(tmp_path: Path) -> None:
    path = written(tmp_path / "pages", packets(2000))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(RecordingDamaged, match="damaged at byte"):
        list(RecordingReader(path))


def test_a_length_that_no_block_has_is_damage_and_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "pages", packets(10))
    path.write_bytes(path.read_bytes()[:8] + b"\xff\xff\xff\x7f" + bytes(100))
    with pytest.raises(RecordingDamaged, match="damaged at byte 8"):
        list(RecordingReader(path))


@pytest.mark.parametrize("named", [True, False])
def test_a_block_that_inflates_beyond_all_bounds_is_damage_and_takes_no_memory(tmp_path: Path, named: bool) -> None:
    path = written(tmp_path / "pages", packets(10))
    bomb = zstandard.ZstdCompressor(write_content_size=named).compress(bytes(1 << 28))
    path.write_bytes(path.read_bytes()[:8] + len(bomb).to_bytes(4, "little") + bomb)
    tracemalloc.start()
    try:
        with pytest.raises(RecordingDamaged, match="damaged at byte 8"):
            list(RecordingReader(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_another_file_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("speed,gap\n1,2\n")
    with pytest.raises(RecordingDamaged, match="ac-bridge record"):
        RecordingReader(tmp_path / "other")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingDamaged, match=r"nowhere cannot be opened: No such file"):
        RecordingReader(tmp_path / "nowhere")
