"""What a run's bucket holds after real drives in the simulator, beside what was driven.

A policy's cars and a demonstrating driver go by recorder, spool, store and backup, as they do in a run; only the wire
between spool and store is left out.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.driving.clean_laps import CleanLaps
from bridge.driving.demonstration import ShownDriver
from bridge.spool import Spool
from experience.batches import Batch, check_batch
from experience.environment import Environment, racing
from experience.policy_driver import PolicyDriver
from experience.recorder import Recorder
from experience.rows import to_rows
from racing.driving import Step, VectorDriving
from racing.evaluation import reference_actions
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task
from racing.track_text import track_hash, track_text
from tests.support.in_memory import RunInMemory
from tests.support.judged import TRACK
from tests.support.moto_s3 import MotoS3
from tests.support.policies import following_policy
from tests.support.runs import run_config
from tests.support.toys import EPISODE, Reach, stacked
from train_cloud.environment import task_config
from train_cloud.open_store import open_store
from train_cloud.receiver.backup import Backup
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import EXPERIENCE, TRACKS, run_prefix
from train_cloud.store import IncomingBatch, Store


class DrivenStep(NamedTuple):
    """One step of one car, as its driver handed it to the recorder."""

    observation: Float32Array
    action: Float32Array
    reward: float
    terminated: bool
    truncated: bool
    led_to: Float32Array
    version: int


class WatchedRecorder(Recorder):
    """A recorder that also keeps what it is given, by car."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.given: dict[int, list[DrivenStep]] = defaultdict(list)

    def record(self, observation: Float32Array, step: Step, policy_version: int) -> bool:
        """Record it, which it must have room for."""
        assert super().record(observation, step, policy_version)
        for car in range(len(step.reward)):
            self.given[car].append(
                DrivenStep(
                    observation[car].copy(),
                    step.action[car].copy(),
                    float(step.reward[car]),
                    bool(step.terminated[car]),
                    bool(step.truncated[car]),
                    step.next_observation[car].copy(),
                    policy_version,
                )
            )
        return True


@dataclass
class RunInBucket:
    """A run of racing whose episodes are cut off after 2 s; `driven` is by stream and car."""

    folder: Path
    s3: MotoS3
    run_id: str = "driven.run-1"
    driven: dict[str, dict[int, list[DrivenStep]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = {"run_id": self.run_id, "bucket": msgspec.to_builtins(self.s3.bucket)}
        self.config: RunConfig = run_config(**settings, task={"max_episode_seconds": 2.0})
        self.objects = open_store(self.config.bucket, run_prefix(self.run_id))
        self.environment: Environment = racing(task_config(self.config))
        self.file = self.folder / "run.json"
        self.file.write_bytes(msgspec.json.encode(self.config))
        text = track_text(TRACK)
        self.objects.put(f"{TRACKS}{track_hash(text)}.json", text)

    def drive_policy(self, bridge: str = "pc", cars: int = 2, steps: int = 150) -> str:
        """Explore by a policy that comes after 10 steps, and is not wanted for 5 in the middle; the stream."""
        run = RunInMemory()

        def drive(recorder: WatchedRecorder) -> None:
            driver = PolicyDriver(self._driving(SimulatedCar(TRACK, cars, seed=3)), run, recorder, True, seed=1)
            for number in range(steps):
                if number == 10:
                    run.policy = self.environment.policy(following_policy(self.environment.signature, 7, hidden=8))
                run.done = 70 <= number < 75
                driver.step()

        return self._recorded(bridge, cars, drive)

    def demonstrate(self, bridge: str = "teacher", laps: int = 1) -> str:
        """The reference driver shows so many laps, in an episode of any length; the stream."""

        def drive(recorder: WatchedRecorder) -> None:
            task = msgspec.structs.replace(self.config.task, max_episode_seconds=600.0)
            settings = task_config(msgspec.structs.replace(self.config, task=task))
            driving = VectorDriving(SimulatedCar(TRACK, start="line"), Task(TRACK, settings))
            shown = CleanLaps(recorder, driving.period, laps)
            driver = ShownDriver(driving, reference_actions(ReferenceDriver(TRACK)), shown)
            while not shown.enough:
                driver.step()
            shown.finish()

        return self._recorded(bridge, 1, drive)

    def segments(self, stream: str) -> list[str]:
        """Keys of the stream's segments, in order."""
        return self.objects.list(f"{EXPERIENCE}{stream}/")

    def _driving(self, car: SimulatedCar) -> VectorDriving:
        return VectorDriving(car, Task(TRACK, task_config(self.config)))

    def _recorded(self, bridge: str, cars: int, drive: Callable[[WatchedRecorder], None]) -> str:
        """Have it driven, and bring it to the bucket: a segment for every second batch, which are of 25 steps a car."""
        layout = self.environment.spaces.layout
        with Spool(self.folder / bridge) as spool, closing(Store(self.folder / f"{bridge}.db")) as store:
            stream = spool.position().stream
            recorder = WatchedRecorder(spool, layout, cars, flush_seconds=600.0, flush_steps=25 * cars, chunks=256)
            drive(recorder)
            recorder.close()
            assert recorder.lost_steps == 0
            store.register_stream(stream, bridge, self.environment.signature, self.environment.spaces.text)
            for number in range(1, spool.last_number + 1):
                batch = spool.read(number)
                assert batch is not None
                store.add_batches([IncomingBatch(stream, number, batch.steps, batch.blob)])
                if number % 2 == 0 or number == spool.last_number:
                    assert Backup(store, self.objects, 1.0, lambda *_: None).flush(120)
        self.driven[stream] = recorder.given
        return stream


def column(steps: list[DrivenStep], name: str) -> npt.NDArray[Any]:
    """One field of all steps."""
    return np.array([getattr(step, name) for step in steps])


def toy_batch(seen: str, moved: str) -> tuple[Environment, Batch, list[Any], list[Any]]:
    """An episode of a toy by random actions: its environment, the batch, what it showed (21), the actions (20)."""
    toy = Reach(seen, moved)
    toy.action_space.seed(1)
    told, actions = [toy.reset()[0]], [toy.action_space.sample() for _ in range(EPISODE)]
    told += [toy.step(action)[0] for action in actions]
    batch = Batch(
        layout=toy.spaces.layout,
        run_lengths=np.array([EPISODE], np.int32),
        run_cars=np.zeros(1, np.int32),
        run_first_steps=np.zeros(1, np.int64),
        observations=to_rows(toy.observation_space, stacked(told)),
        actions=to_rows(toy.action_space, np.stack(actions)),
        rewards=np.arange(EPISODE, dtype=np.float32),
        terminated=np.zeros(EPISODE, bool),
        truncated=np.arange(EPISODE) == EPISODE - 1,
        policy_versions=np.full(EPISODE, 3, np.uint32),
        action_ages=np.zeros(EPISODE, np.float32),
        off_period=np.zeros(EPISODE, bool),
    )
    check_batch(batch)
    return toy.environment, batch, told, actions
