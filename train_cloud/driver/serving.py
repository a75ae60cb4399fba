"""Drives the cars of all bridges that ask for it: frames from the receiver in, chunks and experience out.

Promises that a receiver that ends is waited for and found again, that each car is driven by itself whatever the others
do, and that a bridge is told why nobody drives. Everything but the recorders' writing is done in one thread, the cars'
frames in turn; a frame that is not its car's newest is learned from, and not answered.
"""

import asyncio
import logging
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from experience.environment import Environment
from experience.recorder import Recorder
from racing.driving import Step
from racing.evaluation import reference_actions
from racing.policy import Policy
from racing.policy_file import PolicyError
from racing.reference_driver import ReferenceDriver
from racing.task import Float32Array, Task
from racing.track import TrackError
from racing.track_text import track_of
from runtime.logs import fields
from runtime.together import until_one_ends
from train_cloud import notify
from train_cloud.driver.acting import Acting
from train_cloud.driver.cloud_driver import CloudDriver
from train_cloud.driver.sending import AGAIN_SECONDS, Batches, Sender, dialled
from train_cloud.driver_messages import Joined, Left, Say, Seen, encode, to_driver
from train_cloud.environment import environment_of, link_of, task_config
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import DRIVER, EXPERIENCE, STORE
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreError
from train_cloud.track_table import track as track_text_of
from train_cloud.turns import Turns
from wire.messages import ControlChunk, DriverState, Hello, Role

LOOK_SECONDS: Final = 0.25
"""Between two looks for new weights and tracks."""
AWAY_SECONDS: Final = 60.0
"""A bridge that has been gone for so long comes back as another."""
MOST_AWAY: Final = 16
"""Cars whose bridge is gone that are kept for it; beyond, that of the longest gone is not."""
TELL_SECONDS: Final = 10.0
"""Between two lines in the log about frames that were dropped."""
END_SECONDS: Final = 5.0
"""For so long an ending driver offers what is unsent."""

_log = logging.getLogger(__name__)


class Policies:
    """The run's newest policies, as its store has them."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._serial = environment, 0
        self.newest: Policy | None = None
        self.to_judge: Policy | None = None
        self.done = False
        """Whether the run has all its training, so that nobody learns from further experience."""

    def look(self, store: Store) -> None:
        """Take what is new. Raises StoreError."""
        done = store.progress().state == TrainerState.DONE
        if done != self.done:
            _log.info(
                "the run is done: driving goes on, uncollected and without noise"
                if done
                else "the run goes on: experience is collected again"
            )
        self.done = done
        row = store.latest_weights(self._serial)
        if row is None:
            return
        self._serial = row.serial
        try:
            policy = self._environment.policy(row.blob)
        except PolicyError as error:
            _log.error("weights are not taken", extra=fields(version=row.version, reason=error))
            return
        if policy.to_judge:
            self.to_judge = policy
        else:
            self.newest = policy
        _log.debug("weights taken", extra=fields(version=policy.version, to_judge=policy.to_judge))


@dataclass
class Car:
    """One bridge's car: who acts, who drives, and where the experience goes."""

    track: str
    acting: Acting
    driver: CloudDriver
    recorder: Recorder
    sender: Sender
    sending: "asyncio.Task[None]"
    away_since: float | None = None
    failed: bool = False
    """Whether its frames could not be dealt with."""

    def come(self) -> None:
        """The bridge is here."""
        self.away_since, self.sender.wanted = None, True
        self.sender.notify()

    def leave(self) -> None:
        """The bridge is gone: the episode that is being driven has ended."""
        self.driver.finish()
        self.recorder.flush()
        self.away_since, self.sender.wanted = time.monotonic(), False
        self.sender.notify()

    async def close(self) -> None:
        """Commit what there is, and offer it for a moment."""
        self.driver.finish()
        await asyncio.to_thread(self.recorder.close)
        self.sender.wanted = False
        self.sender.notify()
        until = time.monotonic() + END_SECONDS
        while not (self.sender.all_stored or self.sending.done()) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)


class Driver:
    """The driver of one run in `folder`; lives in an event loop. With `reference`, that one drives, and no policy."""

    def __init__(self, config: RunConfig, folder: Path, reference: bool = False) -> None:
        environment = environment_of(config)
        assert environment is not None, "racing is known"
        self._environment, self._config, self._folder, self._reference = environment, config, folder, reference
        self._task_config = task_config(config)
        link = link_of(config)
        self._trained_delay = 0.0 if link is None else link.median
        self._policies = Policies(environment)
        self._store: Store | None = None
        self._here: dict[str, Joined] = {}
        self._cars: dict[str, Car] = {}
        self._told: dict[str, DriverState] = {}
        self._undrivable: dict[str, str] = {}
        """Tracks that cannot be driven on, by their hash, and why."""
        self._turns = Turns()
        self._closing: set[asyncio.Task[None]] = set()
        self._news, self._waits = asyncio.Event(), asyncio.Event()
        """A bridge has come, and: something waits in `_turns`."""
        self._lost, self._tell_at = 0, 0.0

    async def run(self, stop: threading.Event) -> None:
        """Drive until `stop` is set; then end in order."""
        serving = asyncio.ensure_future(self._keep_serving())
        try:
            while not (stop.is_set() or serving.done()):
                notify.alive()
                await asyncio.sleep(0.1)
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.gather(*self._closing, *(car.close() for car in self._cars.values()))
            if self._store is not None:
                self._store.close()

    async def _keep_serving(self) -> None:
        told = False
        while True:
            try:
                connection = await dialled(self._folder / DRIVER)
            except (OSError, InvalidHandshake):
                if not told:
                    _log.info("waiting for the receiver")
                told = True
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            told = False
            try:
                await self._serve(connection)
            except (OSError, ConnectionClosed) as error:
                _log.warning("the receiver is gone; cars are driven again when it is back", extra=fields(reason=error))
            finally:
                await connection.close()
                for stream in list(self._here):
                    self._leave(stream)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _serve(self, connection: ClientConnection) -> None:
        # The receiver has made the store, or it would not listen.
        self._store = self._store or Store(self._folder / STORE)
        self._told.clear()
        self._turns = Turns()
        _log.info("driving for the receiver", extra=fields(run_id=self._config.run_id, reference=self._reference))
        await until_one_ends(
            self._keep_looking(self._store, connection),
            self._keep_hearing(connection),
            self._keep_driving(connection),
        )

    async def _keep_hearing(self, connection: ClientConnection) -> None:
        """Take what the receiver says, until it hangs up."""
        async for frame in connection:
            assert isinstance(frame, bytes)
            self._turns.put(to_driver(frame))
            self._waits.set()

    async def _keep_driving(self, connection: ClientConnection) -> None:
        """Do what was heard asks for, one bridge's after another's."""
        while True:
            await self._waits.wait()
            self._waits.clear()
            while self._turns:
                match self._turns.take():
                    case Joined() as joined:
                        # Where its connection has replaced another, nobody has said that that one has ended.
                        self._leave(joined.stream)
                        self._here[joined.stream] = joined
                        self._news.set()
                    case Seen() as seen:
                        await self._saw(seen, connection)
                    case Left(stream=stream):
                        self._leave(stream)
                # What has come meanwhile is heard before the next.
                await asyncio.sleep(0)

    async def _saw(self, seen: Seen, connection: ClientConnection) -> None:
        self._tell_lost(seen.lost)
        car = self._cars.get(seen.stream)
        if car is None or car.failed or car.away_since is not None:
            return
        car.acting.seen(seen.frame.episode)
        try:
            chunk = car.driver.heard(seen.frame, answer=not self._turns.waits(seen.stream))
        except Exception:
            _log.exception("a car is not driven any more", extra=fields(bridge=self._here[seen.stream].bridge))
            car.failed = True
            return
        if chunk is not None:
            await _say(connection, seen.stream, chunk)

    def _tell_lost(self, lost: int) -> None:
        self._lost += lost
        if self._lost and time.monotonic() >= self._tell_at:
            _log.warning("frames were dropped: this machine is too slow", extra=fields(lost=self._lost))
            self._lost, self._tell_at = 0, time.monotonic() + TELL_SECONDS

    async def _keep_looking(self, store: Store, connection: ClientConnection) -> None:
        while True:
            self._news.clear()
            await self._look_at_store(store, connection)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)

    async def _look_at_store(self, store: Store, connection: ClientConnection) -> None:
        """Take new weights, begin to drive who can be driven now, and tell all how it stands."""
        trouble = ""
        try:
            await asyncio.to_thread(self._policies.look, store)
            for joined in list(self._here.values()):
                await self._begin(joined, store)
        except StoreError as error:
            trouble = f"The run's store cannot be read. {error}"
        for stream in list(self._here):
            state = self._state_of(stream, trouble)
            if self._told.get(stream) != state:
                self._told[stream] = state
                await _say(connection, stream, state)
        away = sorted((car.away_since, stream) for stream, car in self._cars.items() if car.away_since is not None)
        for place, (since, stream) in enumerate(reversed(away)):
            if place >= MOST_AWAY or time.monotonic() - since > AWAY_SECONDS:
                self._close(stream)

    def _close(self, stream: str) -> None:
        """Let go of this car, while the others are driven on."""
        closing = asyncio.ensure_future(self._cars.pop(stream).close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _state_of(self, stream: str, trouble: str) -> DriverState:
        car = self._cars.get(stream)
        if car is not None and car.sender.refusal is not None:
            return DriverState(False, f"The receiver refuses its experience. {car.sender.refusal}"[:2000])
        if car is None:
            trouble = trouble or self._undrivable.get(self._here[stream].track, "")
            return DriverState(False, (trouble or "It does not know the track yet, which the bridge announces.")[:2000])
        if car.failed:
            return DriverState(False, "It failed at this car's frames; its log says more. Start the bridge again.")
        if car.acting.newest() is None:
            return DriverState(False, "It waits for the first policy of the run's trainer.")
        return DriverState(True)

    async def _begin(self, joined: Joined, store: Store) -> None:
        """Have the car of this bridge, once its track is known."""
        if (car := self._cars.get(joined.stream)) is not None:
            if car.away_since is None:
                return
            if not car.failed and car.track == joined.track:
                car.come()
                return
            self._close(joined.stream)
        if joined.track in self._undrivable:
            return
        text = await asyncio.to_thread(track_text_of, store, joined.track)
        if text is None:
            return
        try:
            acting, task = await asyncio.to_thread(self._acting_on, text)
        except TrackError as error:
            self._undrivable[joined.track] = f"Its track cannot be driven on. {error}"
            _log.error("a track cannot be driven on", extra=fields(track=joined.track, reason=error))
            return
        if self._here.get(joined.stream) is joined:
            self._cars[joined.stream] = car = self._car(joined, acting, task)
            car.come()
            _log.info("a car is driven", extra=fields(bridge=joined.bridge, track=task.track.name))

    def _acting_on(self, text: bytes) -> tuple[Acting, Task]:
        track = track_of(text)
        reference = reference_actions(ReferenceDriver(track)) if self._reference else None
        policies, period = self._policies, 1.0 / self._task_config.control_hz
        acting = Acting(lambda: policies.newest, lambda: policies.to_judge, period, reference, lambda: policies.done)
        return acting, Task(track, self._task_config)

    def _car(self, joined: Joined, acting: Acting, task: Task) -> Car:
        environment, batches, stream = self._environment, Batches(), secrets.token_hex(16)

        def hello(last_number: int) -> Hello:
            return Hello(
                # One of this bridge's that is gone may still have something to send.
                bridge=f"{joined.bridge[:100]} by ac-driver {stream[:8]}",
                stream=stream,
                role=Role.COLLECT,
                signature=environment.signature,
                spaces=environment.spaces.text,
                last_number=last_number,
                software="ac-driver",
                track=joined.track,
            )

        sender = Sender(self._folder / EXPERIENCE, batches, hello)
        recorder = Recorder(batches, environment.spaces.layout, 1, on_commit=sender.notify)

        def record(observation: Float32Array, step: Step, version: int) -> None:
            acting.drove(step)
            if not self._policies.done:
                recorder.record(observation, step, version)

        number = time.time_ns() // 1_000_000
        driver = CloudDriver(task, acting.newest, record, trained_delay=self._trained_delay, number=number)
        return Car(joined.track, acting, driver, recorder, sender, asyncio.ensure_future(sender.run()))

    def _leave(self, stream: str) -> None:
        self._here.pop(stream, None)
        self._told.pop(stream, None)
        if (car := self._cars.get(stream)) is not None and car.away_since is None:
            car.leave()


async def _say(connection: ClientConnection, stream: str, message: ControlChunk | DriverState) -> None:
    await connection.send(encode(Say(stream, message)))
