"""How long a thread that wants to run each millisecond is kept from it by the other threads of its own process.

    with Ticker() as ticker:
        ...
    print(ticker.longest(5))

The interpreter runs one thread at a time, so what a thread computes in one go without letting go, a control loop of the
same process waits for. A machine that is busy with other processes makes gaps too; so of each gap no more is counted
than the processor time that this process' other threads used in it.
"""

import threading
import time

PERIOD_SECONDS = 0.001


class Ticker:
    """Ticks in a thread of its own from `__enter__` to `__exit__`; `gaps` are in s, one a tick."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.others_seconds = 0.0
        """Processor time that the other threads of the process have used since the start, s."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticker", daemon=True)

    def __enter__(self) -> "Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(10.0)

    def longest(self, count: int) -> list[float]:
        """The longest gaps so far, the longest first, s."""
        return sorted(self.gaps, reverse=True)[:count]

    def _tick(self) -> None:
        while not self._end.is_set():
            began, others = time.perf_counter(), time.process_time() - time.thread_time()
            time.sleep(PERIOD_SECONDS)
            late = time.perf_counter() - began - PERIOD_SECONDS
            busy = time.process_time() - time.thread_time() - others
            self.gaps.append(max(0.0, min(late, busy)))
            self.others_seconds += busy
