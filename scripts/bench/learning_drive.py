"""One car that learns in this process, and how its policies lap: a piece of `scripts.bench.learning`.

The car explores by the exported policy, as a PC does, and gets a new one every second; its steps become batches as
the recorder makes them, and the trainer's own learner takes them in at the run's pace. Laps of the reference driver may
stand in the stream before its first step, as a human's would. The rival is
stable-baselines3's SAC in its own loop, with its defaults. What is judged is always the exported policy.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from stable_baselines3 import SAC

from experience.batches import Batch
from experience.chunks import Chunk, assemble
from experience.environment import racing
from racing.car import Car
from racing.delayed_car import DelayedCar
from racing.driving import VectorDriving
from racing.env import RacingEnv
from racing.evaluation import reference_actions
from racing.exploration import Exploration
from racing.link_model import LinkModel
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import ACTION_STEP, Task, TaskConfig
from racing.track import Track
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.trainer.learning.export import ExportError, export_policy
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.pace import pace_of

PUBLISH_STEPS: Final = 20
"""Between two versions of the policy that drives: one second, as in the demo."""

DEMONSTRATED_LAPS: Final = 2
SHARES_OF_SPEED: Final = {"laps": 0.9, "limit": 1.0, "lazy": 0.7, "wrong": 1.0}
"""What the reference driver keeps to: as a person who leaves a margin; at the limit; lazily; with steering reversed."""

Judge = Callable[[int, Policy, bytes], None]
"""Is told each policy that is to be judged, with its file, and after how many steps."""


def learn(
    track: Track,
    settings: Mapping[str, Any],
    seed: int,
    steps: int,
    every: int,
    judge: Judge,
    shown: str = "",
    link: LinkModel | None = None,
) -> str:
    """Learn for so many steps by a run with these `settings` (fields of RunConfig); what ended it early, or "".

    `every` is a multiple of PUBLISH_STEPS; `shown` is one of SHARES_OF_SPEED, or "" for none, and not among the steps.
    The car obeys as late as over `link`; None for at once.
    """
    bucket = BucketConfig(name="unused")
    run = RunConfig(run_id="bench", bucket=bucket, seed=seed, device="cpu", total_timesteps=steps, **settings)
    try:
        car: Car = SimulatedCar(track, seed=seed)
        car = car if link is None else DelayedCar(car, link, seed)
        _learn(run, VectorDriving(car, Task(track)), every, judge, demonstrated(track, shown) if shown else [])
    except (Diverged, ExportError) as error:
        return str(error)
    return ""


def demonstrated(track: Track, shown: str) -> list[Batch]:
    """DEMONSTRATED_LAPS from before the line, as a bridge records what no policy drives; wrong ones last as long."""
    driver, layout = ReferenceDriver(track), racing().spaces.layout
    steps = round(DEMONSTRATED_LAPS * driver.lap_time_estimate * TaskConfig().control_hz)
    driver.speed *= SHARES_OF_SPEED[shown]
    act, sign = reference_actions(driver), np.array([-1.0 if shown == "wrong" else 1.0, 1.0], np.float32)
    driving = VectorDriving(SimulatedCar(track, start="line"), Task(track))
    chunk, laps, observation = Chunk(PUBLISH_STEPS, 1, layout), 0, driving.reset()
    batches: list[Batch] = []
    while laps < DEMONSTRATED_LAPS if shown != "wrong" else len(batches) * PUBLISH_STEPS < steps:
        for _ in range(PUBLISH_STEPS):
            step = driving.step(sign * act(observation, driving.state))
            chunk.add(observation, step, 0)
            observation, laps = step.observation, laps + len(step.laps)
        begun = PUBLISH_STEPS * len(batches)
        batch = assemble(chunk, layout, lambda _, first=begun: first)  # type: ignore[misc]  # of a default
        chunk.clear()
        assert batch is not None
        batches.append(batch)
    return batches


def _learn(run: RunConfig, driving: VectorDriving, every: int, judge: Judge, shown: list[Batch]) -> None:
    environment = racing()
    demonstrations = sum(known.steps for known in shown)
    learner, pace = make_learner(run, environment), pace_of(run, None, 0, 0, demonstrations)
    chunk, exploration = Chunk(PUBLISH_STEPS, 1, environment.spaces.layout), Exploration(run.seed)
    file, updates = learner.policy(1), 0
    policy = environment.policy(file)
    observation = driving.reset()
    for known in shown:
        learner.take(known)
    for begun in range(0, run.total_timesteps, PUBLISH_STEPS):
        for _ in range(PUBLISH_STEPS):
            step = driving.step(policy.act(observation, exploration))
            chunk.add(observation, step, policy.version)
            observation = step.observation
        batch = assemble(chunk, environment.spaces.layout, lambda _, first=begun: first)  # type: ignore[misc]  # of a default
        chunk.clear()
        assert batch is not None
        learner.take(batch)
        driven = begun + PUBLISH_STEPS
        if (owed := pace.asked(driven, demonstrations) - updates) > 0 and (made := learner.update(owed)):
            updates += made
            file = learner.policy(policy.version + 1)
            policy = environment.policy(file)
        if driven % every == 0:
            learner.check()
            judge(driven, policy, file)


def learn_as_stable_baselines3(track: Track, seed: int, steps: int, every: int, judge: Judge) -> str:
    """The same by stable-baselines3's SAC as it comes."""
    model, environment = SAC("MlpPolicy", RacingEnv(track), seed=seed, device="cpu"), racing()

    def look(_locals: dict[str, Any], _globals: dict[str, Any]) -> bool:
        driven = model.num_timesteps
        if driven % every == 0:
            exported = export_policy(model, driven, environment.signature, ACTION_STEP)
            judge(driven, environment.policy(exported), exported)
        return True

    try:
        model.learn(steps, callback=look)
    except ExportError as error:
        return str(error)
    return ""
