"""The promise about bytes on the wire, on the simulator's own steps and on laps recorded from the real game."""

import pytest

from scripts.bench_wire import (
    FORMATS,
    RECORDED_TRACK,
    RECORDING,
    SHARED_DATA,
    measure,
    recorded_batches,
    rows_of_table,
    simulated_batches,
)
from wire.codec import Batch

OF_JSON = 0.04
OF_MESSAGEPACK_GZIP = 0.3
THOSE_COMPARED = tuple(one for one in FORMATS if one.name in ("JSON", "MessagePack + gzip", "this project"))


def assert_small(batches: list[Batch]) -> None:
    figures = measure(batches, THOSE_COMPARED, repeats=1)
    ours = figures["this project"].bytes_per_step
    assert ours <= OF_JSON * figures["JSON"].bytes_per_step
    assert ours <= OF_MESSAGEPACK_GZIP * figures["MessagePack + gzip"].bytes_per_step


def test_a_hundred_simulated_transitions_are_small() -> None:
    assert_small(simulated_batches(steps=100, cars=1, count=4))


def test_a_hundred_recorded_transitions_are_small() -> None:
    missing = [path for path in (RECORDING, RECORDED_TRACK) if not (SHARED_DATA / path).is_file()]
    if missing:
        pytest.skip(f"no recorded laps: {SHARED_DATA / missing[0]} is not there")
    assert_small(recorded_batches(SHARED_DATA, steps=100, count=4))


def test_every_format_of_the_table_returns_the_numbers_that_were_put_in() -> None:
    batches = simulated_batches(steps=3, cars=2, count=1)
    for batch in batches:
        batch.observations[:] += 0.0  # a grid has no negative zero
    figures = measure(batches, repeats=1)
    assert all(one.exact for one in figures.values())
    assert len(rows_of_table("simulator", "2 cars x 3", figures)) == len(FORMATS)
