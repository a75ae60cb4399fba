"""Experience of this process, into the store: a stream of its own like any bridge's, new in each life."""

import secrets
from collections import Counter
from collections.abc import Mapping

from experience.environment import Environment
from experience.sink import SinkFull
from train_cloud.store import IncomingBatch, Store, StoreFull

NAME = "trainer"
"""What the store calls who made it, where a bridge's name would be."""


class StoreSink:
    """Appends to a new stream of `store`. Raises StoreError."""

    def __init__(self, store: Store, environment: Environment) -> None:
        self._store = store
        self._stream, self._number = secrets.token_hex(16), 0
        self._steps: Counter[int] = Counter()
        store.register_stream(self._stream, NAME, environment.signature, environment.spaces.text)

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        """As `experience.sink.Sink`; the only caller is a recorder's thread."""
        try:
            self._store.add_batches([IncomingBatch(self._stream, self._number + 1, steps, blob)])
        except StoreFull as error:
            raise SinkFull(str(error)) from error
        self._number += 1
        self._steps.update(steps_by_car or {})
        return self._number

    def steps_of_car(self, car: int) -> int:
        """As `experience.sink.Sink`."""
        return self._steps[car]
