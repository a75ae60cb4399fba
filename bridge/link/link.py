"""The bridge's one link to the receiver: a thread that keeps a WebSocket up, sends the spool and takes what comes down.

Promises that the control thread never waits for the network: it reads plain attributes, each replaced whole. Batches
go up in order and are forgotten only when they are safe; weights are taken only when their hash and signature are
right. A cut, silent or draining link is left and dialled anew for ever; a refusal that no retry can mend ends the link
and is found in `refusal`. What a process that was let in once is told later by whoever stands there may pass.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from bridge.link.dialing import DIAL_INTERVAL_S, LinkConnection, abandon, dial, prepare, race
from bridge.link.exchange import MAX_UNACKNOWLEDGED_BYTES, Exchange, Introduction, LinkState, SessionOver
from bridge.link.phases import Phase
from bridge.link.refusal import Refused, WrongCertificate
from bridge.link.session import Conversation, Shown
from bridge.spool import Spool, SpooledBatch, SpoolFull
from racing.policy import Policy
from runtime.exit_codes import ExitCode
from runtime.logs import fields
from runtime.together import until_one_ends
from wire.messages import Report
from wire.pairing import Pairing, PairingError

SUSPECT_SECONDS = 1.5
"""After so much silence (a Pong is due twice a second) a new connection is dialled beside the old one."""
LOOK_UP_SECONDS = 15.0
"""While nobody answers, the pairing is looked up again this often."""
_LOOK_SECONDS = 0.2
_FORGET_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driven:
    """Steps of a drive so far, those that took another time than a control period, and the newest action's age (s).

    `version` is that of the policy that drives; 0 for none, as in a demonstration.
    """

    steps: int = 0
    off_period_steps: int = 0
    action_age: float | None = None
    version: int = 0


class Link:
    """Runs the link in a thread from `start` to `close`; an `experience.policy_driver.RunView` for who drives.

    The spool stays open as long as the link. `look_up` finds out whom to call now, where an address changes with each
    instance; it raises PairingError. `car` is shown to whoever watches the run; None where nobody drives one. `redial`
    is the range of the time (s) between two calls, as DIAL_INTERVAL_S, which it takes the place of.
    """

    def __init__(
        self,
        pairing: Pairing,
        spool: Spool,
        introduction: Introduction,
        look_up: Callable[[], Pairing] | None = None,
        car: Shown | None = None,
        redial: tuple[float, float] | None = None,
    ) -> None:
        self._pairing, self._spool, self._look_up, self._car = pairing, spool, look_up, car
        self._redial = redial
        self._looked_up_at = time.monotonic()
        self._exchange = Exchange(spool.position(), introduction)
        self._loop = asyncio.new_event_loop()
        self._wake, self._stop = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        prepare(pairing)
        self._vouched = self._let_in = False
        """Whether a right certificate was seen, and whether the receiver has taken a call, since the start."""
        self.refusal: Refused | None = None
        """Why the link ended by itself, if it did."""
        self.driven = Driven()
        """How the drive goes, for the receiver's table of bridges; replaced whole by who drives."""
        self._reported = (self._loop.time(), 0)

    @property
    def state(self) -> LinkState:
        """What the link knows now."""
        return self._exchange.state

    @property
    def policy(self) -> Policy | None:
        """The newest policy; None before the first. Take it once a step."""
        return self._exchange.policy

    @property
    def unsent_steps(self) -> int:
        """Steps in the spool that the receiver has not committed."""
        return self._spool.total_steps - self.state.stored_total

    @property
    def done(self) -> bool:
        """Whether the run has all its training."""
        return self.state.done

    @property
    def lead_steps(self) -> int:
        """By how many steps the run's experience, with what waits in the spool, leads its training."""
        state = self.state
        return state.stored_steps + self._spool.total_steps - state.stored_total - state.trained_steps

    @property
    def to_judge(self) -> Policy | None:
        """The newest policy that came to be judged; None before the first."""
        return self._exchange.to_judge

    @property
    def max_lead_steps(self) -> int | None:
        """How far it may lead; None until the receiver was heard once."""
        return self.state.max_lead_steps

    @property
    def all_stored(self) -> bool:
        """Whether the receiver has committed everything that was appended to the spool."""
        # In this order: a fresh stream of the spool changes its id before its last number.
        last, state = self._spool.last_number, self.state
        return state.stream == self._spool.stream and state.stored_through >= last

    @property
    def all_safe(self) -> bool:
        """Whether everything that was appended to the spool is in S3."""
        last, state = self._spool.last_number, self.state
        return state.stream == self._spool.stream and state.safe_through >= last

    def start(self) -> None:
        """Begin to dial."""
        self._thread.start()

    def notify(self) -> None:
        """Say that the spool has a new batch; from any thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self, timeout: float = 5.0) -> None:
        """Send what is unsent for at most `timeout` s, then hang up and end the thread."""
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and not self.all_stored and time.monotonic() < deadline:
            time.sleep(0.01)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5.0)

    def _report(self) -> Report:
        """How this bridge stands; the rate is that since the last report."""
        (before, steps), driven = self._reported, self.driven
        self._reported = now, _ = self._loop.time(), driven.steps
        return Report(
            policy_version=driven.version,
            steps_per_second=max(0.0, driven.steps - steps) / max(now - before, 1e-3),
            unsent_steps=max(0, self.unsent_steps),
            off_period_steps=driven.off_period_steps,
            action_age=driven.action_age,
            round_trip=self.state.round_trip,
        )

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except Refused as refusal:
            self.refusal = refusal
        except Exception as error:
            _log.exception("the link failed")
            self.refusal = Refused(f"The link failed: {error}. The log says more.", ExitCode.FAILED)

    async def _main(self) -> None:
        jobs = [self._keep_talking(), self._keep_reading(), self._keep_forgetting(), self._stop.wait()]
        if self._car is not None:
            jobs.append(self._car.keep_looking())
        await until_one_ends(*jobs)

    async def _keep_talking(self) -> None:
        connection = await self._reach()
        while True:
            connection = await self._talk(connection)
            if self.state.phase is Phase.OUTLIVED:
                position = await asyncio.to_thread(self._spool.start_fresh_stream, self._exchange.conflict)
                self._exchange.begin_afresh(position)
                self._wake.set()

    async def _reach(self) -> LinkConnection:
        connection = await race(self._dial, self._may_pass, self._redial)
        self._let_in = True
        return connection

    def _may_pass(self, verdict: Refused) -> bool:
        """Whether `verdict` on a call is not the last word, because the same pairing was right before.

        Where the pairing is looked up, the address may be somebody else's by now, or the token a new one: the next
        look-up says.
        """
        if self._look_up is not None:
            return True
        return self._vouched if isinstance(verdict, WrongCertificate) else self._let_in

    def _vouch(self) -> None:
        self._vouched = True

    async def _dial(self) -> LinkConnection:
        if self._look_up is not None and time.monotonic() - self._looked_up_at > LOOK_UP_SECONDS:
            self._looked_up_at = time.monotonic()
            try:
                self._pairing = await asyncio.to_thread(self._look_up)
            except PairingError as error:
                _log.warning("the pairing cannot be looked up; dialling the last one", extra=fields(reason=error))
        return await dial(self._pairing, self._vouch)

    async def _talk(self, connection: LinkConnection) -> LinkConnection:
        """Talk over `connection`; returns the one that takes its place, when it has ended or fallen silent."""
        began = self._loop.time()
        conversation = Conversation(connection, self._exchange, self._wake, self._report, self._car)
        session = asyncio.ensure_future(conversation.run())
        successor: asyncio.Task[LinkConnection] | None = None
        try:
            while True:
                waiting = [session] if successor is None else [session, successor]
                await asyncio.wait(waiting, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if session.done():
                    delay = self._judge(session, began)
                    if successor is None:
                        await asyncio.sleep(delay)
                        successor = asyncio.ensure_future(self._reach())
                    return await successor
                if successor is not None and successor.done():
                    _log.warning("the connection is silent; a new one takes its place")
                    return successor.result()
                suspect = self._loop.time() - connection.heard_at > SUSPECT_SECONDS
                if suspect and successor is None:
                    successor = asyncio.ensure_future(self._reach())
                elif successor is not None and not suspect:
                    abandon({successor})
                    successor = None
        finally:
            if self._stop.is_set() and not session.done():
                with suppress(Exception):
                    await connection.close()
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
            if successor is not None and not successor.done():
                abandon({successor})

    def _judge(self, session: "asyncio.Task[None]", began: float) -> float:
        """How long to wait before dialling, after a session that ended by itself.

        A receiver that accepts and hangs up at once is not called more often than one that does not answer.
        """
        error = session.exception()
        if not isinstance(error, SessionOver):
            raise error or RuntimeError("a session ended without a reason")
        _log.warning("the link is down; driving goes on", extra=fields(reason=error))
        return max(error.delay, random.uniform(*(self._redial or DIAL_INTERVAL_S)) - (self._loop.time() - began), 0.0)

    async def _keep_reading(self) -> None:
        """Read ahead what is to be sent, in another thread, since a slow disk must not silence the link."""
        while True:
            self._wake.clear()
            self._exchange.appended(self._spool.last_number)
            stream, wanted = self.state.stream, self._exchange.to_read()
            if wanted:
                self._exchange.take(stream, wanted.start, await asyncio.to_thread(self._read, wanted))
                self._wake.set()
            else:
                await self._wake.wait()

    def _read(self, numbers: range) -> list[SpooledBatch]:
        """The batches of these numbers, or the first of them where they are large."""
        batches: list[SpooledBatch] = []
        size = 0
        for number in numbers:
            if size >= MAX_UNACKNOWLEDGED_BYTES or (batch := self._spool.read(number)) is None:
                break
            batches.append(batch)
            size += len(batch.blob)
        return batches

    async def _keep_forgetting(self) -> None:
        """Let the spool forget what is safe, in another thread, since a slow disk must not silence the link."""
        told = 0.0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            state = self.state
            if state.stream != self._spool.stream or state.safe_through <= self._spool.safe_through:
                continue
            try:
                await asyncio.to_thread(self._spool.forget_through, state.stream, state.safe_through)
            except SpoolFull as error:
                if self._loop.time() > told:
                    _log.warning("the spool cannot forget what is safe", extra=fields(reason=error))
                    told = self._loop.time() + 60.0
                await asyncio.sleep(_FORGET_RETRY_SECONDS)
