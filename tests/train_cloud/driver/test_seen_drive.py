"""What is seen of a drive becomes the experience that the PC itself would have made, and no step that was not seen."""

from typing import Any

import msgspec
import numpy as np
import pytest

from experience.batches import NOBODY
from racing.driving import Step, VectorDriving
from racing.evaluation import reference_actions
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, TaskConfig
from racing.track import Track
from train_cloud.driver import seen_drive
from train_cloud.driver.seen_drive import SeenDrive, state_of
from wire.messages import Telemetry

TRACK = Track.generate(7, 1200.0)
TASK = Task(TRACK, TaskConfig(max_episode_seconds=4.0))
Recorded = tuple[Float32Array, Step, int]


def frame_of(driving: VectorDriving, **more: Any) -> Telemetry:
    """What a PC tells of its car."""
    state = driving.state
    scalars = ("time", "heading", "yaw_rate", "steer", "throttle", "brake", "engine_rpm")
    vectors = ("position", "velocity", "acceleration", "wheel_slip", "wheel_load", "wheel_angular_speed")
    told: dict[str, Any] = {name: float(getattr(state, name)[0]) for name in scalars}
    told |= {name: tuple(getattr(state, name)[0].tolist()) for name in vectors}
    told |= {"gear": int(state.gear[0]), "wheels_out": int(state.wheels_out[0]), "collided": bool(state.collided[0])}
    speed = float(np.hypot(*state.velocity[0]))
    return Telemetry(**{"speed": speed, "laps": 0, "lap_time": 0.0, **told, **more})


def drive(steps: int) -> tuple[list[Telemetry], list[Recorded]]:
    """Frames of the reference driver's drive, and its own steps, each with the number of its chunk."""
    driving, own = VectorDriving(SimulatedCar(TRACK, start="line"), TASK), []
    act, observation = reference_actions(ReferenceDriver(TRACK)), driving.reset()
    frames = [frame_of(driving, episode=1)]
    for number in range(steps):
        step = driving.step(act(observation, driving.state))
        action = tuple(step.action[0].tolist())
        frames.append(frame_of(driving, episode=1, action=action, action_age=0.125, chunk=number % 50))
        own.append((observation, step, number % 50))
        observation = step.observation
    return frames, own


def watch(frames: list[Telemetry]) -> tuple[SeenDrive, list[Recorded], list[bool]]:
    recorded: list[Recorded] = []
    drive = SeenDrive(TASK, lambda *one: recorded.append(one), lambda number: 7 if number else None)
    return drive, recorded, [drive.see(frame) for frame in frames]


def test_frames_say_all_of_a_car_over_the_wire() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, seed=2), TASK)
    driving.reset()
    frame = msgspec.msgpack.decode(msgspec.msgpack.encode(frame_of(driving, episode=1)), type=Telemetry)
    seen = state_of(frame)
    assert seen is not None
    for name in ("time", "position", "velocity", "acceleration", "wheel_slip", "gear", "wheels_out", "collided"):
        assert (getattr(seen, name) == getattr(driving.state, name)).all(), name
    assert state_of(msgspec.structs.replace(frame, heading=None)) is None


def test_steps_are_those_of_the_pc_with_the_age_of_each_action() -> None:
    frames, own = drive(60)

    watched, recorded, to_plan = watch(frames)
    watched.interrupt("stopped")

    assert all(to_plan)
    assert len(recorded) == len(own) == 60
    for (observation, step, version), (its_observation, its_step, chunk) in zip(recorded, own, strict=True):
        assert (observation == its_observation).all()
        assert (step.action == its_step.action).all()
        assert (step.next_observation == its_step.next_observation).all()
        assert step.reward == its_step.reward
        assert step.action_age == np.float32(0.125)
        assert version == (7 if chunk else NOBODY)
    last = recorded[-1][1]
    assert last.truncated.all()
    assert [(end.steps, end.reason) for end in last.episodes] == [(60, "stopped")]
    assert watched.gaps == 0


def test_an_end_is_recorded_as_the_task_has_it_and_nothing_is_planned_until_the_next_begin() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, seed=2), TASK, restarts=False)
    driving.reset()
    frames = [frame_of(driving, episode=1)]
    while True:
        step = driving.step(np.array([[1.0, 1.0]], np.float32))
        ended = step.episodes[0].reason if step.episodes else None
        frames.append(frame_of(driving, episode=1, action=tuple(step.action[0].tolist()), ended=ended))
        if ended:
            break

    _, recorded, to_plan = watch([*frames, frames[-1], msgspec.structs.replace(frames[0], time=900.0, episode=2)])

    assert to_plan == [True] * (len(frames) - 1) + [False, False, True]
    assert len(recorded) == len(frames) - 1
    last = recorded[-1][1]
    assert last.terminated.all()
    assert not last.truncated.any()
    assert last.episodes[0].reason == ended
    assert not any(one.terminated or one.truncated for _, one, _ in recorded[:-1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lost", lambda frames: [*frames[:20], *frames[23:]]),
        ("not ours", lambda frames: [*frames[:20], msgspec.structs.replace(frames[20], action=None), *frames[21:]]),
        ("other episode", lambda frames: [*frames[:20], *(msgspec.structs.replace(f, episode=2) for f in frames[20:])]),
        ("not whole", lambda frames: [*frames[:20], msgspec.structs.replace(frames[20], yaw_rate=None), *frames[21:]]),
    ],
)
def test_what_was_not_seen_is_never_joined(name: str, change: Any) -> None:
    frames, own = drive(40)

    watched, recorded, _ = watch(change(frames))
    watched.interrupt("stopped")

    # The step to the 19th frame is the last before the gap.
    ends = [number for number, (_, step, _) in enumerate(recorded) if step.truncated.any()]
    assert ends == [18, len(recorded) - 1], name
    assert recorded[18][1].episodes[0].reason == "interrupted"
    # Each is a step that was made: the car's own columns, which know nothing of episodes, are as they were.
    made = {
        (old[:, :10].tobytes(), step.action.tobytes(), step.next_observation[:, :10].tobytes()) for old, step, _ in own
    }
    for old, step, _ in recorded:
        assert (old[:, :10].tobytes(), step.action.tobytes(), step.next_observation[:, :10].tobytes()) in made
    assert not any(step.off_period for _, step, _ in recorded)


def test_a_frame_from_the_past_is_let_alone() -> None:
    frames, _ = drive(10)
    _, recorded, to_plan = watch([*frames[:6], frames[3], frames[5], *frames[6:]])
    assert to_plan == [True] * 6 + [False, False] + [True] * 5
    assert len(recorded) == 9
    assert not any(step.truncated.any() for _, step, _ in recorded)


def settled(frames: list[Telemetry], behind: int) -> list[Telemetry]:
    """The same frames from a PC that knows of each step only `behind` steps later whether it was its driver's."""
    times = [frame.time or 0.0 for frame in frames]
    told = [times[max(0, place - behind)] for place in range(len(frames))]
    return [msgspec.structs.replace(frame, settled=time) for frame, time in zip(frames, told, strict=True)]


def test_steps_that_are_not_settled_when_an_episode_is_interrupted_are_no_experience() -> None:
    frames, own = drive(30)
    told = settled(frames, 4)
    drive_seen, recorded, _ = watch(told)
    # The newest settled one is held back, too: it may be the last.
    assert len(recorded) == 25
    drive_seen.see(msgspec.structs.replace(told[-1], ended="interrupted", action=None, settled=told[28].time))
    assert len(recorded) == 28
    assert [bool(step.truncated[0]) for _, step, _ in recorded] == [False] * 27 + [True]
    ((_, last, _),) = recorded[-1:]
    assert last.episodes[0].reason == "interrupted"
    assert last.episodes[0].steps == 28
    assert (last.next_observation == own[27][1].next_observation).all()


def test_an_end_that_may_not_have_been_ours_is_none() -> None:
    frames, _ = drive(10)
    told = settled(frames[:-1], 2)
    _, recorded, _ = watch([*told, msgspec.structs.replace(frames[-1], ended="off_track", settled=frames[7].time)])
    assert len(recorded) == 7
    assert recorded[-1][1].episodes[0].reason == "interrupted"


def test_a_gap_costs_what_nobody_settles_and_no_more() -> None:
    frames, _ = drive(30)
    told = settled(frames, 4)
    _, recorded, _ = watch([*told[:15], *told[20:]])
    assert [bool(step.truncated[0]) for _, step, _ in recorded] == [False] * 13 + [True] + [False] * 5


def test_steps_that_nobody_settles_for_long_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_drive, "MOST_HELD_SECONDS", 1.0)
    frames, _ = drive(60)
    told = [msgspec.structs.replace(frame, settled=min(frame.time or 0.0, frames[5].time or 0.0)) for frame in frames]
    _, recorded, _ = watch(told)
    assert [bool(step.truncated[0]) for _, step, _ in recorded] == [False] * 4 + [True]
