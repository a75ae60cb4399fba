"""A run that steps the environments of a PC by itself: real receiver, trainer and PC, each of which may be killed."""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]  # has no types

from experience.batches import Batch
from experience.codec import decode_batch
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site
from tests.support.waiting import wait_until
from train_cloud.history_table import beats, points, report
from train_cloud.remote.vector import RemoteVectorEnv
from train_cloud.run_folder.files import CALLS, STORE, TENSORBOARD
from train_cloud.store import Store

__all__ = ["s3"]

NAME = "tests.support.logged_env:Point"
ENVS = 2


def remote_site(folder: Path, s3: MotoS3, **changes: Any) -> Site:
    """A run of Point whose steps are written to `folder`'s steps.jsonl."""
    environment: dict[str, Any] = {
        "kind": "gymnasium",
        "id": NAME,
        "source": "remote",
        "kwargs": {"log": str(folder.parent / "steps.jsonl")},
        "num_envs": ENVS,
    }
    return Site(folder, s3, **({"environment": environment} | changes))


def start_pc(site: Site) -> None:
    site.start(BRIDGE, "bridge", "serve-env", "--env", NAME, "--num-envs", ENVS, "--processes", 2)


def made(folder: Path) -> Counter[str]:
    """The steps that the PC made."""
    return Counter((folder.parent / "steps.jsonl").read_text().splitlines())


def batches(site: Site) -> list[Batch]:
    return [decode_batch(batch.blob) for batch in site.stored_batches()]


def recorded(site: Site) -> Counter[str]:
    """The steps that were recorded, in the words of the PC."""
    rows: Counter[str] = Counter()
    for batch in batches(site):
        columns: tuple[Any, ...] = (batch.current_observations(), batch.actions, batch.next_observations())
        rows.update(json.dumps(row) for row in zip(*(column.tolist() for column in columns), strict=True))
    return rows


def wait_for_more(site: Site, steps: int) -> None:
    """Wait until the trainer has taken in so many steps more."""
    before = site.consumed_steps()
    wait_until(lambda: site.consumed_steps() >= before + steps, f"{steps} steps more than {before}", 60.0, 0.05)


@pytest.mark.slow
def test_a_run_is_trained_to_its_end_by_a_pc_that_is_stepped(tmp_path: Path, s3: MotoS3) -> None:
    with remote_site(tmp_path / "run", s3, total_timesteps=600, learning_starts=100, updates_per_step=0.25) as site:
        site.start_receiver()
        site.start_trainer()
        wait_until(lambda: "waiting for a PC that serves" in site.log(TRAINER), "the trainer says what it waits for")
        site.wait_for_receiver()
        with closing(Store(site.instance / STORE)) as store:
            wait_until(lambda: beats(store).keys() == {"trainer", "receiver"}, "both say that they live")
            assert beats(store)["trainer"].state == "starting"
        start_pc(site)
        assert site.wait_for_end(TRAINER, 120.0) == 0
        counters, steps = site.checkpoint_counters(), recorded(site)
        assert counters.steps == sum(steps.values()) == 600
        assert counters.updates == 125
        assert max(steps.values()) == 1
        assert steps == made(site.folder)
        assert counters.ends["truncated"] == 600 // 20
        document = json.loads(site.objects.get("metrics.json")[0])
        figures = document["remote"]
        assert 0.0 < figures["environment_seconds"] < figures["round_trip_seconds"]
        overhead = figures["round_trip_seconds"] - figures["environment_seconds"]
        assert figures["overhead_seconds"] == pytest.approx(overhead)
        curves = EventAccumulator(str(site.instance / TENSORBOARD)).Reload()
        assert {f"remote/{name}" for name in figures} <= set(curves.Tags()["scalars"])
        assert sum(batch.steps for batch in map(decode_batch, site.batches_in_bucket().values())) == 600
        with closing(Store(site.instance / STORE)) as store:
            assert (report(store)["state"], beats(store)["trainer"].state) == ("done", "done")
            assert report(store)["remote"].keys() == figures.keys()
            drawn = points(store)[-1][1]
            assert (drawn.steps, {f"remote/{name}" for name in figures} <= drawn.values.keys()) == (600, True)


@pytest.mark.slow
def test_over_tls_ones_own_code_steps_it_without_a_trainer(tmp_path: Path, s3: MotoS3) -> None:
    kwargs = {"log": str(tmp_path / "steps.jsonl")}
    with remote_site(tmp_path / "run", s3, tls=True) as site:
        site.start_receiver()
        site.wait_for_receiver()
        start_pc(site)
        envs = RemoteVectorEnv(site.instance / CALLS, NAME, ENVS, kwargs=kwargs)
        envs.reset(seed=1)
        for _ in range(50):
            envs.step(np.zeros((ENVS, 1), np.float32))
        envs.close()
        # In the default mode the step after an episode's 20 begins the next one.
        assert sum(made(site.folder).values()) == (50 - 2) * ENVS


@pytest.mark.slow
def test_whoever_is_killed_no_step_is_doubled_or_invented(tmp_path: Path, s3: MotoS3) -> None:
    with remote_site(tmp_path / "run", s3, updates_per_step=0.25, max_lead_steps=300) as site:
        site.start_receiver()
        site.wait_for_receiver()
        start_pc(site)
        site.start_trainer()
        wait_for_more(site, 700)

        site.kill(TRAINER)
        saved = site.checkpoint_counters()
        site.start_trainer()
        wait_until(lambda: site.consumed_steps() > saved.steps, "the counters go on", 60.0, 0.05)
        wait_for_more(site, 300)
        assert f"resuming steps={saved.steps} " in site.log(TRAINER)

        interrupted = ended(site, "interrupted")
        site.kill(RECEIVER)
        site.start_receiver()
        wait_for_more(site, 300)
        assert ended(site, "interrupted") == interrupted, "a receiver that begins anew ends no episode"

        site.kill(BRIDGE)
        start_pc(site)
        wait_for_more(site, 300)
        assert 1 <= ended(site, "interrupted") - interrupted <= ENVS

        site.freeze(BRIDGE, True)
        wait_until(lambda: "it was not heard any more" in site.log(RECEIVER), "the silence is noticed")
        site.freeze(BRIDGE, False)
        wait_for_more(site, 300)

        site.check_running(RECEIVER, TRAINER, BRIDGE)
        assert site.terminate(TRAINER) == 0
        steps, on_the_pc = recorded(site), made(site.folder)
        assert max(steps.values()) == max(on_the_pc.values()) == 1
        assert not steps - on_the_pc, "steps that the PC has not made"
        # What the killed trainer had not committed is lost, and what was under way at each end.
        assert sum((on_the_pc - steps).values()) <= site.config.max_lead_steps + 4 * ENVS
        check_chains((row.stream, decode_batch(row.blob)) for row in site.stored_batches())


@pytest.mark.slow
def test_a_run_goes_on_on_another_instance(tmp_path: Path, s3: MotoS3) -> None:
    with remote_site(tmp_path / "run", s3, updates_per_step=0.25, max_lead_steps=300) as site:
        site.start_receiver()
        site.wait_for_receiver()
        start_pc(site)
        site.start_trainer()
        wait_for_more(site, 700)
        saved = site.checkpoint_counters()
        site.lose_instance()
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        wait_until(lambda: site.consumed_steps() >= saved.steps + 300, "the counters go on", 60.0, 0.05)
        assert site.terminate(TRAINER) == 0
        assert site.terminate(RECEIVER) == 0
        counters, on_the_pc = site.checkpoint_counters(), made(site.folder)
        assert counters.steps > saved.steps
        assert counters.resumes == 1
        steps = recorded(site)
        assert max(steps.values()) == 1
        assert not steps - on_the_pc
        assert {batch.stream for batch in site.stored_batches()} == {stream for stream, _ in site.batches_in_bucket()}
        check_chains((row.stream, decode_batch(row.blob)) for row in site.stored_batches())


def ended(site: Site, reason: str) -> int:
    return sum(episode.reason == reason for batch in batches(site) for episode in batch.episodes)


def check_chains(rows: Iterable[tuple[str, Batch]]) -> None:
    """Each episode in these batches of streams, in order, that ended is whole.

    It has as many steps as its record says, each begun where the one before led.
    """
    open_steps: dict[tuple[str, int], tuple[int, Any]] = {}
    for stream, batch in rows:
        ends = {episode.row: episode for episode in batch.episodes}
        current, following = batch.current_observations(), batch.next_observations()
        cars = np.repeat(batch.run_cars, batch.run_lengths).tolist()
        for at, car in enumerate(cars):
            steps, led_to = open_steps.get((stream, car), (0, None))
            assert led_to is None or np.array_equal(led_to, current[at])
            open_steps[stream, car] = steps + 1, following[at]
            assert (at in ends) == bool(batch.terminated[at] | batch.truncated[at])
            if at in ends:
                assert ends[at].steps == steps + 1
                del open_steps[stream, car]
