"""Batches come back to the bit, and no bytes raise anything but CodecError."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from experience.batches import DTYPES, REASONS, check_batch
from experience.codec import (
    MAX_STEPS_PER_BATCH,
    VERSION,
    Batch,
    CodecError,
    Column,
    EpisodeRecord,
    LapRecord,
    Layout,
    decode_batch,
    encode_batch,
)
from racing.task import End
from tests.support.batches import GRID_LAYOUT, made_up_batch, same_bits

columns = st.builds(Column, st.integers(1, 6), st.sampled_from(DTYPES)) | st.builds(
    Column, st.integers(1, 6), step=st.sampled_from([2.0**-15, 2.0**-12, 1.0, 4.0])
)
batches = st.builds(
    made_up_batch,
    seed=st.integers(0, 2**32 - 1),
    run_lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    layout=st.builds(Layout, columns, columns),
    extreme=st.booleans(),
)


@pytest.mark.slow
@given(batches)
@settings(max_examples=300, deadline=None)
def test_a_batch_comes_back_to_the_bit(batch: Batch) -> None:
    assert same_bits(decode_batch(encode_batch(batch), batch.layout), batch)


@given(batches)
@settings(max_examples=50, deadline=None)
def test_current_and_next_observations_belong_to_the_same_step(batch: Batch) -> None:
    starts = np.cumsum(batch.run_lengths + 1) - batch.run_lengths - 1
    pairs = [
        (row, row + 1)
        for start, length in zip(starts, batch.run_lengths, strict=True)
        for row in range(start, start + length)
    ]
    current, following = (batch.observations[list(rows)] for rows in zip(*pairs, strict=True))
    np.testing.assert_array_equal(batch.current_observations(), current)
    np.testing.assert_array_equal(batch.next_observations(), following)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_batch(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_batch(data)
    with pytest.raises(CodecError):
        decode_batch(b"AT" + bytes([VERSION]) + data)


@given(data=st.data(), seed=st.integers(0, 20))
def test_a_damaged_blob_is_always_noticed(data: st.DataObject, seed: int) -> None:
    blob = bytearray(encode_batch(made_up_batch(seed)))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        decode_batch(bytes(blob))


@given(data=st.data(), seed=st.integers(0, 20))
def test_a_cut_or_lengthened_blob_is_always_noticed(data: st.DataObject, seed: int) -> None:
    blob = encode_batch(made_up_batch(seed))
    with pytest.raises(CodecError):
        decode_batch(blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(CodecError):
        decode_batch(blob + data.draw(st.binary(min_size=1, max_size=9)))


@pytest.mark.slow
@given(data=st.data(), seed=st.integers(0, 20))
@settings(max_examples=500, deadline=None)
def test_a_forged_body_is_valid_or_a_codec_error(data: st.DataObject, seed: int) -> None:
    """Behind a right checksum any body may stand: what is accepted keeps every rule of a batch."""
    head, columns = map(bytearray, opened(encode_batch(made_up_batch(seed, (3, 2)))))
    for part in (head, columns):
        for _ in range(data.draw(st.integers(0, 3))):
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(columns)) | st.just(len(columns)))
    with contextlib.suppress(CodecError):
        check_batch(decode_batch(sealed(bytes(head), bytes(columns[:cut]) + data.draw(st.binary(max_size=3)))))


def opened(blob: bytes) -> tuple[bytes, bytes]:
    """The head and the unpacked columns of a blob."""
    end = 7 + int.from_bytes(blob[3:7], "little")
    frame = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    return blob[7:end], frame.decompress(blob[end:-4], max_output_size=2**24)


def sealed(head: bytes, columns: bytes, version: int = VERSION) -> bytes:
    """A blob with a right checksum around any head and columns."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
    )
    squeezed = zstandard.ZstdCompressor(compression_params=parameters).compress(columns)
    blob = b"AT" + bytes([version]) + len(head).to_bytes(4, "little") + head + squeezed
    return blob + zlib.crc32(blob).to_bytes(4, "little")


def test_the_form_is_what_the_docstring_says() -> None:
    """Bit by bit of one small batch, so that a changed constant or a swapped flag cannot pass unseen."""
    batch = replace(
        made_up_batch(run_lengths=(2,), layout=Layout(Column(1, step=2.0**-12), Column(1, "uint8"))),
        run_cars=np.array([5], np.int32),
        run_first_steps=np.array([70], np.int64),
        observations=np.array([[0.5], [0.5 + 2.0**-12], [-1.0]], np.float32),
        actions=np.array([[7], [9]], np.uint8),
        rewards=np.array([1.0, 0.1], np.float32),
        action_ages=np.array([2.0**-13, 0.25], np.float32),
        terminated=np.array([0, 1], bool),
        truncated=np.array([0, 0], bool),
        off_period=np.array([1, 0], bool),
        policy_versions=np.array([3, 3], np.uint32),
        episodes=(),
    )
    head, columns = opened(encode_batch(batch))
    assert msgspec.msgpack.decode(head) == [[1, 0, -11], [1, 7, None], [2], [5], [70], [False, True], [], []]
    observations = bytes([0x00, 0x01, 0xFF, 0x08, 0x00, 0xE7])  # 2048, then +1, then -6145; the low bytes first
    rewards = bytes([0x00, 0xCD, 0x00, 0xCC, 0x80, 0x4C, 0x3F, 0xFE])  # 3f800000, then 3dcccccd less that
    ages = bytes([0x02, 0xFE, 0x00, 0x0F]) + bytes(4)  # 2, then 4096, of 2**-14
    assert columns == observations + bytes([7, 2]) + rewards + ages + bytes([4, 0xFD]) + bytes([3, 0]) + bytes(6)


@pytest.mark.parametrize(("flag", "name"), [(1, "terminated"), (2, "truncated"), (4, "off_period")])
def test_each_flag_has_its_own_bit(flag: int, name: str) -> None:
    no = np.zeros(1, bool)
    batch = replace(made_up_batch(run_lengths=(1,)), terminated=no, truncated=no, off_period=no)
    _, columns = opened(encode_batch(_with(batch, name, 0, True)))
    assert columns[-5] == flag


def test_another_layout_is_refused() -> None:
    blob = encode_batch(made_up_batch())
    with pytest.raises(CodecError, match="has the layout"):
        decode_batch(blob, Layout(Column(6, step=2.0**-12), GRID_LAYOUT.action))


def test_another_version_is_refused() -> None:
    blob = bytearray(encode_batch(made_up_batch()))
    blob[2] = 99
    with pytest.raises(CodecError, match="version 99"):
        decode_batch(bytes(blob))


def test_a_decompression_bomb_is_refused_before_it_unpacks() -> None:
    head, _ = opened(encode_batch(made_up_batch()))
    bomb = sealed(head, bytes(2**28))
    assert len(bomb) < 20_000
    tracemalloc.start()
    with pytest.raises(CodecError, match="cannot be decompressed"):
        decode_batch(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, [65536, 1, None], "send fewer steps"),
        (0, [2**40, 0, None], "1 to 65536"),
        (0, [5, 99, None], "cannot be read"),
        (0, [5, 0, 10**9], "no column can have"),
        (2, [4096], "contradicts itself"),
        (2, [4097], "1 to 4096 steps"),
        (2, [10, 0], "at least one run"),
        (2, [2**63 - 1] * 4000, "1 to 4096 steps"),
        (3, [0, 1], "contradict each other"),
        (3, [2**31], "contradict each other"),
        (4, [2**63], "cannot be read"),
        (4, [], "cannot be read"),
        (6, [[0, 1.0, True]] * 4097, "cannot be read"),
        (6, [[0, 1.0, True]] * 11, "ends two laps"),
        (7, [[0, 1, 0.0, ""]] * 4097, "cannot be read"),
    ],
)
def test_a_head_that_asks_for_too_much_is_refused_before_it_costs_anything(
    place: int, value: object, message: str
) -> None:
    head, columns = opened(encode_batch(made_up_batch()))
    fields = msgspec.msgpack.decode(head)
    fields[place] = value
    blob = sealed(msgspec.msgpack.encode(fields), columns)
    tracemalloc.start()
    with pytest.raises(CodecError, match=message):
        decode_batch(blob)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_too_many_steps_are_refused() -> None:
    most = made_up_batch(run_lengths=(MAX_STEPS_PER_BATCH,))
    assert same_bits(decode_batch(encode_batch(most)), most)
    with pytest.raises(CodecError, match="1 to 4096 steps"):
        encode_batch(made_up_batch(run_lengths=(MAX_STEPS_PER_BATCH + 1,)))


def test_a_batch_that_is_too_large_is_refused() -> None:
    huge = made_up_batch(run_lengths=(100,), layout=Layout(Column(65536), Column(1)))
    with pytest.raises(CodecError, match="send fewer steps"):
        encode_batch(huge)


def test_a_late_batch_with_ends_laps_and_mixed_versions_comes_back() -> None:
    batch = replace(
        made_up_batch(run_lengths=(4, 1, 7)),
        terminated=np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool),
        truncated=np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], bool),
        laps=(LapRecord(2, 91.0625, True), LapRecord(11, 90.5, False)),
        episodes=(EpisodeRecord(3, 812, -3.25, "crash"), EpisodeRecord(4, 1, 0.0, "reversed")),
    )
    assert same_bits(decode_batch(encode_batch(batch)), batch)


def test_a_grid_forgets_only_the_sign_of_zero() -> None:
    batch = made_up_batch()
    batch.observations[0, 0] = -0.0
    came_back = decode_batch(encode_batch(batch))
    np.testing.assert_array_equal(came_back.observations, batch.observations)
    assert not np.signbit(came_back.observations[0, 0])


def _with(batch: Batch, name: str, index: Any, value: Any) -> Batch:
    array = getattr(batch, name).copy()
    array[index] = value
    return replace(batch, **{name: array})


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("observations", (1, 2), np.nan, "NaN or an infinite"),
        ("observations", (1, 2), np.inf, "NaN or an infinite"),
        ("observations", (1, 2), 8.0, "not all on their grid"),
        ("observations", (1, 2), 1e30, "not all on their grid"),
        ("observations", (1, 2), 2.0**-13, "not all on their grid"),
        ("actions", (0, 0), 1.0, "not all on their grid"),
        ("rewards", 3, np.nan, "NaN or an infinite"),
        ("rewards", 3, 1e25, "beyond 1e\\+06"),
        ("rewards", 3, -1.1e6, "beyond 1e\\+06"),
        ("action_ages", 3, np.inf, "more than 600 s"),
        ("action_ages", 3, np.nan, "NaN or more"),
        ("action_ages", 3, 600.1, "more than 600 s"),
        ("run_first_steps", 0, 2**48 + 1, "no car reaches"),
        ("laps", None, (LapRecord(0, 0.0, True),), "lap record"),
        ("laps", None, (LapRecord(0, 86_401.0, True),), "lap record"),
        ("action_ages", 3, -0.5, "negative"),
        ("terminated", 2, True, "goes on after"),
        ("truncated", 2, True, "goes on after"),
        ("run_lengths", 0, 4, "sum to"),
        ("run_lengths", slice(0, 2), (0, 10), "at least 1"),
        ("run_cars", 0, -1, "below zero"),
        ("run_first_steps", 0, -1, "below zero"),
        ("laps", None, (LapRecord(10, 1.0, True),), "lap record"),
        ("laps", None, (LapRecord(0, float("nan"), True),), "lap record"),
        ("laps", None, (LapRecord(0, 1.0, True), LapRecord(4, 2.0, True), LapRecord(0, 1.5, True)), "ends two laps"),
        ("episodes", None, (EpisodeRecord(0, 1, 0.0, "crash"), EpisodeRecord(0, 1, 0.0, "time")), "ends two episodes"),
        ("episodes", None, (EpisodeRecord(-1, 1, 0.0, "time"),), "episode record"),
        ("episodes", None, (EpisodeRecord(0, 1, float("inf"), "time"),), "episode record"),
        ("episodes", None, (EpisodeRecord(0, 1, 0.0, "x" * 201),), "for the reason 'x{40}', which is none of"),
        ("episodes", None, (EpisodeRecord(0, 1, 0.0, ""),), "for the reason ''"),
        ("rewards", None, np.zeros(10), "dtype float32"),
        ("off_period", None, np.zeros(9, bool), "must have shape"),
    ],
)
def test_a_batch_that_breaks_a_rule_is_refused(name: str, index: Any, value: Any, message: str) -> None:
    batch = made_up_batch(seed=1, run_lengths=(5, 5))
    bad = replace(batch, **{name: value}) if index is None else _with(batch, name, index, value)
    with pytest.raises(CodecError, match=message):
        encode_batch(bad)


def test_every_end_of_the_task_is_a_reason() -> None:
    assert {end.name.lower() for end in End if end is not End.NONE} <= REASONS


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["observations", "actions"])
def test_numbers_that_no_network_learns_from_are_refused(name: str, dtype: str) -> None:
    batch = made_up_batch(layout=Layout(Column(3, dtype), Column(2, dtype)))
    encode_batch(_with(batch, name, (0, 0), 6e4 if dtype == "float16" else 1e9))
    with pytest.raises(CodecError, match=rf"The {name} of this batch .* beyond 1e\+09"):
        encode_batch(_with(batch, name, (0, 0), np.inf if dtype == "float16" else 1.1e9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "1 to 65536"),
        ({"size": 1, "dtype": "complex64"}, "cannot travel"),
        ({"size": 1, "step": 0.1}, "power of two"),
        ({"size": 1, "step": -0.5}, "power of two"),
        ({"size": 1, "step": float("nan")}, "power of two"),
        ({"size": 1, "dtype": "float64", "step": 0.5}, "float32"),
    ],
)
def test_an_impossible_column_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        Column(**arguments)


def test_smooth_runs_are_small() -> None:
    """A guard against a codec that quietly stops compressing.

    The figures are `scripts/bench/wire.py`'s affair.
    """
    batch = made_up_batch(run_lengths=(100,), layout=Layout(Column(36, step=2.0**-12), Column(2, step=2.0**-15)))
    assert len(encode_batch(batch)) / batch.steps < 50
