"""Exploration holds its noise: each number is standard normal, and resembles the one before by so much."""

import numpy as np
import pytest

from racing.exploration import Exploration


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_noise_is_standard_normal_and_correlated_over_time(correlation: float) -> None:
    random = Exploration(3)
    noise = np.stack([random.held((400, 2), correlation) for _ in range(600)])
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    for lag in (1, 4):
        assert np.corrcoef(noise[:-lag].ravel(), noise[lag:].ravel())[0, 1] == pytest.approx(correlation**lag, abs=0.02)
    cars, columns = noise[:, 0, 0], noise[:, 1, 1]
    assert abs(np.corrcoef(cars, columns)[0, 1]) < 0.3  # others' noise is their own


def test_what_the_caller_does_to_the_noise_changes_nothing_that_follows() -> None:
    calm, spoilt = Exploration(5), Exploration(5)
    for _ in range(3):
        expected, noise = calm.held((1, 2), 0.9), spoilt.held((1, 2), 0.9)
        assert np.array_equal(expected, noise)
        noise *= 1000.0


def test_the_same_seed_gives_the_same_noise_and_another_number_of_cars_begins_anew() -> None:
    first, second = Exploration(7), Exploration(7)
    assert np.array_equal(first.held((2, 2), 0.9), second.held((2, 2), 0.9))
    fresh = np.concatenate([first.held((3, 2), 1.0) for _ in range(2)])
    assert np.array_equal(fresh[:3], fresh[3:])  # a correlation of 1 never changes
    assert second.held((2, 2), 0.0).shape == (2, 2)
