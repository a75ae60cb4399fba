"""`python -m scripts.bench.wire`: what a transition costs on the wire, beside what people usually send.

Takes steps of the simulator (reference driver plus exploring noise) and of the laps recorded from the real game, cuts
them into batches exactly as a bridge does, and puts every batch through the codec, JSON, MessagePack, MessagePack +
gzip and Arrow IPC + zstd (what a library gives without a codec of ours) in turn; MessagePack packs Python's floats in
64 bits each unless told to use 32, so both are shown. Bytes are exact, times are medians over interleaved repeats, and
every format must return what was put in, to the bit. The last column judges the project's promise.
"""

import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experience.chunks import Chunk, assemble
from experience.codec import Batch, decode_batch, encode_batch
from experience.environment import racing
from racing.driving import VectorDriving
from racing.recorded_car import RecordedCar
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, TaskConfig
from racing.track import Track
from scripts.bench.measuring import head, options, row
from scripts.bench.setting import setting

RECORDING = Path("telemetry/monza_25hz_two_laps.csv")
RECORDED_TRACK = Path("tracks/monza.csv")
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH_STEPS = (1, 10, 100, 1024)
PROMISED_STEPS = 100
PROMISED_SHARES = {"JSON": 0.045, "MessagePack + gzip": 0.45, "MessagePack float32 + gzip": 0.5}
"""The most bytes that a batch of PROMISED_STEPS may take, as a share of each rival's."""
PROMISED_SECONDS = 0.3e-3
"""The longest that encoding and decoding a batch of PROMISED_STEPS may take together."""
OURS = "this project"
FLEET_CARS, FLEET_STEPS = 8, 12
GZIP_LEVEL = 6
_STEADY_SECONDS = 2.0

Columns = dict[str, npt.NDArray[Any]]
"""The six columns of a batch's transitions by name, which every format must return."""


@dataclass(frozen=True, slots=True)
class Format:
    """A way to send a batch: to bytes, and back to its columns."""

    name: str
    encode: Callable[[Batch], bytes]
    decode: Callable[[bytes], Columns]


@dataclass(frozen=True, slots=True)
class FormatCost:
    """What one format made of the batches: mean bytes a transition, median s a batch, and whether all was exact."""

    bytes_per_step: float
    encode_seconds: float
    decode_seconds: float
    exact: bool


def columns_of(batch: Batch) -> Columns:
    """A batch as columns."""
    return {
        "observation": batch.current_observations(),
        "action": batch.actions,
        "reward": batch.rewards,
        "next_observation": batch.next_observations(),
        "terminated": batch.terminated,
        "truncated": batch.truncated,
    }


def _rows(columns: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain_rows(batch: Batch) -> list[dict[str, object]]:
    return _rows({name: column.tolist() for name, column in columns_of(batch).items()})


def _single_float_rows(batch: Batch) -> list[dict[str, object]]:
    """Rows whose vectors are MessagePack arrays of float32 (5 bytes a number), as `use_single_float` makes."""

    def raw(rows: npt.NDArray[np.float32]) -> list[msgspec.Raw]:
        numbers = np.full((*rows.shape, 5), 0xCA, np.uint8)
        numbers[..., 1:] = rows.astype(">f4")[..., None].view(np.uint8)
        head = b"\xdc" + rows.shape[1].to_bytes(2, "big")
        return [msgspec.Raw(head + row.tobytes()) for row in numbers]

    columns = columns_of(batch).items()
    return _rows({name: raw(column) if column.ndim == 2 else column.tolist() for name, column in columns})


def _from_rows(rows: list[dict[str, Any]]) -> Columns:
    kinds = {"terminated": np.bool_, "truncated": np.bool_}
    return {name: np.array([row[name] for row in rows], kinds.get(name, np.float32)) for name in rows[0]}


def _pack(rows: list[dict[str, object]]) -> bytes:
    return gzip.compress(msgspec.msgpack.encode(rows), GZIP_LEVEL)


def _unpack(data: bytes) -> Columns:
    return _from_rows(msgspec.msgpack.decode(gzip.decompress(data)))


def _to_arrow(batch: Batch) -> bytes:
    """One record batch as an Arrow IPC stream whose buffers are compressed by zstd; vectors are fixed-size lists."""
    columns = columns_of(batch)
    arrays = [
        pa.FixedSizeListArray.from_arrays(column.ravel(), column.shape[1]) if column.ndim == 2 else pa.array(column)
        for column in columns.values()
    ]
    record = pa.record_batch(arrays, names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(record)
    return bytes(sink.getvalue())


def _from_arrow(data: bytes) -> Columns:
    record = pa.ipc.open_stream(data).read_next_batch()
    columns = {}
    for name, column in zip(record.schema.names, record.columns, strict=True):
        vectors = pa.types.is_fixed_size_list(column.type)
        numbers = (column.flatten() if vectors else column).to_numpy(zero_copy_only=False)
        columns[name] = numbers.reshape(len(column), -1) if vectors else numbers
    return columns


FORMATS = (
    Format("JSON", lambda batch: json.dumps(_plain_rows(batch)).encode(), lambda data: _from_rows(json.loads(data))),
    Format(
        "MessagePack",
        lambda batch: msgspec.msgpack.encode(_plain_rows(batch)),
        lambda data: _from_rows(msgspec.msgpack.decode(data)),
    ),
    Format("MessagePack + gzip", lambda batch: _pack(_plain_rows(batch)), _unpack),
    Format("MessagePack float32 + gzip", lambda batch: _pack(_single_float_rows(batch)), _unpack),
    Format("Arrow IPC + zstd", _to_arrow, _from_arrow),
    Format(OURS, encode_batch, lambda data: columns_of(decode_batch(data))),
)


def simulated_batches(steps: int, cars: int, count: int, noise: float = 0.3, seed: int = 3) -> list[Batch]:
    """Batches of `steps` steps of each of `cars` simulated cars, whose driver explores.

    `noise` is the standard deviation of what is added to each action of the reference driver; that of a
    policy that has begun to learn is of this size.
    """
    track = Track.generate(seed)
    driving = VectorDriving(SimulatedCar(track, cars, seed=seed), Task(track, TaskConfig()))
    driver, rng = ReferenceDriver(track), np.random.default_rng(seed)

    def explore() -> Float32Array:
        controls = driver.controls(driving.state)
        action = np.stack([controls.steer, controls.throttle - controls.brake], axis=1)
        return np.asarray(action + rng.normal(0.0, noise, action.shape), np.float32)

    return _batches(driving, explore, steps, cars, count)


def recorded_batches(data: Path, steps: int, count: int) -> list[Batch]:
    """Batches of `steps` steps of the laps recorded from the real game, with the recorded driver's actions."""
    car = RecordedCar(data / RECORDING)
    driving = VectorDriving(car, Task(Track.from_csv(data / RECORDED_TRACK), TaskConfig(control_hz=car.rate)))
    return _batches(driving, car.upcoming_action, steps, 1, count)


def _batches(driving: VectorDriving, act: Callable[[], Float32Array], steps: int, cars: int, count: int) -> list[Batch]:
    observation = driving.reset()
    for _ in range(round(_STEADY_SECONDS / driving.period)):
        observation = driving.step(act()).observation
    batches = []
    for number in range(count):
        chunk = Chunk(steps, cars, racing().spaces.layout)
        for _ in range(steps):
            step = driving.step(act())
            chunk.add(observation, step, 1)
            observation = step.observation
        batch = assemble(chunk, racing().spaces.layout, lambda _, first=number * steps: first)  # type: ignore[misc]  # no type for a default
        assert batch is not None, "the car reports values that are not finite"
        batches.append(batch)
    return batches


def measure(batches: list[Batch], formats: tuple[Format, ...] = FORMATS, repeats: int = 3) -> dict[str, FormatCost]:
    """Put every batch through every format in turn, `repeats` times."""
    found: dict[str, list[tuple[int, float, float, bool]]] = {form.name: [] for form in formats}
    for batch in batches * repeats:
        for form in formats:
            found[form.name].append(_sent(batch, form))
    steps = repeats * sum(batch.steps for batch in batches)
    costs = {}
    for name, samples in found.items():
        sizes, encoding, decoding, exact = zip(*samples, strict=True)
        costs[name] = FormatCost(sum(sizes) / steps, median(encoding), median(decoding), all(exact))
    return costs


def _sent(batch: Batch, form: Format) -> tuple[int, float, float, bool]:
    """Bytes, s to encode and to decode, and whether what came out is what was put in."""
    # Untimed: the first call after another format's would time the caches that the other one left.
    form.decode(form.encode(batch))
    began = time.perf_counter()
    data = form.encode(batch)
    middle = time.perf_counter()
    columns = form.decode(data)
    ended = time.perf_counter()
    exact = all(
        columns[name].dtype == put.dtype
        and columns[name].shape == put.shape
        and columns[name].tobytes() == put.tobytes()
        for name, put in columns_of(batch).items()
    )
    return len(data), middle - began, ended - middle, exact


def promise_kept(figures: dict[str, FormatCost]) -> bool:
    """Whether the project's bytes and time are within the promise; `figures` are those of batches of PROMISED_STEPS."""
    ours = figures[OURS]
    small = all(ours.bytes_per_step <= share * figures[name].bytes_per_step for name, share in PROMISED_SHARES.items())
    return small and ours.exact and ours.encode_seconds + ours.decode_seconds <= PROMISED_SECONDS


def rows_of_table(source: str, steps: str, figures: dict[str, FormatCost]) -> list[str]:
    """Lines of the Markdown table for one kind of batch."""
    kept = ("kept" if promise_kept(figures) else "BROKEN") if steps == str(PROMISED_STEPS) else "-"
    lines = []
    for name, one in figures.items():
        shares = [f"{one.bytes_per_step / figures[rival].bytes_per_step:.3f}" for rival in PROMISED_SHARES]
        times = [f"{seconds * 1e6:.0f}" for seconds in (one.encode_seconds, one.decode_seconds)]
        verdict = "yes" if one.exact else "NO", kept if name == OURS else "-"
        lines.append(row(source, steps, name, f"{one.bytes_per_step:.1f}", *shares, *times, *verdict))
    return lines


def main() -> None:
    """Print the table."""
    wanted = options(
        __doc__, batches=(40, "batches of each kind (default 40)"), data=(SHARED_DATA, "folder with the recorded laps")
    )

    def show(source: str, steps: str, batches: list[Batch]) -> None:
        print("\n".join(rows_of_table(source, steps, measure(batches))), flush=True)

    print(setting("numpy", "msgspec", "zstandard", "pyarrow") + "\n")
    figures = ("bytes a transition", "of JSON", "of MessagePack + gzip", "of the same with float32")
    judged = ("encode µs", "decode µs", "exact to the bit", f"promise for {PROMISED_STEPS} steps")
    print(head("source", "steps in a batch", "format", *figures, *judged))
    for steps in BATCH_STEPS:
        show("simulator, exploring", str(steps), simulated_batches(steps, 1, wanted.batches))
    fleet = simulated_batches(FLEET_STEPS, FLEET_CARS, wanted.batches)
    show("simulator, exploring", f"{FLEET_CARS} cars x {FLEET_STEPS}", fleet)
    missing = [path for path in (RECORDING, RECORDED_TRACK) if not (wanted.data / path).is_file()]
    if missing:
        print(f"\nThe recorded laps are left out: {wanted.data / missing[0]} is not there.")
        return
    # The recording is too short for many batches of more.
    for steps in BATCH_STEPS[:-1]:
        show("recorded laps", str(steps), recorded_batches(wanted.data, steps, wanted.batches))


if __name__ == "__main__":
    main()
