"""A store with two streams, and batches for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from train_cloud.store import (
    IncomingBatch,
    Store,
)

A, B = "a" * 32, "b" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    store.register_stream(A, "pc-a", "sig")
    store.register_stream(B, "pc-b", "sig")
    yield store
    store.close()


def batch(number: int, stream: str = A, steps: int = 10) -> IncomingBatch:
    return IncomingBatch(stream, number, steps, f"{stream[0]}{number}".encode())


def write_numbers(path: Path, stream: str, count: int) -> None:
    store = Store(path)
    store.register_stream(stream, stream, "sig")
    for number in range(1, count + 1):
        store.add_batches([batch(number, stream)])
    store.close()
