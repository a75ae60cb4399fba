"""The driver of the fake game's car: what it records is what its policy drove, whoever interferes."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from bridge.assetto_corsa import car
from bridge.assetto_corsa.car import AssettoCorsaCar, command_of
from bridge.assetto_corsa.controls import safety
from bridge.assetto_corsa.controls.controls import (
    GENTLE_BRAKE,
    NEUTRAL,
    RELEASED,
    Backend,
    Button,
    Command,
    ControlShaping,
)
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.safety import SafetyGate, Tolerance
from bridge.assetto_corsa.controls.supervisor import GuardLost
from bridge.assetto_corsa.controls.vjoy import VJoy
from bridge.assetto_corsa.guarded_car import GuardedCar
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.session import GameSession
from bridge.assetto_corsa.starts.reset import FreshStart, Limits, sight_of
from bridge.driving.drive import CannotDrive
from bridge.driving.game_driver import GameDriver
from bridge.stream.chunks import Chunks
from bridge.stream.driven import ChunkDriver, SeenStates
from bridge.stream.frames import FrameMaker
from experience import environment
from experience.batches import NOBODY
from racing.car import Controls
from racing.clock import RealTimeClock
from racing.driving import Step
from racing.policy import Policy
from racing.policy_file import to_judge
from racing.task import CHANNELS, Float32Array, Task, TaskConfig, controls_of
from racing.track import Track
from tests.fake_ac.car import PHYSICS_HZ
from tests.support.fake_game import FakeGame
from tests.support.policies import following_policy
from tests.support.waiting import wait_until
from tests.support.wired_joystick import WiredJoystick

CONFIG = TaskConfig()
PATIENT = Limits(restart=60.0, stand=60.0)
OFF = ControlShaping()
SIGNATURE = environment.racing(CONFIG).signature
STEER_APPLIED = [channel.name for channel in CHANNELS].index("steer_applied")


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    # A busy machine lets the game or the driver stand still for a moment, which is no end of the drive here.
    monkeypatch.setattr(car, "PATIENCE", 30.0)
    monkeypatch.setattr(car, "HEARTBEAT_SECONDS", 30.0)
    monkeypatch.setattr(safety, "PACKET_SECONDS", 30.0)
    with FakeGame(tmp_path) as running:
        monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
        running.live()
        yield running


class Weaving:
    """A policy that follows the road and moves every control all the time."""

    version = 1

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._steps = 0

    def act(self, observation: Float32Array, random: np.random.Generator | None) -> Float32Array:
        self._steps += 1
        action = self._policy.act(observation, random)
        weave = 0.4 if self._steps // 8 % 2 else -0.4
        pedals = 0.9 if self._steps // 12 % 2 else -0.4
        return np.array([[np.clip(action[0, 0] + weave, -1.0, 1.0), pedals]], np.float32)


class Driven:
    """A driver of this game's car through these controls, and what it has recorded."""

    def __init__(
        self, backend: Backend, tolerance: Tolerance | None, weaving: bool = False, limits: Limits = PATIENT
    ) -> None:
        self.recorded: list[Step] = []
        self.seen: list[Float32Array] = []
        self.versions: list[int] = []
        self.window = True
        self.started = 0
        backend.open()
        pages = GamePages()
        gate = SafetyGate(lambda: False, lambda: self.window, True, tolerance)
        self.touched_in_a_start: FakeGame | None = None
        self._start = FreshStart(lambda: sight_of(pages), backend, None, limits)
        self.shown: dict[int, tuple[Float32Array, Command, int]] = {}
        self._game_car = AssettoCorsaCar(pages, backend, self._begin)
        self.car = GuardedCar(self._game_car, backend, gate)
        task = Task(Track.generate(7), CONFIG)
        self.policy = Policy.from_bytes(following_policy(SIGNATURE, 1), SIGNATURE)
        if weaving:
            self.policy = cast(Policy, Weaving(self.policy))
        session = GameSession(task.track, self.car, check=lambda: None, shaping=OFF, rolling=None)
        clock = RealTimeClock(1.0 / CONFIG.control_hz)
        self.to_judge: Policy | None = None
        judged = lambda: self.to_judge  # noqa: E731 - read anew each time
        policy = lambda: self.policy  # noqa: E731 - the same
        self.driver = GameDriver(session, task, clock, policy, self._take, lambda: True, None, to_judge=judged)

    def drive(self) -> str | None:
        """A step, if one may be driven; else why not."""
        why = self.driver.waits_for()
        if why is None and (step := self.driver.step()) is not None:
            assert self._game_car.latest is not None
            physics = self._game_car.latest.physics
            command = Command(-physics.steerAngle, physics.gas, physics.brake)
            self.shown[id(step.action)] = step.action, command, physics.packetId
        return why

    def not_followed(self, control: str) -> int:
        """For how many recorded steps on end, at most, the game showed another control than was asked for.

        Of a game to which a busy machine gave less time, its own time counts.
        """
        longest = now = first = 0
        for step in self.recorded:
            _, shown, packet = self.shown[id(step.action)]
            if abs(getattr(command_of(controls_of(step.action)), control) - getattr(shown, control)) > 0.3:
                first = first if now else packet
                now += 1
                longest = max(longest, min(now, 1 + round((packet - first) * CONFIG.control_hz / PHYSICS_HZ)))
            else:
                now = 0
        return longest

    def drive_until_recorded(self, steps: int) -> None:
        """Drive until so many steps were recorded in all."""

        def enough() -> bool:
            self.drive()
            return len(self.recorded) >= steps

        wait_until(enough, f"{steps} steps", seconds=60.0, every=0.001)

    def _begin(self) -> None:
        self.started += 1
        if self.touched_in_a_start is not None:
            self.touched_in_a_start.tell("human", steer=-0.8, wins=True)
        self._start()

    def _take(self, observation: Float32Array, step: Step, version: int) -> None:
        self.recorded.append(step)
        self.seen.append(observation)
        self.versions.append(version)


@pytest.mark.slow
def test_nothing_of_what_a_human_drove_is_recorded(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), Tolerance())
    driven.drive_until_recorded(20)
    game.tell("human", steer=-0.8, gas=0.2, wins=True)

    wait_until(lambda: "somebody steers" in (driven.drive() or ""), "the human to be seen", 10.0, 0.001)

    last = driven.recorded[-1]
    assert [end.reason for end in last.episodes] == ["interrupted"]
    assert last.truncated[0]
    assert last.episodes[0].steps == len(driven.recorded)
    assert last.episodes[0].total_reward == pytest.approx(sum(float(step.reward[0]) for step in driven.recorded))
    steered = [float(step.next_observation[0, STEER_APPLIED]) for step in driven.recorded]
    asked = [float(step.action[0, 0]) for step in driven.recorded]
    assert steered == pytest.approx(asked, abs=0.1)
    driven.car.close()


@pytest.mark.slow
def test_a_twitch_costs_no_step(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), Tolerance(delay=60.0))
    driven.drive_until_recorded(10)
    game.tell("human", steer=-0.5, gas=0.2, wins=True)
    wait_until(
        lambda: driven.drive() is None and driven.car.doubtful_since is not None, "the twitch to be seen", 10.0, 0.001
    )
    held_back = len(driven.recorded)
    game.tell("human", wins=False)
    driven.drive_until_recorded(held_back + 10)

    assert not any(step.episodes for step in driven.recorded)
    for step, seen in zip(driven.recorded, driven.seen[1:], strict=False):
        assert np.array_equal(step.observation, seen), "no step is missing"
    driven.car.close()


@pytest.mark.slow
def test_a_policy_that_gives_no_action_leaves_the_car_under_a_gentle_brake(
    game: FakeGame, caplog: pytest.LogCaptureFixture
) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), None)
    driven.drive_until_recorded(5)
    last = driven.policy.layers[-1]
    assert isinstance(last, tuple)
    last.bias[:] = np.nan
    # The steps that a sound policy chose are still held back.
    wait_until(
        lambda: driven.drive() is None and NOBODY in driven.versions, "the first step without an action", 60.0, 0.001
    )
    first = driven.versions.index(NOBODY)
    driven.drive_until_recorded(first + 5)

    assert set(driven.versions[first:]) == {NOBODY}
    assert all(
        step.action.tolist() == [[0.0, pytest.approx(-GENTLE_BRAKE, abs=1e-4)]] for step in driven.recorded[first:]
    )
    assert caplog.text.count("gave a number that is no action") == 1
    driven.car.close()


@pytest.mark.slow
def test_no_start_is_tried_while_the_policy_must_not_drive(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), None)
    driven.window = False

    assert driven.driver.step() is None
    assert "window is not in front" in (driven.drive() or "")

    assert driven.started == 0
    driven.car.close()


@pytest.mark.slow
def test_no_start_is_tried_while_somebody_steers(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), Tolerance())
    game.tell("human", steer=-0.8, wins=True)
    wait_until(lambda: game.physics("steerAngle") < -0.7, "the wheels to be turned")

    wait_until(lambda: "somebody steers" in (driven.drive() or ""), "the human to be seen", 10.0, 0.001)

    assert driven.started == 0
    driven.car.close()


class Told(VJoy):
    """Controls that remember what they were told last."""

    last: Command | None = None

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        self.last = Command(steer, throttle, brake)
        super().apply(steer, throttle, brake)

    def neutral(self) -> None:
        self.last = NEUTRAL
        super().neutral()


@pytest.mark.slow
def test_a_human_is_not_braked_while_the_link_to_a_driver_in_the_cloud_is_down(game: FakeGame) -> None:
    controls = Told(lambda: WiredJoystick(game))
    driven = Driven(controls, Tolerance())
    chunks = Chunks(1.0 / CONFIG.control_hz)
    track = Track.generate(7)
    rest = driven.driver.rest
    afar = ChunkDriver(
        driven.driver, SeenStates(chunks), chunks, FrameMaker(track), lambda _: None, linked=lambda: False, rest=rest
    )
    assert afar.waits_for() == "the receiver"
    assert controls.last == NEUTRAL

    game.tell("human", steer=-0.8, gas=0.2, wins=True)
    wait_until(lambda: afar.waits_for() is not None and driven.car.human_drives, "the human to be seen", 10.0, 0.001)
    for _ in range(20):
        assert afar.waits_for() == "the receiver"
        assert controls.last == RELEASED

    game.tell("human", wins=False)
    wait_until(
        lambda: afar.waits_for() is not None and controls.last == NEUTRAL, "the wheel to be given back", 30.0, 0.001
    )
    driven.car.close()


@pytest.mark.slow
def test_somebody_who_steers_during_a_start_is_waited_for_and_ends_nothing(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), Tolerance(), limits=Limits(restart=3.0, stand=4.0))
    driven.touched_in_a_start = game

    wait_until(lambda: "somebody steers" in (driven.drive() or ""), "the human to be seen", 30.0, 0.001)

    assert driven.started == 1
    driven.car.close()


class LostInAStart(VJoy):
    """Controls whose guard is lost while a button is pressed."""

    def press(self, button: Button, down: bool) -> None:
        raise GuardLost(f"The guard is gone at {button} {down}.")


@pytest.mark.slow
def test_a_guard_that_is_lost_in_a_start_ends_the_drive_with_a_sentence(game: FakeGame) -> None:
    driven = Driven(LostInAStart(lambda: WiredJoystick(game)), None)

    with pytest.raises(CannotDrive, match="The guard is gone"):
        driven.driver.step()
    zero = np.zeros(1)
    driven.car.apply(Controls(zero, zero, zero))

    driven.car.close()


@pytest.mark.slow
@pytest.mark.usefixtures("game")
def test_the_step_in_which_another_bridge_took_the_car_is_not_recorded() -> None:
    driven = Driven(CustomAI(), None)
    driven.drive_until_recorded(5)
    other = CustomAI()
    other.open()
    other.apply(1.0, 0.0, 1.0)

    with pytest.raises(CannotDrive, match="another bridge has taken"):
        wait_until(lambda: driven.drive() == "", "the loss to be noticed", 10.0, 0.001)
    driven.driver.finish()

    assert [end.reason for end in driven.recorded[-1].episodes] == ["stopped"]
    assert all(abs(float(step.next_observation[0, STEER_APPLIED])) < 0.9 for step in driven.recorded)
    other.close()
    driven.car.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pedal", "control", "name"), [("steer", "steer", "steering"), ("gas", "throttle", "throttle")]
)
def test_a_control_that_the_game_follows_no_more_ends_the_episode_and_drops_its_steps(
    game: FakeGame, pedal: str, control: str, name: str
) -> None:
    driven = Driven(CustomAI(), None, weaving=True)
    driven.drive_until_recorded(30)
    game.tell("deaf", controls=[pedal])

    wait_until(lambda: f"has not followed the {name}" in (driven.drive() or ""), "it to be noticed", 30.0, 0.001)

    assert [end.reason for end in driven.recorded[-1].episodes] == ["interrupted"]
    assert sum(len(step.episodes) for step in driven.recorded) == 1
    assert driven.not_followed(control) <= 5, "steering takes a quarter of a second from one side to the other"
    game.tell("deaf", controls=[])
    driven.drive_until_recorded(len(driven.recorded) + 20)
    driven.car.close()


@pytest.mark.slow
def test_a_game_that_goes_on_not_to_follow_ends_the_drive_with_a_sentence(game: FakeGame) -> None:
    driven = Driven(CustomAI(), None, weaving=True)
    driven.drive_until_recorded(10)
    game.tell("deaf", controls=["brake"])

    with pytest.raises(CannotDrive, match=r"has not followed the brake.*each of the last 3 starts.*doctor --move"):
        wait_until(lambda: driven.drive() == "", "the end", 90.0, 0.001)

    assert [end.reason for step in driven.recorded for end in step.episodes] == ["interrupted"] * 3
    assert driven.not_followed("brake") <= 2
    wait_until(lambda: game.truth()["wish"]["gas"] == 0.0, "the game has read that the car is let go")
    driven.car.close()


@pytest.mark.slow
def test_a_policy_is_judged_from_the_next_start_on(game: FakeGame) -> None:
    driven = Driven(VJoy(lambda: WiredJoystick(game)), None)
    driven.drive_until_recorded(5)
    driven.to_judge = Policy.from_bytes(to_judge(following_policy(SIGNATURE, 2), 2), SIGNATURE)
    seen = len(driven.recorded)
    driven.drive_until_recorded(seen + 5)
    assert set(driven.versions) == {1}, "not in the middle of an episode"
    driven.driver._interrupt("a menu")
    before = len(driven.recorded)
    assert [end.reason for end in driven.recorded[-1].episodes] == ["interrupted"]
    driven.drive_until_recorded(before + 5)
    assert set(driven.versions[before:]) == {2}
