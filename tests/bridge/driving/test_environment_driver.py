"""The driver of one's own environments: odd values, odd shapes, and what each leaves of the experience."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from safetensors.numpy import save

from bridge.driving.drive import CannotDrive
from bridge.driving.environment_driver import EnvironmentDriver, close_environments
from bridge.driving.environments import NotDrivable, driven_environment
from bridge.serve_env.checked import Checked
from experience.batches import Batch
from experience.codec import decode_batch
from experience.environment import Environment
from experience.recorder import Recorder
from experience.spaces import Spaces, SpaceSpec
from racing.clock import Clock
from racing.policy import Policy
from racing.policy_file import GAUSSIAN_CLIPPED, POLICY_FORMAT

STEPS = 20


class Odd(gymnasium.Env[Any, Any]):
    """Counts its steps in (2, 2) float64, and hands `odd` out instead at step 5."""

    observation_space: spaces.Space[Any] = spaces.Box(0.0, 100.0, (2, 2), np.float64)
    action_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (2, 1), np.float64)

    def __init__(self, odd: Any = None, reward: Any = 1.0) -> None:
        self._odd, self._reward, self.closed = odd, reward, 0
        self._seen = np.zeros((2, 2))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._seen[:] = 0.0
        return self._seen, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert action.shape == (2, 1)
        assert action.dtype == np.float64
        self._seen += 1.0
        odd = self._seen[0, 0] == 5.0
        return self._odd if odd and self._odd is not None else self._seen, self._reward, False, False, {}

    def close(self) -> None:
        self.closed += 1
        raise OSError("the game is gone")


ENVIRONMENT = driven_environment("odd", Odd())


@dataclass
class Run:
    """A run that has a policy, and waits for nobody."""

    policy: Policy | None
    to_judge: Policy | None = None
    done: bool = False
    lead_steps: int = 0
    max_lead_steps: int | None = None


@dataclass
class Batches:
    """A sink in memory."""

    environment: Environment
    stored: list[Batch] = field(default_factory=list)

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        """Keep the batch."""
        self.stored.append(decode_batch(blob, self.environment.spaces.layout))
        assert self.stored[-1].steps == steps == sum((steps_by_car or {}).values())
        return len(self.stored)

    def steps_of_car(self, car: int) -> int:
        """Of what is kept."""
        return sum(int(batch.run_lengths[batch.run_cars == car].sum()) for batch in self.stored)


def policy() -> Policy:
    metadata = {
        "format": POLICY_FORMAT,
        "version": "1",
        "signature": ENVIRONMENT.signature,
        "observation_size": "4",
        "action_size": "2",
        "action_step": "0",
        "distribution": GAUSSIAN_CLIPPED,
        "layers": json.dumps([{"op": "linear", "weight": "w", "bias": "b"}]),
    }
    tensors = {"w": np.zeros((2, 4), np.float32), "b": np.zeros(2, np.float32), "log_std": np.zeros(2, np.float32)}
    return ENVIRONMENT.policy(save(tensors, metadata))


def driven(*envs: gymnasium.Env[Any, Any], steps: int = STEPS, outside: str = "pass") -> tuple[Batches, str]:
    """What was recorded of so many steps, and why the drive could not go on, if it could not."""
    sink, run, why = Batches(ENVIRONMENT), Run(policy()), ""
    recorder = Recorder(sink, ENVIRONMENT.spaces.layout, len(envs))
    checked = [Checked(env, "odd", outside) for env in envs]
    driver = EnvironmentDriver(checked, ENVIRONMENT, Clock(), run, recorder, real_time=False)
    try:
        for _ in range(steps):
            assert driver.waits_for() is None
            assert driver.step() is not None
    except CannotDrive as error:
        why = str(error)
    driver.finish()
    recorder.close()
    return sink, why


def test_a_number_that_is_none_spoils_its_own_rows_alone() -> None:
    bad = np.array([[5.0, np.nan], [5.0, 5.0]])
    sink, why = driven(Odd(bad), Odd())
    assert why == ""
    # The step that led to it, and the one that was chosen on it.
    assert [sink.steps_of_car(car) for car in range(2)] == [STEPS - 2, STEPS]


class Priceless(Odd):
    """At step 5 nobody knows what it was worth."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        return observation, np.nan if observation[0, 0] == 5.0 else reward, *rest


def test_a_reward_that_is_none_costs_its_own_step_alone() -> None:
    sink, why = driven(Priceless(), Odd())
    assert why == ""
    assert [sink.steps_of_car(car) for car in range(2)] == [STEPS - 1, STEPS]
    (batch,) = sink.stored
    assert [episode.total_reward for episode in batch.episodes] == [STEPS - 1, STEPS]


def test_float64_travels_as_it_is() -> None:
    sink, _ = driven(Odd(np.full((2, 2), 1.0 / 3.0)))
    (batch,) = sink.stored
    assert batch.observations[5].tolist() == [1.0 / 3.0] * 4
    assert batch.actions.dtype == np.float64
    assert np.abs(batch.actions).max() == 1.0


@pytest.mark.parametrize(
    ("odd", "reward", "words"),
    [
        (np.zeros(4), 1.0, r"shape \(4,\), and \(2, 2\) is declared"),
        (np.float64(1.0), 1.0, r"shape \(\), and \(2, 2\) is declared"),
        ("text", 1.0, "shape"),
        (None, "much", "could not convert string to float"),
        (None, None, "float"),
    ],
)
def test_what_is_no_observation_or_reward_ends_the_drive(odd: Any, reward: Any, words: str) -> None:
    sink, why = driven(Odd(odd, reward))
    assert "The environment odd failed in step" in why
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(why)
    kept = 4 if reward == 1.0 else 0
    assert sink.steps_of_car(0) == kept
    if kept:
        (batch,) = sink.stored
        assert batch.truncated.tolist() == [False, False, False, True]
        assert batch.episodes[0].reason == "interrupted"


@pytest.mark.parametrize(("outside", "kept"), [("refuse", 4), ("warn", STEPS), ("pass", STEPS)])
def test_a_value_outside_its_space_is_told_or_ends_the_drive(
    outside: str, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink, why = driven(Odd(np.full((2, 2), 101.0)), outside=outside)
    assert sink.steps_of_car(0) == kept
    assert ("is not of its declared space" in why) == (outside == "refuse")
    assert ("said once, and passed on" in caplog.text) == (outside == "warn")


def test_nothing_is_stepped_or_recorded_without_a_policy_or_after_the_run() -> None:
    sink = Batches(ENVIRONMENT)
    recorder = Recorder(sink, ENVIRONMENT.spaces.layout, 1)
    run = Run(None)
    driver = EnvironmentDriver([Odd()], ENVIRONMENT, Clock(), run, recorder, real_time=True)
    assert driver.waits_for() == "the first policy"
    run.policy, run.max_lead_steps, run.lead_steps = policy(), 1, 1000
    assert driver.waits_for() is None, "in real time nobody is waited for"
    assert driver.step() is not None
    run.done = True
    assert driver.step() is None
    driver.finish()
    recorder.close()
    assert sink.steps_of_car(0) == 1


def test_environments_are_closed_once_whatever_they_say_to_it(caplog: pytest.LogCaptureFixture) -> None:
    mine = [Odd(), Odd()]
    envs: list[gymnasium.Env[Any, Any]] = [*mine]
    close_environments(envs)
    close_environments(envs)
    assert [env.closed for env in mine] == [1, 1]
    assert caplog.text.count("could not be closed") == 2


class Declaring(Odd):
    """With other spaces and metadata."""

    def __init__(self, metadata: dict[str, Any], observation: Any = None, action: Any = None) -> None:
        self.metadata = {"ac_training": metadata}
        self.observation_space = observation or spaces.Box(-1.0, 1.0, (2,))
        self.action_space = action or spaces.Box(-1.0, 1.0, (2,))


def test_what_the_metadata_declare_is_part_of_the_spaces() -> None:
    found = driven_environment("mine", Declaring({"observation_step": 2.0**-12, "action_step": 2.0**-15}))
    box = spaces.Box(-1.0, 1.0, (2,))
    assert found.spaces == Spaces(SpaceSpec(box, 2.0**-12), SpaceSpec(box, 2.0**-15))


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (Declaring({"observation_step": 0.3}), "a step that is a power of two"),
        (Declaring({"action_step": 2.0**-16}), "does not cover"),
        (Declaring({"action_step": 4.0}), "does not cover"),
        (Declaring({"paced": True}), "numbers expected: action_step"),
        (Declaring({"action_step": "fine"}), "numbers expected"),
        (Declaring({}, spaces.Box(0.0, 1.0, (70_000,))), "a Box of 1 to 65536 numbers"),
        (Declaring({}, action=spaces.Discrete(10_000)), "one choice of at most 8192"),
        (Declaring({}, action=spaces.MultiBinary(3)), "Its actions are MultiBinary"),
        (Declaring({}, action=spaces.Box(0, 9, (2,), np.int32)), "a Box of floats"),
    ],
    ids=str,
)
def test_what_no_policy_here_can_act_in_is_a_sentence(env: Declaring, sentence: str) -> None:
    with pytest.raises(NotDrivable, match=sentence):
        driven_environment("mine", env)
