"""Nothing is lost and nothing doubled, whatever is killed, cut, delayed, silenced or deleted, and whenever.

Each schedule is drawn from its seed: a scripted bridge sends rows that everybody knows while the receiver, the trainer
and the bridge are killed, the link is broken in every way and, in some, the instance disappears with its disk. In the
end the store, the bucket and the trainer's counters must hold each row exactly once.
`pytest tests/chaos/test_nothing_lost.py -k "[17]"` repeats a schedule. In some, a small replay lets the receiver prune
what is old from the store meanwhile.
"""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.script import Script
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site, check_experience
from tests.support.waiting import wait_until
from train_cloud.run_folder.keys import EXPERIENCE, LATEST

__all__ = ["s3"]

SCHEDULES = 54
PRUNED_SCHEDULES = 6
LOST_INSTANCE_EVERY = 3
ROWS = 2400
PRODUCING_SECONDS = 8.0
EVENTS = 8
MAX_TRAINER_KILLS = 2
END_SECONDS = 60.0


class Chaos:
    """One schedule: draws what happens next, and does it to the site."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.seed = site, seed
        self._random = random.Random(seed)
        self.cars = self._random.choice((1, 2, 4))
        self.ticks = ROWS // self.cars
        self._trainer_kills = 0

    def begin(self, trainer_first: float = 0.7) -> None:
        """Start everything, in any order; so often, let the trainer be at work before the first row is made."""
        starts = [self.site.start_receiver, self.site.start_trainer, self.start_bridge]
        if self._random.random() < trainer_first:
            for start in starts[:2]:
                start()
            wait_until(lambda: self.site.consumed_steps() >= 0, "the trainer is at work", 90.0)
            starts = starts[2:]
        self._random.shuffle(starts)
        for start in starts:
            start()

    def start_bridge(self) -> None:
        """Start the bridge, or start it again."""
        self.site.start_bridge(self.seed, self.cars, self.ticks, self.ticks / PRODUCING_SECONDS)

    def run(self, lose_instance: bool) -> None:
        """Let the events happen, at random moments while rows are produced."""
        events: list[Callable[[], None]] = self._random.choices(
            (
                self.kill_receiver,
                self.kill_bridge,
                self.kill_trainer,
                self.end_receiver,
                self.cut,
                self.cut_in_mid_frame,
                self.refuse,
                self.delay,
                self.black_hole,
                self.freeze_receiver,
                self.break_bucket,
            ),
            weights=(4, 4, 3, 1, 2, 5, 1, 2, 2, 1, 1),
            k=EVENTS,
        )
        if lose_instance:
            events.insert(self._random.randrange(2, EVENTS), self.lose_instance)
        for event in events:
            time.sleep(self._random.uniform(0.05, 1.4))
            # What ended by itself is a failure of its own, which a restart would hide.
            self.site.check_running(RECEIVER, TRAINER)
            event()

    def kill_receiver(self) -> None:
        self.site.kill(RECEIVER)
        self.site.start_receiver()

    def end_receiver(self) -> None:
        """As on a spot notice, but the same folder comes back. Early in its start it has no orderly end yet."""
        assert self.site.terminate(RECEIVER) in (ExitCode.OK, -signal.SIGTERM)
        self.site.start_receiver()

    def kill_trainer(self) -> None:
        if self._trainer_kills < MAX_TRAINER_KILLS:
            self._trainer_kills += 1
            self.site.kill(TRAINER)
            self.site.start_trainer()

    def kill_bridge(self) -> None:
        assert self.site.code(BRIDGE) in (None, ExitCode.OK), "the bridge ended by itself"
        self.site.kill(BRIDGE)
        self.start_bridge()

    def lose_instance(self) -> None:
        self._wait_for_bucket()
        time.sleep(self._random.uniform(0.0, 1.0))
        self.site.lose_instance()
        time.sleep(self._random.uniform(0.0, 0.5))
        self.site.start_receiver()
        self.site.start_trainer()
        if self._random.random() < 0.4:
            # Somewhere in its start, or in the middle of what it restores.
            time.sleep(self._random.uniform(0.0, 1.0))
            self.kill_receiver()

    def cut(self) -> None:
        self.site.say("link reset")
        self.site.proxy.cut()

    def cut_in_mid_frame(self) -> None:
        count = self._random.randrange(1, 30_000)
        self.site.say(f"link to be reset after {count} bytes")
        self.site.proxy.cut_after(count)

    def refuse(self) -> None:
        self.site.proxy.refuse()
        self._for_a_while("link refused", 0.2, 2.0)
        self.site.proxy.resume()

    def delay(self) -> None:
        self.site.proxy.latency = self._random.uniform(0.0, 0.15)
        self.site.proxy.jitter = self._random.uniform(0.0, 0.05)
        self.site.say(f"link delayed by {self.site.proxy.latency:.3f} s")

    def black_hole(self) -> None:
        self.site.proxy.black_hole()
        self._for_a_while("link silent", 0.5, 6.0)
        self.site.proxy.resume()

    def freeze_receiver(self) -> None:
        self.site.freeze(RECEIVER, True)
        self._for_a_while("receiver frozen", 0.5, 3.0)
        self.site.freeze(RECEIVER, False)

    def break_bucket(self) -> None:
        self.site.s3.fail(self._random.choice(("503 Slow Down", "500 Internal Server Error")))
        self._for_a_while("bucket answers errors", 0.3, 2.0)
        self.site.s3.heal()

    def _wait_for_bucket(self) -> None:
        """Go on when some experience, but hardly all of it, is safe; mostly, when a checkpoint is up as well."""
        wait_until(lambda: bool(self.site.objects.list(EXPERIENCE)), "a first segment is in the bucket", 30.0)
        if self._random.random() < 0.75:
            wait_until(lambda: LATEST in self.site.objects.list(LATEST), "a checkpoint is in the bucket", 30.0)

    def _for_a_while(self, what: str, low: float, high: float) -> None:
        seconds = self._random.uniform(low, high)
        self.site.say(f"{what} for {seconds:.2f} s")
        time.sleep(seconds)

    def end(self) -> None:
        """Let everything come to its end: bridge, trainer, receiver, each in order."""
        site = self.site
        site.proxy.resume()
        assert site.wait_for_end(BRIDGE, END_SECONDS) == ExitCode.OK
        site.say("the bridge has ended: all is safe")
        # Whatever was started last must be there by now: what comes from an earlier life does not count.
        site.wait_for_receiver()
        site.wait_for_trainer()
        wait_until(lambda: site.consumed_steps() >= ROWS, "the trainer takes everything in", END_SECONDS)
        site.check_running(RECEIVER, TRAINER)
        assert site.terminate(TRAINER) == ExitCode.OK
        assert site.terminate(RECEIVER) == ExitCode.OK


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_every_row_arrives_once(seed: int, tmp_path: Path, s3: MotoS3) -> None:
    print(f"seed {seed}")
    with Site(tmp_path / f"chaos-{seed}", s3, tls=seed % 2 == 1) as site:
        chaos = Chaos(site, seed)
        chaos.begin()
        chaos.run(lose_instance=seed % LOST_INSTANCE_EVERY == 0)
        chaos.end()
        check_experience(site, Script(seed, chaos.cars), chaos.ticks)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(PRUNED_SCHEDULES))
def test_every_row_arrives_once_while_old_ones_are_pruned(seed: int, tmp_path: Path, s3: MotoS3) -> None:
    print(f"seed {seed}")
    # The replay is full, and two checkpoints are past its beginning, long before all rows are there.
    with Site(tmp_path / f"pruned-{seed}", s3, buffer_size=200, save_frequency=100) as site:
        chaos = Chaos(site, seed)
        chaos.begin(trainer_first=1.0)
        wait_until(lambda: _is_pruned(site), "the oldest rows are pruned", END_SECONDS)
        chaos.run(lose_instance=seed % LOST_INSTANCE_EVERY == 0)
        chaos.end()
        check_experience(site, Script(seed, chaos.cars), chaos.ticks, pruned=True)


def _is_pruned(site: Site) -> bool:
    stored = site.stored_batches()
    return bool(stored) and stored[0].number > 1
