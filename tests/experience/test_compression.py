"""What is compressed comes back as it was, and nothing that arrives can grow beyond a body's bounds."""

import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from experience.compression import MIN_BYTES, compressed, decompressed
from experience.values import ValuesError, pack, unpack
from wire.messages import MAX_BLOB_BYTES

PICTURE = np.repeat(np.arange(96, dtype=np.uint8), 96 * 3).reshape(96, 96, 3)


def test_a_picture_is_compressed_and_comes_back_exact() -> None:
    body = pack([PICTURE, 0.5, False, False, {}])
    small = compressed(body)
    assert len(small) < len(body) / 10
    assert decompressed(small) == body


def test_what_gains_nothing_is_left_as_it_is() -> None:
    noise = pack(np.random.default_rng(1).integers(0, 256, 10_000, np.uint8))
    assert compressed(noise) is noise
    little = pack(bytes(MIN_BYTES - 10))
    assert compressed(little) is little
    assert decompressed(little) is little


@pytest.mark.slow
@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())))
def test_no_value_looks_compressed(value: object) -> None:
    body = pack(value)
    assert decompressed(body) is body


@given(st.binary(max_size=200))
def test_bytes_that_are_none_are_refused(rest: bytes) -> None:
    try:
        unpack(decompressed(zstandard.FRAME_HEADER + rest))
    except ValuesError:
        return


def test_the_largest_body_comes_back() -> None:
    assert decompressed(compressed(bytes(MAX_BLOB_BYTES))) == bytes(MAX_BLOB_BYTES)


@pytest.mark.parametrize("told", [True, False])
def test_what_would_grow_beyond_bounds_is_refused_before_it_does(told: bool) -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=told).compressobj(-1 if not told else 2**28)
    bomb = b"".join([*(compressor.compress(bytes(2**20)) for _ in range(2**8)), compressor.flush()])
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(ValuesError, match="says that it has"):
        decompressed(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_what_lies_about_its_size_or_has_a_tail_is_refused() -> None:
    small = compressed(pack(bytes(5000)))
    decompressed(small)
    for wrong in (small + b"x", small[:-1], small + small, zstandard.compress(bytes(2**23))[:4] + small[5:]):
        with pytest.raises(ValuesError):
            decompressed(wrong)
