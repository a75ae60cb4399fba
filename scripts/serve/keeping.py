"""Keeps a served run's processes alive, as systemd does with an instance's units, and ends them in order.

A process that is killed or fails is started again, a bounded number of times; one that says by its exit code that no
start can help is not. A trainer that has trained the whole run ends, and the others stay.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.exit_codes import ExitCode
from runtime.logs import fields
from scripts.processes.crew import Crew

RESTARTS: Final = 5
"""How often one process is started again within RESTARTS_SECONDS, as the units have it."""
RESTARTS_SECONDS: Final = 3_600.0
RESTART_SECONDS: Final = 2.0
"""Between an end and the next start."""
LOOK_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Service:
    """A process to keep, which the run may do without unless it is `needed`. `environment` may hold secrets.

    `hopeless` are the exit codes after which no start helps.
    """

    name: str
    module: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    hopeless: frozenset[ExitCode] = frozenset({ExitCode.USAGE})
    needed: bool = True
    restarts: deque[float] = field(default_factory=deque)

    def may_restart(self, code: int, now: float) -> bool:
        """Whether to start it again after it has ended with `code`; that is counted. `now` in s, by any clock."""
        while self.restarts and now - self.restarts[0] > RESTARTS_SECONDS:
            self.restarts.popleft()
        if code in self.hopeless or len(self.restarts) >= RESTARTS:
            return False
        self.restarts.append(now)
        return True


class Keeper:
    """Starts the services of one run and keeps them, until `stop` is set or the file `asked` is there, which sets it.

    A trainer that ends in order may be trained, or was told to end: `is_trained` is asked. If it is, `on_trained` is
    called.
    """

    def __init__(
        self,
        crew: Crew,
        stop: threading.Event,
        asked: Path,
        is_trained: Callable[[], bool],
        on_trained: Callable[[], None],
    ) -> None:
        self._crew, self._stop, self._asked = crew, stop, asked
        self._is_trained, self._on_trained = is_trained, on_trained
        self._services: dict[str, Service] = {}

    def start(self, service: Service) -> None:
        """Start one more."""
        self._services[service.name] = service
        self._crew.start(service.name, service.module, *service.arguments, environment=service.environment)

    def keep_until(self, done: Callable[[], bool]) -> bool:
        """Keep all of them until `done`, then True; False when told to stop before. Raises EndedEarly."""
        while not done():
            if self._asked.exists():
                self._stop.set()
            if self._stop.wait(LOOK_SECONDS):
                return False
            for name, code in self._crew.gone().items():
                self._mend(self._services[name], code)
        return True

    def _mend(self, service: Service, code: int) -> None:
        if service.name == "trainer" and code == ExitCode.OK and self._is_trained():
            self._crew.end(service.name)
            self._on_trained()
            return
        if not service.may_restart(code, time.monotonic()):
            early = self._crew.ended_early(service.name, code)
            if service.needed:
                raise early
            _log.error(str(early))
            self._crew.end(service.name)
            return
        _log.warning(
            f"the {service.name} has ended and is started again",
            extra=fields(code=code, times=len(service.restarts), log=self._crew.log_of(service.name)),
        )
        self._crew.end(service.name)
        if not self._stop.wait(RESTART_SECONDS):
            self.start(service)

    def end(self) -> int:
        """End them all in order, the trainer first, so that its checkpoint is; the first exit code that is not 0."""
        first = int(ExitCode.OK)
        for name in sorted(self._services, key=["driver", "trainer", "receiver", "dashboard"].index):
            if name in self._crew.names:
                code = self._crew.end(name)
                first = first or code
                if code != ExitCode.OK:
                    _log.error(f"the {name} did not end in order", extra=fields(code=code, log=self._crew.log_of(name)))
        return first
