"""`python -m scripts.bench.wire`: what a transition costs on the wire, beside what people usually send.

Takes steps of the simulator (reference driver plus exploring noise) and of the laps recorded from the real game, cuts
them into batches exactly as a bridge does, and puts every batch through the codec, JSON, MessagePack and
MessagePack + gzip in turn; MessagePack packs Python's floats in 64 bits each unless told to use 32, so both are shown.
Prints a Markdown table: bytes are exact, times are medians over interleaved repeats, and every format must return what
was put in, to the bit. The last column judges the project's promise, which is made for batches of PROMISED_STEPS.
"""

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from experience.chunks import Chunk, assemble
from experience.codec import Batch, decode_batch, encode_batch
from experience.environment import racing
from racing.driving import VectorDriving
from racing.recorded_car import RecordedCar
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, TaskConfig
from racing.track import Track
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
HEADINGS = (
    "source",
    "steps in a batch",
    "format",
    "bytes a transition",
    "of JSON",
    "of MessagePack + gzip",
    "of the same with float32",
    "encode µs",
    "decode µs",
    "exact to the bit",
    f"promise for {PROMISED_STEPS} steps",
)
_STEADY_SECONDS = 2.0
_COLUMNS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")

Columns = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Format:
    """A way to send a batch: to bytes, and back to the six columns of its transitions."""

    name: str
    encode: Callable[[Batch], bytes]
    decode: Callable[[bytes], Columns]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one format made of the batches.

    Mean bytes a transition, median s a batch, and whether all was exact.
    """

    bytes_per_step: float
    encode_seconds: float
    decode_seconds: float
    exact: bool


def columns_of(batch: Batch) -> Columns:
    """A batch as the six columns of its transitions, what every format must return."""
    return (
        batch.current_observations(),
        batch.actions,
        batch.rewards,
        batch.next_observations(),
        batch.terminated,
        batch.truncated,
    )


def _dictionaries(batch: Batch) -> list[dict[str, object]]:
    rows = zip(*(column.tolist() for column in columns_of(batch)), strict=True)
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


def _from_dictionaries(rows: list[dict[str, Any]]) -> Columns:
    return tuple(
        np.array([row[name] for row in rows], np.bool_ if name.endswith("ated") else np.float32) for name in _COLUMNS
    )


def _single_float_rows(batch: Batch) -> list[dict[str, object]]:
    """Dictionaries whose vectors are MessagePack arrays of float32 (5 bytes a number), as `use_single_float` makes."""

    def raw(rows: npt.NDArray[np.float32]) -> list[msgspec.Raw]:
        numbers = np.full((*rows.shape, 5), 0xCA, np.uint8)
        numbers[..., 1:] = rows.astype(">f4")[..., None].view(np.uint8)
        head = b"\xdc" + rows.shape[1].to_bytes(2, "big")
        return [msgspec.Raw(head + row.tobytes()) for row in numbers]

    observation, action, reward, following, terminated, truncated = columns_of(batch)
    rows = zip(
        raw(observation),
        raw(action),
        reward.tolist(),
        raw(following),
        terminated.tolist(),
        truncated.tolist(),
        strict=True,
    )
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


def _unpack(data: bytes) -> Columns:
    return _from_dictionaries(msgspec.msgpack.decode(data))


FORMATS = (
    Format(
        "JSON", lambda batch: json.dumps(_dictionaries(batch)).encode(), lambda d: _from_dictionaries(json.loads(d))
    ),
    Format("MessagePack", lambda batch: msgspec.msgpack.encode(_dictionaries(batch)), _unpack),
    Format(
        "MessagePack + gzip",
        lambda batch: gzip.compress(msgspec.msgpack.encode(_dictionaries(batch)), GZIP_LEVEL),
        lambda data: _unpack(gzip.decompress(data)),
    ),
    Format(
        "MessagePack float32 + gzip",
        lambda batch: gzip.compress(msgspec.msgpack.encode(_single_float_rows(batch)), GZIP_LEVEL),
        lambda data: _unpack(gzip.decompress(data)),
    ),
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
        batch = assemble(chunk, racing().spaces.layout, lambda _, first=number * steps: first)  # type: ignore[misc]
        assert batch is not None, "the car reports values that are not finite"
        batches.append(batch)
    return batches


def measure(batches: list[Batch], formats: tuple[Format, ...] = FORMATS, repeats: int = 3) -> dict[str, Figures]:
    """Put every batch through every format in turn, `repeats` times; each is timed warm, after one untimed call."""
    steps = sum(batch.steps for batch in batches)
    sizes = dict.fromkeys((form.name for form in formats), 0)
    times: dict[str, list[tuple[float, float]]] = {form.name: [] for form in formats}
    exact = dict.fromkeys(sizes, True)
    for repeat in range(repeats):
        for batch in batches:
            for form in formats:
                # Untimed: the first call after another format's would time the caches that the other one left.
                form.decode(form.encode(batch))
                began = time.perf_counter()
                data = form.encode(batch)
                middle = time.perf_counter()
                columns = form.decode(data)
                times[form.name].append((middle - began, time.perf_counter() - middle))
                if not repeat:
                    sizes[form.name] += len(data)
                    exact[form.name] &= _same(columns, columns_of(batch))
    return {
        name: Figures(
            bytes_per_step=size / steps,
            encode_seconds=statistics.median(encoding for encoding, _ in times[name]),
            decode_seconds=statistics.median(decoding for _, decoding in times[name]),
            exact=exact[name],
        )
        for name, size in sizes.items()
    }


def _same(got: Columns, put: Columns) -> bool:
    return all(
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        for one, other in zip(got, put, strict=True)
    )


def promise_kept(figures: dict[str, Figures]) -> bool:
    """Whether the project's bytes and time are within the promise; `figures` are those of batches of PROMISED_STEPS."""
    ours = figures[OURS]
    small = all(ours.bytes_per_step <= share * figures[name].bytes_per_step for name, share in PROMISED_SHARES.items())
    return small and ours.exact and ours.encode_seconds + ours.decode_seconds <= PROMISED_SECONDS


def rows_of_table(source: str, steps: str, figures: dict[str, Figures]) -> list[str]:
    """Lines of the Markdown table for one kind of batch."""
    rivals = [figures[name].bytes_per_step for name in PROMISED_SHARES]
    kept = ("kept" if promise_kept(figures) else "BROKEN") if steps == str(PROMISED_STEPS) else "-"
    lines = []
    for name, one in figures.items():
        shares = " | ".join(f"{one.bytes_per_step / rival:.3f}" for rival in rivals)
        lines.append(
            f"| {source} | {steps} | {name} | {one.bytes_per_step:.1f} | {shares} | {one.encode_seconds * 1e6:.0f} "
            f"| {one.decode_seconds * 1e6:.0f} | {'yes' if one.exact else 'NO'} | {kept if name == OURS else '-'} |"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, default=40, help="batches of each kind (default 40)")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder with the recorded laps")
    options = parser.parse_args()
    print(setting("numpy", "msgspec", "zstandard") + "\n")
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    for steps in BATCH_STEPS:
        batches = simulated_batches(steps, 1, options.batches)
        print("\n".join(rows_of_table("simulator, exploring", str(steps), measure(batches))), flush=True)
    fleet = simulated_batches(FLEET_STEPS, FLEET_CARS, options.batches)
    print(
        "\n".join(rows_of_table("simulator, exploring", f"{FLEET_CARS} cars x {FLEET_STEPS}", measure(fleet))),
        flush=True,
    )
    missing = [path for path in (RECORDING, RECORDED_TRACK) if not (options.data / path).is_file()]
    if missing:
        print(f"\nThe recorded laps are left out: {options.data / missing[0]} is not there.")
        return
    # The recording is too short for many batches of more.
    for steps in BATCH_STEPS[:-1]:
        batches = recorded_batches(options.data, steps, options.batches)
        print("\n".join(rows_of_table("recorded laps", str(steps), measure(batches))), flush=True)


if __name__ == "__main__":
    main()
