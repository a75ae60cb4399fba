"""The actor, against a real receiver and a PC in threads: what it records when something goes wrong."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium.spaces import Box

from experience.batches import Batch
from experience.codec import decode_batch
from experience.environment import Environment
from experience.recorder import Recorder
from experience.sink import SinkFull
from experience.spaces import Spaces, SpaceSpec
from runtime.exit_codes import ExitCode
from tests.support import counting_env
from tests.support.counting_env import Counting
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import REMOTE, ThreadedReceiver, blob
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from tests.train_cloud.remote.test_faults import NAME, calls_of, serving
from tests.train_cloud.trainer.learning.test_learner import Summer
from train_cloud.open_store import open_store
from train_cloud.run_config import EnvironmentSettings, RunConfig
from train_cloud.store import Store
from train_cloud.trainer.acting.actor import Actor
from train_cloud.trainer.acting.store_sink import StoreSink
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.manifest import find_newest
from train_cloud.trainer.saving.uploads import Uploads
from train_cloud.trainer.session import train_run

__all__ = ["s3"]

CHOSEN = EnvironmentSettings(kind="gymnasium", id=NAME, source="remote", kwargs={"name": "acting"})
CONFIG = msgspec.structs.replace(REMOTE, environment=CHOSEN, total_timesteps=1000)
COUNTING = Environment(NAME, Spaces(SpaceSpec(Counting.observation_space), SpaceSpec(Counting.action_space)))


class Listed:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        assert steps == sum((steps_by_car or {}).values())
        self.batches.append(decode_batch(blob, COUNTING.spaces.layout))
        return len(self.batches)

    def steps_of_car(self, car: int) -> int:
        assert car == 0
        return sum(batch.steps for batch in self.batches)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(CONFIG, tmp_path)
    yield receiver
    receiver.close()


def turned(actor: Actor, until: Callable[[], bool], what: str, seconds: float = 30.0, most: int = 10**6) -> None:
    """Let the actor go on until then."""

    def turn() -> bool:
        actor.turn(most, 0.01)
        return until()

    wait_until(turn, what, seconds)


def begun(actor: Actor, environment: Environment, act: Callable[[Any], Any], sink: Listed | None = None) -> Listed:
    sink = sink or Listed()
    actor.begin(environment, Recorder(sink, environment.spaces.layout, 1), act, lambda: 1, 0)
    return sink


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"), [(1, "the wheel came off"), (5, "holds NaN or an infinite"), (7, "holds NaN or an infinite")]
)
def test_an_environment_that_cannot_go_on_ends_its_episode_and_is_made_anew(
    receiver: ThreadedReceiver, wrong: int, said: str
) -> None:
    actions = iter([0, 0, 0, wrong] + [0] * 10**6)
    actor = Actor(CONFIG, calls_of(receiver))
    assert "ac-bridge serve-env --env" in (actor.waits_for() or "")
    sink = begun(actor, COUNTING, lambda _: np.array([next(actions)]))
    with serving(receiver.port):
        turned(actor, lambda: said in (actor.waits_for() or ""), "it says why it waits")
        turned(actor, lambda: actor.waits_for() is None, "it goes on")
        turned(actor, lambda: sink.steps_of_car(0) > 3, "it steps")
        actor.close()
    ends = [episode for batch in sink.batches for episode in batch.episodes]
    assert (ends[0].steps, ends[0].reason, ends[-1].reason) == (3, "interrupted", "stopped")
    seen = np.concatenate([batch.current_observations()[:, 0] for batch in sink.batches])
    assert seen[:4].tolist() == [0.0, 1.0, 2.0, 0.0]


def test_an_environment_that_hangs_for_longer_than_the_run_allows_is_made_anew(receiver: ThreadedReceiver) -> None:
    actions = iter([0, 0, 2] + [0] * 10**6)
    hasty = msgspec.structs.replace(CONFIG, environment=msgspec.structs.replace(CHOSEN, step_seconds=0.5))
    actor = Actor(hasty, calls_of(receiver))
    sink = begun(actor, COUNTING, lambda _: np.array([next(actions)]))
    counting_env.RELEASED.clear()
    try:
        with serving(receiver.port):
            # At most 28 s on a busy machine: before the 30 s that are usual.
            turned(actor, lambda: sink.steps_of_car(0) > 3, "it goes on with another one", 7.0)
            actor.close()
    finally:
        counting_env.RELEASED.set()
    ends = [episode for batch in sink.batches for episode in batch.episodes]
    assert (ends[0].steps, ends[0].reason) == (2, "interrupted")


def test_a_pc_with_other_spaces_is_not_stepped(receiver: ThreadedReceiver) -> None:
    other = Environment(NAME, Spaces(SpaceSpec(Box(0.0, 1.0, (2,))), SpaceSpec(Box(0.0, 1.0, (1,)))))
    actor = Actor(CONFIG, calls_of(receiver))
    begun(actor, other, lambda _: pytest.fail("it acts"))
    with serving(receiver.port):
        turned(actor, lambda: "has other spaces than the run's" in (actor.waits_for() or ""), "it says so")
        actor.close()


def test_an_action_that_is_none_reaches_no_environment(receiver: ThreadedReceiver) -> None:
    actor = Actor(CONFIG, calls_of(receiver))
    sink = begun(actor, COUNTING, lambda _: np.array([np.nan]))
    with serving(receiver.port):
        with pytest.raises(Diverged, match="action"):
            turned(actor, lambda: False, "it acts")
        actor.close()
    assert sink.batches == []


def test_it_makes_no_more_steps_than_it_may(receiver: ThreadedReceiver) -> None:
    acted = []

    def act(observations: Any) -> Any:
        acted.append(observations)
        return np.array([0])

    config = msgspec.structs.replace(CONFIG, total_timesteps=40)
    actor = Actor(config, calls_of(receiver))
    sink = begun(actor, COUNTING, act)
    with serving(receiver.port):
        # All but the newest, of which nobody knows yet whether it is the last of its episode.
        turned(actor, lambda: sink.steps_of_car(0) == 29, "it acts, and what it did is there at once", most=30)
        for _ in range(20):
            actor.turn(30, 0.01)
        assert len(acted) == 30
        for _ in range(100):
            actor.turn(70, 0.01)
        assert len(acted) == 40
        assert actor.waits_for() is None
        actor.close()


def trained(
    config: RunConfig,
    receiver: ThreadedReceiver,
    learner: Learner,
    counters: Counters,
    act: Callable[[Any], Any],
    stop: threading.Event | None = None,
) -> bool:
    """Train a run of COUNTING, as far as it goes; whether it is done."""
    objects, folder = open_store(config.bucket, "runs/acting/"), receiver.store.path.parent
    uploads, tracking = Uploads(objects, find_newest(objects).latest_etag), Tracking(config, folder, objects, 0)
    actor = Actor(config, calls_of(receiver))
    recorder = Recorder(StoreSink(receiver.store, COUNTING), COUNTING.spaces.layout, 1, flush_seconds=0.02)
    actor.begin(COUNTING, recorder, act, lambda: counters.weights_version, receiver.store.total_steps())
    layout, stop = COUNTING.spaces.layout, stop or threading.Event()
    trainer = Trainer(config, receiver.store, uploads, tracking, learner, counters, stop, layout, actor)
    try:
        return trainer.run()
    finally:
        actor.close()
        uploads.wait(120)
        uploads.close()
        tracking.close()


class Patient(Summer):
    """Learns only after it has chosen the 150th action, by which the environment hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.acted = 0

    def act(self, observations: Any, explore: bool) -> Any:
        assert explore
        assert observations.shape == (1, 1)
        self.acted += 1
        return np.array([2 if self.acted == 150 else 0])

    def update(self, budget: int) -> int:
        return super().update(budget) if self.acted >= 150 else 0


def test_updates_are_made_while_the_pc_steps(receiver: ThreadedReceiver, s3: MotoS3) -> None:
    config = msgspec.structs.replace(
        CONFIG, bucket=s3.bucket, total_timesteps=200, learning_starts=10, updates_per_step=0.5
    )
    learner, counters = Patient(), Counters()
    counting_env.RELEASED.clear()
    with serving(receiver.port), ThreadPoolExecutor(1) as pool:
        training = pool.submit(trained, config, receiver, learner, counters, partial(learner.act, explore=True))
        try:
            # The steps before the one that hangs, and not the one that may yet turn out to be the last.
            wait_until(lambda: learner.updates == (148 - 10) // 2 or training.done(), "it learns meanwhile")
            assert (learner.acted, learner.steps) == (150, 148)
        finally:
            counting_env.RELEASED.set()
        assert training.result(300)
    assert (counters.steps, counters.updates, learner.acted) == (200, 95, 200)


@pytest.mark.slow
def test_ppo_learns_from_whole_rollouts_whatever_is_lost_and_ends_in_a_second_life(
    receiver: ThreadedReceiver, s3: MotoS3
) -> None:
    ppo = {"rollout_steps": 32, "epochs": 3}
    config = run_config(
        method="ppo",
        ppo=ppo,
        batch_size=20,
        total_timesteps=200,
        max_lead_steps=32,
        network=[8],
        environment=msgspec.to_builtins(CHOSEN),
        bucket=msgspec.to_builtins(s3.bucket),
    )
    stop, asked = threading.Event(), 0

    def act(_: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked >= 75 and lived.figures().replay_rows:
            stop.set()
        # A step that is lost and ends its episode, and one whose reward no batch may hold.
        return np.array([{20: 1, 60: 6}.get(asked, 0)])

    with serving(receiver.port):
        lived, counters = make_learner(config, COUNTING), Counters()
        assert not trained(config, receiver, lived, counters, act, stop)
        newest = counters.weights_version
        learner = make_learner(config, COUNTING)
        learner.restore(lived.state(counters), counters)
        assert trained(config, receiver, learner, counters, act, threading.Event())
    batches = [decode_batch(row.blob, COUNTING.spaces.layout) for row in receiver.store.read_batches(0, 10**6)]
    versions = np.bincount(np.concatenate([batch.policy_versions for batch in batches]))
    assert versions.sum() == counters.steps == 200
    assert counters.updates == int(200 * 3 / 20)
    # Of each policy one step more than are learned from; the one that was stopped on its way goes on as the next.
    assert versions[1:newest].tolist() == [33] * (newest - 1)
    assert versions[newest] + versions[newest + 1] == versions[newest + 2] == 33


@pytest.mark.slow
def test_more_environments_than_a_batch_can_hold_are_refused(
    tmp_path: Path, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    images = Spaces(SpaceSpec(Box(0, 255, (96, 96, 3), np.uint8)), SpaceSpec(Box(-1.0, 1.0, (3,))))
    store = Store(tmp_path / "store.db")
    store.register_stream("a" * 32, "trainer", "signature", images.text)
    store.set_ready()
    store.close()
    many = msgspec.structs.replace(CHOSEN, num_envs=64)
    config = msgspec.structs.replace(CONFIG, environment=many, bucket=s3.bucket, run_id="many")
    assert train_run(config, tmp_path, threading.Event()) == ExitCode.USAGE
    assert "`environment.num_envs` has the value 64, but a batch of experience holds at most 18" in caplog.text


def test_a_full_store_is_a_full_sink(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db", 400_000)
    sink = StoreSink(store, COUNTING)
    appended = 0

    def fill() -> None:
        nonlocal appended
        while True:
            assert sink.append(blob(appended + 1), 20, {0: 20}) == appended + 1
            appended += 1

    with pytest.raises(SinkFull):
        fill()
    (state,) = store.streams().values()
    assert (state.stored_through, state.bridge) == (appended, "trainer")
    assert sink.steps_of_car(0) == state.stored_steps == 20 * appended > 0
    store.close()
