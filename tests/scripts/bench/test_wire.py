"""The promise about bytes on the wire, on the simulator's own steps and on laps recorded from the real game."""

from dataclasses import replace

import pytest

from experience.codec import Batch
from scripts.bench.wire import (
    FORMATS,
    OURS,
    PROMISED_SECONDS,
    PROMISED_SHARES,
    PROMISED_STEPS,
    RECORDED_TRACK,
    RECORDING,
    FormatCost,
    measure,
    promise_kept,
    recorded_batches,
    rows_of_table,
    simulated_batches,
)
from tests.support.real_data import real_data

THOSE_COMPARED = tuple(one for one in FORMATS if one.name in {OURS, *PROMISED_SHARES})


def assert_small(batches: list[Batch]) -> None:
    """The bytes alone: the time depends on who else is at work on this machine; the benchmark judges it."""
    assert {batch.steps for batch in batches} == {PROMISED_STEPS}
    figures = measure(batches, THOSE_COMPARED, repeats=1)
    ours = figures[OURS].bytes_per_step
    shares = {name: ours / figures[name].bytes_per_step for name in PROMISED_SHARES}
    assert all(shares[name] <= promised for name, promised in PROMISED_SHARES.items()), shares


def test_a_hundred_simulated_transitions_are_small() -> None:
    assert_small(simulated_batches(PROMISED_STEPS, cars=1, count=4))


@pytest.mark.slow
def test_a_hundred_recorded_transitions_are_small() -> None:
    data, track = real_data(RECORDING).parents[1], real_data(RECORDED_TRACK)
    assert data == track.parents[1]
    assert_small(recorded_batches(data, PROMISED_STEPS, count=4))


@pytest.mark.slow
def test_every_format_of_the_table_returns_the_numbers_that_were_put_in() -> None:
    batches = simulated_batches(steps=3, cars=2, count=1)
    for batch in batches:
        batch.observations[:] += 0.0  # a grid has no negative zero
    figures = measure(batches, repeats=1)
    assert "Arrow IPC + zstd" in figures
    assert all(one.exact for one in figures.values())
    assert len(rows_of_table("simulator", "2 cars x 3", figures)) == len(FORMATS)


def test_the_table_says_whether_the_promise_is_kept_where_it_is_made() -> None:
    rival = FormatCost(bytes_per_step=100.0, encode_seconds=1.0, decode_seconds=1.0, exact=True)
    ours = FormatCost(bytes_per_step=4.0, encode_seconds=1e-4, decode_seconds=1e-4, exact=True)
    figures = dict.fromkeys(PROMISED_SHARES, rival) | {OURS: ours}
    assert promise_kept(figures)
    assert rows_of_table("any", "100", figures)[-1].endswith(" kept |")
    assert rows_of_table("any", "10", figures)[-1].endswith(" - |")
    for worse in ({"bytes_per_step": 4.6}, {"encode_seconds": PROMISED_SECONDS}, {"exact": False}):
        broken = figures | {OURS: replace(ours, **worse)}
        assert not promise_kept(broken)
        assert rows_of_table("any", "100", broken)[-1].endswith(" BROKEN |")
