"""The control loop: observes, acts by the newest policy, and hands each step to the recorder.

It is the only thing the control thread does: the disk, the network and the terminal have threads of their own, and no
step waits for any of them. A policy is swapped between two steps. A car in simulated time waits for the first policy,
for room in the spool, and for the trainer when it leads by too much; a car in real time waits for nothing, drives with
neutral controls before the first policy and is not recorded then. When the run is done, nothing more is collected: a
car in simulated time ends its drive, one in real time is driven on. However a drive ends, the driver has let go of the
car, what was collected is committed, and what is unsent was offered for a few seconds more; the rest waits in the
spool.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from bridge.driving.clean_laps import CleanLaps
from bridge.link.link import Driven, Link
from experience.batches import NOBODY
from experience.recorder import Recorder
from racing.driving import EpisodeEnd, Step, VectorDriving
from racing.recorded_car import PlayedCar
from racing.task import Float32Array
from runtime.exit_codes import ExitCode
from runtime.logs import fields, logging_aside
from runtime.priority import control_thread
from runtime.progress import Progress, lap_text

LAST_SEND_SECONDS = 5.0
"""For so long an ending drive offers what is unsent."""
_WAIT_SECONDS = 0.005
_SHOW_SECONDS = 0.25
_SAY_SECONDS = 10.0
_RETURNS = 20

_log = logging.getLogger(__name__)


class Collecting(Protocol):
    """What a drive must know of its Recorder."""

    @property
    def failure(self) -> BaseException | None:
        """As of Recorder."""

    @property
    def pending_steps(self) -> int:
        """As of Recorder."""

    @property
    def lost_steps(self) -> int:
        """As of Recorder."""

    def close(self) -> None:
        """As of Recorder."""


class Driver(Protocol):
    """Brings the car one step further, if it may."""

    def step(self) -> Step | None:
        """Drive one step; None when there was none to drive."""

    def waits_for(self) -> str | None:
        """Why the next step must wait, in words; None when it must not."""

    def finish(self) -> None:
        """Let go of the car, and hand over what is held back; nothing is driven after that."""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to drive."""

    @property
    def version(self) -> int:
        """Of the policy that drives; 0 for none."""


class CannotDrive(RuntimeError):
    """Nothing can be driven any more, and waiting would not help; the text says why and what to do."""


class RecordingDriver:
    """Plays a recording, `driving`'s car: its states, judged by the task, with the actions of who drove it.

    A recorded drive that ends without an end in the task's eyes is truncated there, as an episode that was not watched
    to its end. Whether it is worth keeping, only CleanLaps looks: straight into a Recorder it is no demonstration.
    """

    version = 0

    def __init__(self, driving: VectorDriving, car: PlayedCar, recorder: Recorder | CleanLaps) -> None:
        self._driving, self._car, self._recorder = driving, car, recorder
        self._observation = driving.reset()
        self._steps, self._total_reward = 0, 0.0

    @property
    def over(self) -> bool:
        """Whether the recording was played to its end."""
        return self._car.exhausted

    def waits_for(self) -> str | None:
        """Room: a recording loses nothing by waiting, and is too short to run ahead of a trainer."""
        return None if self._recorder.ready() else "room in the spool"

    def step(self) -> Step:
        """One step of the recording."""
        step = self._driving.step(self._car.upcoming_action())
        self._steps += 1
        self._total_reward += float(step.reward[0])
        observation = step.observation
        if not step.episodes and self._car.at_gap:
            ended = EpisodeEnd(0, self._steps, self._total_reward, "recording")
            step = replace(step, truncated=np.ones(1, np.bool_), episodes=(ended,))
            observation = self._driving.reset()
        if step.episodes:
            self._steps, self._total_reward = 0, 0.0
        self._recorder.record(self._observation, step, NOBODY)
        self._observation = observation
        return step

    def finish(self) -> None:
        """Nothing is held back, and nobody steers what was recorded."""


@dataclass
class Tally:
    """What a drive has brought so far; shown while it goes on and logged at its end."""

    steps: int = 0
    episodes: int = 0
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=_RETURNS))
    """Summed rewards of the newest episodes."""
    laps: int = 0
    clean_laps: int = 0
    best_lap: float | None = None
    off_period_steps: int = 0
    action_age: Float32Array | None = None
    """(N,) s, of the newest step."""
    began: float = field(default_factory=time.monotonic)

    def count(self, step: Step) -> None:
        """Add one step of all cars."""
        self.steps += len(step.reward)
        self.off_period_steps += step.off_period
        self.action_age = step.action_age
        self.episodes += len(step.episodes)
        self.returns.extend(end.total_reward for end in step.episodes)
        for lap in step.laps:
            self.laps += 1
            if lap.clean:
                self.clean_laps += 1
                self.best_lap = min(lap.time, self.best_lap or lap.time)

    @property
    def mean_return(self) -> float | None:
        """Of the newest episodes; None before the first has ended."""
        return sum(self.returns) / len(self.returns) if self.returns else None


@dataclass
class Drive:
    """One drive, from the first step to the orderly end.

    Args:
        driver: steps the car.
        let_go: releases what is driven at the end; safe to call twice.
        link, recorder: running; closed at the end.
        stop: set by signals.
        steps: end after so many steps; None to go on until told to stop or until the driver is over.
        real_time: go on driving, without collecting, when the run is done.
        until_safe: wait at the end until everything is in S3, not only on the instance.
        laps: tell of laps; else of the episodes' returns.
        door: what a human shows goes through it; None where nobody shows anything.
        demonstration: that is all there is: it ends with enough laps, or when the run is done.
    """

    driver: Driver
    let_go: Callable[[], None]
    link: Link
    recorder: Collecting
    stop: threading.Event
    steps: int | None = None
    real_time: bool = False
    until_safe: bool = False
    laps: bool = True
    door: CleanLaps | None = None
    demonstration: bool = False
    tally: Tally = field(default_factory=Tally)
    _told_done: bool = field(default=False, init=False)
    _failure: CannotDrive | None = field(default=None, init=False)

    def run(self) -> ExitCode:
        """Drive; returns how it ended. What went wrong is in the log, in a sentence."""
        with logging_aside(), self._shown(), ExitStack() as closing:
            # Everything is committed and closed, whatever of it fails.
            closing.callback(self.let_go)
            closing.callback(self.link.close, LAST_SEND_SECONDS)
            closing.callback(self.recorder.close)
            with control_thread(self.real_time):
                try:
                    self._drive()
                except CannotDrive as error:
                    self._failure = error
                finally:
                    self.driver.finish()
            if self.door is not None:
                self.door.finish()
            if not self._interrupted and self._failure is None:
                self._deliver()
        return self._judged()

    @property
    def _interrupted(self) -> bool:
        return self.stop.is_set() or self.link.refusal is not None or self.recorder.failure is not None

    def _learning_is_over(self) -> bool:
        """Whether the run is done and the drive therefore too; says so when it changes."""
        done = self.link.state.done
        # A drive of so many collected steps would never come to its end.
        ending = done and (self.demonstration or not (self.real_time and self.steps is None))
        if done and not self._told_done:
            _log.info("the run is done: " + ("nothing more is driven" if ending else "driving goes on, uncollected"))
        elif self._told_done and not done:
            _log.info("the run goes on: experience is collected again")
        self._told_done = done
        return ending

    def _drive(self) -> None:
        waiting = Waiting()
        while not self._interrupted and not self.driver.over:
            if (self.steps is not None and self.tally.steps >= self.steps) or self._learning_is_over():
                return
            if self.door is not None:
                self.door.hand_over()
                if self.door.enough:
                    return
            why = self.driver.waits_for()
            waiting.say(why, time.monotonic())
            if why is not None:
                self.stop.wait(_WAIT_SECONDS)
            elif (step := self.driver.step()) is not None:
                self.tally.count(step)

    def _deliver(self) -> None:
        """Wait until what was driven is stored, or safe."""
        _log.info("nothing more is driven; waiting until everything is " + ("safe" if self.until_safe else "stored"))
        while not self._interrupted:
            done = self.link.all_safe if self.until_safe else self.link.all_stored
            if self.recorder.pending_steps == 0 and done:
                return
            self.stop.wait(_WAIT_SECONDS)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show how far it is, by a thread that alone waits for the terminal."""
        ended = threading.Event()

        def show() -> None:
            with Progress("demonstrating" if self.demonstration else "driving", self.steps) as progress:
                while not ended.is_set():
                    self._show(progress)
                    ended.wait(_SHOW_SECONDS)
                self._show(progress)

        display = threading.Thread(target=show, name="display", daemon=True)
        display.start()
        try:
            yield
        finally:
            ended.set()
            display.join()

    def _show(self, progress: Progress) -> None:
        state, tally = self.link.state, self.tally
        age = None if tally.action_age is None else max(0.0, float(np.nan_to_num(tally.action_age.mean(), posinf=0.0)))
        self.link.driven = Driven(tally.steps, tally.off_period_steps, age, self.driver.version)
        best = "-" if tally.best_lap is None else f"{tally.best_lap:.2f}s"
        told: dict[str, object] = {"laps": f"{tally.clean_laps}/{tally.laps}", "best_lap": best}
        if not self.laps:
            told = {"episodes": tally.episodes, "mean_return": tally.mean_return}
        if self.door is not None and (self.demonstration or self.door.taken):
            told |= {"laps_demonstrated": self.door.taken}
        link = "done" if state.done else "draining" if state.draining else "up" if state.connected else "down"
        progress.update(
            tally.steps,
            says=self._in_words(link),
            version=self.driver.version,
            **told,
            unsent=self.link.unsent_steps,
            link=link,
        )

    def _in_words(self, link: str) -> str:
        """How the drive goes, for people."""
        tally, version = self.tally, self.driver.version
        parts = [f"policy {version} drives" if version else "no policy drives yet"]
        if self.demonstration:
            parts = [f"{self.door.taken if self.door else 0} laps shown"]
        elif not self.laps:
            if tally.mean_return is not None:
                parts.append(f"an episode brings {tally.mean_return:.4g}")
        elif tally.laps:
            parts.append(f"{tally.laps} laps, {tally.clean_laps} of them clean, best {lap_text(tally.best_lap)}")
        else:
            parts.append("no lap yet")
        if link != "up" or self.link.unsent_steps:
            waiting = f", {self.link.unsent_steps} steps wait in the spool" if self.link.unsent_steps else ""
            parts.append(f"link {link}{waiting}")
        return "; ".join(parts)

    def _judged(self) -> ExitCode:
        tally, link = self.tally, self.link
        laps = {"laps": tally.laps, "clean_laps": tally.clean_laps, "best_lap": tally.best_lap}
        returns = {"episodes": tally.episodes, "mean_return": tally.mean_return}
        _log.info(
            "the drive has ended",
            extra=fields(
                steps=tally.steps,
                **(laps if self.laps else returns),
                off_period_steps=tally.off_period_steps,
                not_collected=self.recorder.lost_steps,
                waiting_in_spool=link.unsent_steps,
                seconds=time.monotonic() - tally.began,
            ),
        )
        door, shown = self.door, True
        if door is not None and (self.demonstration or door.taken or door.left_out):
            shown = door.taken > 0 or self.stop.is_set() or link.state.done
            (_log.info if shown or not self.demonstration else _log.error)(door.summary())
        if link.refusal is not None:
            _log.error(link.refusal.text)
            return link.refusal.exit_code
        if self.recorder.failure is not None:
            _log.error(
                "experience could not be written any more, so driving made no sense; the spool's folder or its disk "
                "needs a look",
                extra=fields(reason=self.recorder.failure),
            )
        elif self._failure is not None:
            _log.error(str(self._failure))
        elif shown or not self.demonstration:
            return ExitCode.OK
        return ExitCode.FAILED


class Waiting:
    """Says in the log what a drive waits for, once it takes long."""

    def __init__(self) -> None:
        self._why: str | None = None
        self._say_at = float("inf")

    def say(self, why: str | None, now: float) -> None:
        if why != self._why:
            self._why = why
            # The trainer is waited for many times a minute, which is as it should be.
            self._say_at = now + (_SAY_SECONDS if why in ("the trainer", "room in the spool") else 0.0)
        if why is not None and now >= self._say_at:
            _log.info(f"waiting for {why}")
            self._say_at = now + (1.0 if why.startswith("the game") else 6.0) * _SAY_SECONDS
