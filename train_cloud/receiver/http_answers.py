"""What the receiver answers to plain HTTP on the bridges' port: GET /healthz and GET /metrics.

/healthz says in one line whether the receiver can do its work and needs no token; /metrics gives figures in Prometheus'
text format to who has the token. Both only tell what is so: whatever is asked, nothing of it changes the receiver. How
the trainer is doing is not the receiver's health.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from runtime.logs import fields
from train_cloud.receiver.auth import Gate, HttpAnswer
from train_cloud.receiver.writer import Result, WriteOutcome
from train_cloud.run_folder.states import BRIDGES, FIGURES_PREFIX, STORED_STEPS, UPDATES
from train_cloud.store import Store, StoreError

HEALTH, METRICS = "/healthz", "/metrics"
BACKUP_FAILING_SECONDS: Final = 120.0
"""A bucket may fail for so long before that is called unhealthy: short outages are normal and cost nothing."""
WRITER_BUSY_SECONDS: Final = 60.0
"""A transaction that takes longer will not end by itself: even the store's own lock is waited for only 30 s."""
STORE_FULL_SECONDS: Final = 60.0
"""So long after a refusal the store counts as full. A bridge that is there asks again sooner; where none is, only the
next one can find out, and must not be kept away by what was."""
_LATER: Final = (("Retry-After", "5"),)
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Vitals:
    """How the receiver is, and what this life of it has seen; times are monotonic (s).

    Attributes:
        writer_busy: what the writer waits for, as the beginning of a sentence, and for how long, s; None when its
            thread has ended.
        backup_failing: how long the bucket has been failing, s.
        bridges: how many bridges have said Hello, of the WebSockets that are open, the `connections`; `own` of these
            are of this machine's driver, and take no bridge's room.
        weights_version: version that bridges are sent; 0 before the first.
    """

    writer_busy: Callable[[], tuple[str, float] | None]
    backup_failing: Callable[[], float] = lambda: 0.0
    bridges: Callable[[], int] = lambda: 0
    connections: int = 0
    own: int = 0
    weights_version: int = 0
    batches_stored: int = 0
    batches_refused: int = 0
    last_stored: float | None = None
    store_full_at: float | None = None
    store_unreadable: bool = False
    draining: bool = False

    def opened(self, count: int, own: bool) -> None:
        """So many WebSockets more are open."""
        self.connections += count
        self.own += own * count

    def count(self, results: Iterable[Result]) -> None:
        """Count what became of batches."""
        for result in results:
            if result.outcome is WriteOutcome.STORED:
                self.batches_stored += 1
                self.last_stored = time.monotonic()
                if self.store_full_at is not None:
                    _log.info("the store takes batches again")
                self.store_full_at = None
            elif result.outcome is not WriteOutcome.DROPPED:
                self.batches_refused += 1
                if result.outcome is WriteOutcome.NO_ROOM:
                    if self.store_full_at is None:
                        _log.error("the store is full: batches are refused", extra=fields(reason=result.text))
                    self.store_full_at = time.monotonic()

    def problem(self) -> str | None:
        """Why the receiver is not healthy; None when it is."""
        if self.draining:
            return "draining: the instance is going away"
        if (busy := self.writer_busy()) is None:
            return "the thread that stores batches has ended"
        what, seconds = busy
        if seconds > WRITER_BUSY_SECONDS:
            return f"{what} for {seconds:.0f} s"
        if self.store_unreadable:
            return "the store cannot be read"
        if self.store_full_at is not None and time.monotonic() - self.store_full_at <= STORE_FULL_SECONDS:
            return "the store is full: batches are refused"
        if (failing := self.backup_failing()) > BACKUP_FAILING_SECONDS:
            return f"nothing could be brought to the bucket for {failing:.0f} s"
        return None


class HttpAnswers:
    """Judges every request on the bridges' port: who may become a WebSocket, and what the others are told.

    `vitals` are kept by the server, `store` counts steps, `max_bridges` WebSockets may be open at the same time.
    """

    def __init__(self, gate: Gate, store: Store, vitals: Vitals, max_bridges: int) -> None:
        self._gate, self._store, self._vitals, self._max = gate, store, vitals, max_bridges

    def judge(self, socket: ServerConnection, request: Request) -> Response | None:
        """None when the request may become a WebSocket, else the answer, which ends the connection."""
        address = address_of(socket)
        try:
            answer, refused = self._answer(address, request)
        except Exception:
            _log.exception("a request could not be judged")
            answer, refused = HttpAnswer(HTTPStatus.BAD_REQUEST, "The request cannot be read."), True
        if answer is None:
            return None
        if refused and answer.status is not HTTPStatus.TOO_MANY_REQUESTS:
            _log.warning("refused a connection", extra=fields(peer=address, status=int(answer.status)))
        return _response(socket, answer, request.method)

    def _answer(self, address: str, request: Request) -> tuple[HttpAnswer | None, bool]:
        """The answer, if any, and whether it is a refusal."""
        methods = ("GET", "HEAD") if request.path in (HEALTH, METRICS) else ("GET",)
        if request.method not in methods:
            allowed = ", ".join(methods)
            text = f"Here only {allowed} is answered."
            return HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, text, (("Allow", allowed),)), True
        if request.path == HEALTH:
            return self._health(), False
        if request.path == METRICS:
            refusal = self._gate.judge_token(address, request.headers)
            return refusal or self._metrics(), refusal is not None
        return self._gate.judge(address, request.path, request.headers) or self._no_room(), True

    def _health(self) -> HttpAnswer:
        problem = self._vitals.problem()
        if problem is None:
            return HttpAnswer(HTTPStatus.OK, "ok")
        return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ok: {problem}", _LATER)

    def _metrics(self) -> HttpAnswer:
        """The figures in Prometheus' text exposition format 0.0.4; what is not known yet is left out."""
        vitals = self._vitals
        try:
            (stored_steps, safe_steps), progress = self._store.totals(), self._store.progress()
        except StoreError as error:
            return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, f"The figures cannot be read. {error}", _LATER)
        age = None if vitals.last_stored is None else time.monotonic() - vitals.last_stored
        figures: list[tuple[str, str, float | None]] = [
            ("healthy", "1 when GET /healthz answers ok.", vitals.problem() is None),
            (BRIDGES, "Bridges connected now.", vitals.bridges()),
            (STORED_STEPS, "Environment steps stored since the run began.", stored_steps),
            ("safe_steps", "Environment steps in the bucket.", safe_steps),
            ("trained_steps", "Environment steps that learning has kept up with.", progress.trained_steps),
            (UPDATES, "Gradient updates since the run began.", progress.updates),
            ("weights_version", "Version of the weights that bridges are sent.", vitals.weights_version),
            ("batches_stored_total", "Batches stored by this process.", vitals.batches_stored),
            ("batches_refused_total", "Batches not stored by this process.", vitals.batches_refused),
            ("store_bytes", "Size of the store's files.", self._store.size_bytes()),
            ("backup_failing_seconds", "How long the bucket has been failing.", vitals.backup_failing()),
            ("last_batch_age_seconds", "Time since this process last stored a batch.", age),
        ]
        lines = []
        for name, meaning, value in figures:
            if value is not None:
                kind = "counter" if name.endswith("_total") else "gauge"
                name = FIGURES_PREFIX + name
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {value:.15g}"]
        return HttpAnswer(HTTPStatus.OK, "\n".join(lines), (("Content-Type", _PROMETHEUS),))

    def _no_room(self) -> HttpAnswer | None:
        if self._vitals.draining:
            why = "is going away"
        elif self._vitals.connections - self._vitals.own >= self._max:
            why = f"serves its {self._max} bridges already"
        else:
            return None
        return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, f"This receiver {why}. Try again later.", _LATER)


def address_of(socket: ServerConnection) -> str:
    """The peer's address, as far as it is known."""
    return str(socket.remote_address[0]) if socket.remote_address else "unknown"


def _response(socket: ServerConnection, answer: HttpAnswer, method: str) -> Response:
    response = socket.respond(answer.status, answer.text + "\n")
    for name, value in answer.headers:
        # The library's headers keep every value of a name: replace, so that there is one Content-Type.
        response.headers.pop(name, None)
        response.headers[name] = value
    if method == "HEAD":
        response.body = b""
    return response
