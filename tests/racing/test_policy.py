"""The numpy policy computes what its file declares, on the action grid, and refuses what it cannot drive."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from racing.exploration import Exploration
from racing.policy import Policy
from racing.policy_file import (
    CATEGORICAL,
    EPSILON_GREEDY,
    GAUSSIAN_CLIPPED,
    POLICY_FORMAT,
    SQUASHED_GAUSSIAN,
    PolicyError,
)

STEP = 2.0**-15
SIZE, ACTIONS, HIDDEN = 7, 2, 16
LAYERS = [
    {"op": "linear", "weight": "0.weight", "bias": "0.bias"},
    {"op": "elu"},
    {"op": "linear", "weight": "1.weight", "bias": "1.bias"},
]


def tensors(outputs: int = 2 * ACTIONS, scale: float = 0.3) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "0.weight": rng.normal(0, scale, (HIDDEN, SIZE)).astype(np.float16),
        "0.bias": rng.normal(0, scale, HIDDEN).astype(np.float32),
        "1.weight": rng.normal(0, scale, (outputs, HIDDEN)).astype(np.float16),
        "1.bias": rng.normal(0, scale, outputs).astype(np.float32),
    }


def policy_file(values: dict[str, np.ndarray[Any, Any]] | None = None, **changes: str | None) -> bytes:
    metadata: dict[str, str | None] = {
        "format": POLICY_FORMAT,
        "version": "3",
        "signature": "task.v1",
        "observation_size": str(SIZE),
        "action_size": str(ACTIONS),
        "action_step": repr(STEP),
        "distribution": SQUASHED_GAUSSIAN,
        "layers": json.dumps(LAYERS),
    }
    metadata.update(changes)
    return save(tensors() if values is None else values, {k: v for k, v in metadata.items() if v is not None})


def expected(observation: np.ndarray[Any, Any], values: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    wide = {name: value.astype(np.float64) for name, value in values.items()}
    hidden = observation @ wide["0.weight"].T + wide["0.bias"]
    hidden = np.where(hidden > 0, hidden, np.expm1(hidden))
    result: np.ndarray[Any, Any] = hidden @ wide["1.weight"].T + wide["1.bias"]
    return result


def observations(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(-8, 8, (count, SIZE)).astype(np.float32)


def test_the_deterministic_action_is_the_squashed_mean_on_the_grid() -> None:
    policy = Policy.from_bytes(policy_file(), "task.v1")
    rows = observations(50)
    actions = policy.act(rows)
    assert actions.dtype == np.float32
    assert np.abs(actions - np.tanh(expected(rows, tensors())[:, :ACTIONS])).max() <= STEP
    assert np.array_equal(actions / STEP, np.rint(actions / STEP))
    assert (policy.version, policy.signature, policy.observation_size, policy.action_size) == (
        3,
        "task.v1",
        7,
        2,
    )


def test_one_observation_gives_one_action_and_stays_untouched() -> None:
    policy = Policy.from_bytes(policy_file())
    rows = observations(3)
    before = rows.copy()
    single = policy.act(rows[1])
    assert single.shape == (ACTIONS,)
    assert np.array_equal(single, policy.act(rows)[1])
    assert np.array_equal(rows, before)


def test_an_action_is_not_overwritten_by_the_next_call() -> None:
    policy = Policy.from_bytes(policy_file())
    rows = observations(2)
    first = policy.act(rows[0])
    kept = first.copy()
    policy.act(rows[1])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("outputs", [2 * ACTIONS, ACTIONS])
def test_extreme_outputs_stay_inside_the_axis(outputs: int) -> None:
    values = tensors(outputs=outputs, scale=30.0)
    distribution = SQUASHED_GAUSSIAN
    if outputs == ACTIONS:
        distribution = GAUSSIAN_CLIPPED
        values["log_std"] = np.zeros(ACTIONS, np.float32)
    actions = Policy.from_bytes(policy_file(values, distribution=distribution)).act(observations(200))
    assert actions.min() == -1.0
    assert actions.max() == 1.0 - STEP


def test_exploring_samples_have_the_declared_spread() -> None:
    values = tensors()
    policy = Policy.from_bytes(policy_file(values))
    row = np.full((1, SIZE), 0.25, np.float32)
    samples = policy.act(np.repeat(row, 100_000, axis=0), np.random.default_rng(5))
    raw = np.arctanh(np.clip(samples, -1 + STEP, 1 - STEP).astype(np.float64))
    wanted = expected(row, values)[0]
    assert np.abs(np.median(raw, axis=0) - wanted[:ACTIONS]).max() < 0.03
    spread = np.subtract(*np.quantile(raw, [0.841345, 0.158655], axis=0)) / 2
    assert np.abs(spread / np.exp(wanted[ACTIONS:]) - 1).max() < 0.03


def test_a_clipped_gaussian_adds_its_own_spread() -> None:
    values = tensors(outputs=ACTIONS, scale=0.05)
    values["log_std"] = np.log(np.array([0.05, 0.1], np.float32))
    policy = Policy.from_bytes(policy_file(values, distribution=GAUSSIAN_CLIPPED))
    row = np.full((1, SIZE), 0.25, np.float32)
    samples = policy.act(np.repeat(row, 100_000, axis=0), np.random.default_rng(5)).astype(np.float64)
    assert np.abs(samples.mean(axis=0) - expected(row, values)[0]).max() < 0.002
    assert np.abs(samples.std(axis=0) / np.array([0.05, 0.1]) - 1).max() < 0.02


def test_the_same_generator_gives_the_same_exploration() -> None:
    policy = Policy.from_bytes(policy_file())
    rows = observations(8)
    first = policy.act(rows, np.random.default_rng(9))
    assert np.array_equal(first, policy.act(rows, np.random.default_rng(9)))
    assert not np.array_equal(first, policy.act(rows))


def test_another_signature_is_refused_with_both_names() -> None:
    with pytest.raises(PolicyError, match=r"'task\.v1'.*'other\.v2'"):
        Policy.from_bytes(policy_file(), "other.v2")


def without(name: str) -> dict[str, np.ndarray[Any, Any]]:
    values = tensors()
    del values[name]
    return values


def replaced(name: str, value: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {**tensors(), name: value}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "damaged"),
        (b"\x00" * 100, "damaged"),
        (policy_file()[:-1], "damaged"),
        (policy_file()[:40], "damaged"),
        (save(tensors()), "lacks 'format'"),
        (policy_file(format="ac-training.policy.v9"), "update the older"),
        (policy_file(signature=None), "lacks 'signature'"),
        (policy_file(version="-1"), "version='-1'"),
        (policy_file(observation_size="seven"), "observation_size='seven'"),
        (policy_file(action_size="0"), "action_size='0'"),
        (policy_file(action_step="nan"), "action_step='nan'"),
        (policy_file(distribution="beta"), "'beta'"),
        (policy_file(distribution=GAUSSIAN_CLIPPED), "'log_std' is missing"),
        (policy_file(layers="{"), "not JSON"),
        (policy_file(layers="[]"), "list of 1 to"),
        (policy_file(layers=json.dumps([{"op": "exec"}, *LAYERS])), "'exec'"),
        (policy_file(layers=json.dumps([{"op": ["elu"]}, *LAYERS])), "known are linear"),
        (policy_file(layers=json.dumps([LAYERS[1], *LAYERS])), "first being linear"),
        (policy_file(layers=json.dumps(LAYERS[:1])), "give 16 numbers"),
        (policy_file(without("1.weight")), r"no weight of shape \(outputs, 16\)"),
        (policy_file(without("0.bias")), "'0.bias' is missing"),
        (policy_file(replaced("0.bias", np.zeros(3, np.float32))), r"of shape \(3,\)"),
        (policy_file(replaced("0.bias", np.full(HIDDEN, np.nan, np.float32))), "diverged"),
        (policy_file(replaced("0.bias", np.zeros(HIDDEN, np.int64))), "I64"),
        (policy_file(observation_size="8"), r"\(outputs, 8\)"),
        (policy_file(version=str(2**32)), "version='4294967296'"),
        (policy_file(observation_size=str(10**9)), "observation_size='1000000000'"),
        (policy_file(action_size=str(10**9)), "action_size='1000000000'"),
        (policy_file(action_step="1e-300"), "action_step='1e-300'"),
        (policy_file(layers="[" * 60_000), "not JSON"),
        (policy_file(layers="[" * 200_000), "200000 characters"),
        (policy_file(layers=json.dumps([LAYERS[0], LAYERS[0], LAYERS[2]])), "of its own"),
        (policy_file(layers=json.dumps([{"op": "linear", "weight": [], "bias": ""}])), "does not name"),
        (policy_file(replaced("0.weight", np.zeros((9000, SIZE), np.float16))), "gives 9000 numbers"),
        (policy_file(replaced("0.bias", np.full(HIDDEN, 3e38, np.float32))), "grow beyond all bounds"),
        (policy_file(replaced("1.weight", np.full((4, HIDDEN), 1e30, np.float32))), "grow beyond all bounds"),
        (
            policy_file(
                tensors(outputs=ACTIONS) | {"log_std": np.full(ACTIONS, 200.0, np.float32)},
                distribution=GAUSSIAN_CLIPPED,
            ),
            "explores beyond all bounds",
        ),
    ],
    # The order of the metadata differs from process to process, and parallel tests need the same names in each.
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_a_file_that_cannot_drive_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        Policy.from_bytes(data)


@pytest.mark.parametrize("shapes", [(8, 2), (7, 3)])
def test_a_policy_of_other_sizes_than_the_drivers_is_refused(shapes: tuple[int, int]) -> None:
    with pytest.raises(PolicyError, match=f"this driver has {shapes[0]} and {shapes[1]}"):
        Policy.from_bytes(policy_file(), spaces=spaces(*shapes))


def test_what_is_beyond_the_observations_bounds_is_not_asked_for() -> None:
    values = replaced("0.weight", np.full((HIDDEN, SIZE), 1e23, np.float32))
    with pytest.raises(PolicyError, match="grow beyond all bounds"):
        Policy.from_bytes(policy_file(values), spaces=spaces(SIZE, ACTIONS, bound=np.inf))
    policy = Policy.from_bytes(policy_file(values), spaces=spaces(SIZE, ACTIONS, bound=8.0))
    assert np.isfinite(policy.act(observations(100), np.random.default_rng(1))).all()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), scale=st.floats(1e-3, 1e12), kind=st.sampled_from(["relu", "tanh", "elu"]))
def test_a_policy_that_could_be_read_gives_an_action_for_every_observation(
    data: st.DataObject, scale: float, kind: str
) -> None:
    values = {name: value.astype(np.float32) * np.float32(scale) for name, value in tensors().items()}
    layers = json.dumps([LAYERS[0], {"op": kind}, LAYERS[2]])
    policy = Policy.from_bytes(policy_file(values, layers=layers), spaces=spaces(SIZE, ACTIONS, bound=8.0))
    row = data.draw(st.lists(st.floats(-8.0, 8.0, width=32), min_size=SIZE, max_size=SIZE))
    for random in (None, np.random.default_rng(1)):
        actions = policy.act(np.array([row], np.float32), random)
        assert np.isfinite(actions).all()
        assert np.abs(actions).max() <= 1.0


def spaces(observation: int, action: int, bound: float = 8.0) -> tuple[Box, Box]:
    return Box(-bound, bound, (observation,), np.float32), Box(-1.0, 1.0, (action,), np.float32)


def test_a_wrong_observation_size_is_told() -> None:
    with pytest.raises(ValueError, match=r"\(N, 7\) expected"):
        Policy.from_bytes(policy_file()).act(np.zeros((2, 6), np.float32))


def test_a_squashed_action_spans_the_drivers_own_bounds() -> None:
    low, high = np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32)
    sides = Box(-8.0, 8.0, (SIZE,), np.float32), Box(low, high)
    rows = observations(50)
    actions = Policy.from_bytes(policy_file(action_step="0"), spaces=sides).act(rows)
    squashed = np.tanh(expected(rows, tensors())[:, :ACTIONS])
    assert np.abs(actions - (low + (squashed + 1.0) / 2.0 * (high - low))).max() < 1e-5
    assert not np.array_equal(actions / STEP, np.rint(actions / STEP))
    coarse = Policy.from_bytes(policy_file(tensors(scale=30.0), action_step="0.25"), spaces=sides).act(rows)
    assert np.array_equal(coarse / 0.25, np.rint(coarse / 0.25))
    assert (coarse >= low).all()
    assert (coarse <= high - 0.25).all()
    assert (coarse[:, 0].min(), coarse[:, 0].max()) == (-2.0, 1.75)


def test_a_clipped_gaussian_has_the_actions_own_units() -> None:
    values = tensors(outputs=ACTIONS, scale=1.0) | {"log_std": np.zeros(ACTIONS, np.float32)}
    sides = Box(-8.0, 8.0, (SIZE,), np.float32), Box(-2.0, np.inf, (ACTIONS,), np.float32)
    data = policy_file(values, distribution=GAUSSIAN_CLIPPED, action_step="0")
    actions = Policy.from_bytes(data, spaces=sides).act(observations(50))
    assert np.allclose(actions, np.maximum(expected(observations(50), values), -2.0), rtol=1e-5)
    with pytest.raises(PolicyError, match="Bound the actions"):
        Policy.from_bytes(policy_file(), spaces=sides)


CHOICES = 4


def choosing(scale: float = 0.3, distribution: str = CATEGORICAL, start: int = 0, **changes: str) -> Policy:
    data = policy_file(
        tensors(CHOICES, scale), action_size=str(CHOICES), action_step="0", distribution=distribution, **changes
    )
    return Policy.from_bytes(data, spaces=(Box(-8.0, 8.0, (SIZE,), np.float32), Discrete(CHOICES, start=start)))


@pytest.mark.parametrize("distribution", [CATEGORICAL, EPSILON_GREEDY])
def test_a_discrete_action_is_the_greatest_output_counted_from_the_spaces_start(distribution: str) -> None:
    rows = observations(50)
    actions = choosing(start=-3, distribution=distribution, epsilon="1").act(rows)
    assert actions.shape == (50, 1)
    assert actions.dtype == np.int64
    assert np.array_equal(actions[:, 0] + 3, expected(rows, tensors(CHOICES)).argmax(axis=1))
    assert choosing().act(rows[0]).shape == (1,)


def test_a_categorical_driver_explores_by_the_softmax() -> None:
    row = np.full((1, SIZE), 0.25, np.float32)
    drawn = choosing().act(np.repeat(row, 100_000, axis=0), np.random.default_rng(5))
    wanted = np.exp(expected(row, tensors(CHOICES))[0])
    shares = np.bincount(drawn[:, 0], minlength=CHOICES) / len(drawn)
    assert np.abs(shares - wanted / wanted.sum()).max() < 0.01


def test_an_epsilon_greedy_driver_explores_so_often() -> None:
    row = np.full((1, SIZE), 0.25, np.float32)
    policy = choosing(distribution=EPSILON_GREEDY, epsilon="0.25")
    drawn = policy.act(np.repeat(row, 100_000, axis=0), np.random.default_rng(5))
    shares = np.bincount(drawn[:, 0], minlength=CHOICES) / len(drawn)
    best = policy.act(row)[0, 0]
    assert abs(shares[best] - (0.75 + 0.25 / CHOICES)) < 0.01
    assert np.abs(np.delete(shares, best) - 0.25 / CHOICES).max() < 0.01


@settings(max_examples=50, deadline=None)
@given(data=st.data(), scale=st.floats(1e-3, 1e12), distribution=st.sampled_from([CATEGORICAL, EPSILON_GREEDY]))
def test_a_discrete_policy_that_could_be_read_makes_a_choice_for_every_observation(
    data: st.DataObject, scale: float, distribution: str
) -> None:
    values = {name: value.astype(np.float32) * np.float32(scale) for name, value in tensors(CHOICES).items()}
    policy = Policy.from_bytes(
        policy_file(values, action_size=str(CHOICES), action_step="0", distribution=distribution, epsilon="0.5"),
        spaces=(Box(-8.0, 8.0, (SIZE,), np.float32), Discrete(CHOICES, start=1)),
    )
    row = data.draw(st.lists(st.floats(-8.0, 8.0, width=32), min_size=SIZE, max_size=SIZE))
    for random in (None, np.random.default_rng(1)):
        assert policy.act(np.array([row], np.float32), random)[0, 0] in range(1, CHOICES + 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distribution": EPSILON_GREEDY}, "lacks 'epsilon'"),
        ({"distribution": EPSILON_GREEDY, "epsilon": "1.5"}, "epsilon='1.5'"),
        ({"distribution": EPSILON_GREEDY, "epsilon": "nan"}, "epsilon='nan'"),
        ({"layers": json.dumps(LAYERS[:1])}, "give 16 numbers; its distribution needs 4"),
    ],
)
def test_a_discrete_policy_that_cannot_drive_is_refused(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        choosing(**changes)  # type: ignore[arg-type]  # any field


def test_a_policy_for_another_kind_of_action_is_refused() -> None:
    values = tensors(outputs=2 * CHOICES)
    with pytest.raises(PolicyError, match="'squashed_gaussian', which gives no action of Discrete"):
        Policy.from_bytes(
            policy_file(values, action_size=str(CHOICES)),
            spaces=(Box(-8.0, 8.0, (SIZE,), np.float32), Discrete(CHOICES)),
        )
    with pytest.raises(PolicyError, match="'categorical', which gives no action of Box"):
        Policy.from_bytes(policy_file(tensors(ACTIONS), distribution=CATEGORICAL), spaces=spaces(SIZE, ACTIONS))


def test_a_policy_says_how_long_its_noise_is_held() -> None:
    row = observations(1)
    held, plain = (Policy.from_bytes(data) for data in (policy_file(exploration_correlation="0.9"), policy_file()))
    assert (held.correlation, plain.correlation) == (0.9, 0.0)
    drawn = []
    for policy in (held, plain):
        random, mean = Exploration(2), np.arctanh(policy.act(row))
        noise = np.array([np.arctanh(policy.act(row, random).clip(-0.999, 0.999)) - mean for _ in range(3_000)])[:, 0]
        drawn.append([np.corrcoef(noise[:-1, column], noise[1:, column])[0, 1] for column in range(ACTIONS)])
    assert min(drawn[0]) > 0.75  # less than 0.9 where tanh has clipped it
    assert np.abs(drawn[1]).max() < 0.1


@pytest.mark.parametrize("said", ["-0.1", "1.5", "nan", "much"])
def test_noise_that_cannot_be_held_so_is_refused(said: str) -> None:
    with pytest.raises(PolicyError, match="exploration_correlation"):
        Policy.from_bytes(policy_file(exploration_correlation=said))
