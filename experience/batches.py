"""Batches of experience in memory: columns of whole runs of steps, and the rules that a valid batch keeps.

A run is an unbroken sequence of steps of one car. Its observations are held once: T_r steps have T_r + 1
rows, the last row being what the last step led to, so current and next observations are two views of the
same rows. A batch is checked as a whole by `check_batch`; how it becomes bytes is `experience.codec`'s affair.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

MAX_STEPS_PER_BATCH: Final = 4096
MAX_NUMBERS: Final = 2**20
"""Most numbers that the observations and actions of a batch may hold, counting 64-bit ones twice."""
MAX_COLUMNS: Final = 65536
REASONS: Final = frozenset(
    {
        *("off_track", "crash", "reversed", "stalled", "time"),
        *("start", "stopped", "interrupted", "recording", "demonstration"),
        *("terminated", "truncated"),
    }
)
"""Why an episode may end: by racing's task, by whoever drives, by any environment. Every reason is counted for ever, so
that there must not be one for each batch."""
DEMONSTRATION: Final = 0
"""As the version of a step's policy: a human drove, or another driver worth learning from, and no policy."""
NOBODY: Final = 2**32 - 1
"""As the version of a step's policy: neither a policy nor a demonstration, as in a rolling start."""
MAX_FIRST_STEP: Final = 2**48
"""More steps than any car makes: 150,000 years at 60 a second."""
MAX_LAP_SECONDS: Final = 86_400.0
MAX_ACTION_AGE: Final = 600.0
"""s; an older action (the PC slept) counts as one of this age."""
MAX_REWARD: Final = 1e6
"""Most that a step may be worth or cost: squares of far larger ones end Adam's learning without a word."""
MAX_NUMBER: Final = 1e9
"""Greatest amount of a number in an observation or action that travels as a float."""
TIMING_STEP: Final = 2.0**-13
"""A grid for action ages, s (0.12 ms): ages rounded to it cost one byte a step instead of four."""

DTYPES: Final = (
    *("float32", "float64", "float16"),
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
"""The dtypes a column may have; the position is its code in an encoded batch."""


class CodecError(ValueError):
    """A batch cannot be encoded or decoded exactly; the text says in a sentence why."""


AnyArray = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
RowArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Column:
    """`size` numbers a row. With `step` (a power of two) they are float32 on the grid k * step, -32768 <= k <= 32767.

    On a grid, zero has no sign: -0.0 travels as 0.0. Raises CodecError for what no batch can have.
    """

    size: int
    dtype: str = "float32"
    step: float | None = None

    @property
    def words(self) -> int:
        """What a row counts against MAX_NUMBERS."""
        return self.size * (2 if self.step is None and self.dtype.endswith("64") else 1)

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_COLUMNS:
            raise CodecError(f"A column group has 1 to {MAX_COLUMNS} numbers a row, not {self.size}.")
        if self.dtype not in DTYPES:
            raise CodecError(f"The dtype {self.dtype!r} cannot travel in a batch; use one of {', '.join(DTYPES)}.")
        if self.step is not None:
            mantissa, exponent = math.frexp(self.step)
            if self.dtype != "float32" or mantissa != 0.5 or not -64 <= exponent <= 64:
                raise CodecError(
                    f"A grid is float32 with a step that is a power of two, not {self.dtype} by {self.step}."
                )


@dataclass(frozen=True, slots=True)
class Layout:
    """What one row of observations and one row of actions hold."""

    observation: Column
    action: Column


class LapRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A lap that ended with the step at `row` (0..T-1): its `time` in s, above 0, and whether it was clean."""

    row: int
    time: float
    clean: bool


class EpisodeRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An episode that ended with the step at `row` (0..T-1): its length, its summed reward and why (REASONS)."""

    row: int
    steps: int
    total_reward: float
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """T steps in R runs, in the producer's order. Rows of all (T, ...) columns belong to the runs one after another.

    Attributes:
        layout: what observations and actions hold.
        run_lengths: (R,) int32, steps of each run, at least 1; they sum to T.
        run_cars: (R,) int32 >= 0, the car that made the run.
        run_first_steps: (R,) int64 in 0..MAX_FIRST_STEP, index of the run's first step in that car's life.
        observations: (T + R, D) of the layout's dtype, floats at most MAX_NUMBER either way; each run holds one row
            more than it has steps.
        actions: (T, A) of the layout's dtype, as observations.
        rewards: (T,) float32, at most MAX_REWARD either way.
        terminated: (T,) bool. After a terminated or truncated step a new run begins.
        truncated: (T,) bool.
        policy_versions: (T,) uint32, the weights that chose the action; DEMONSTRATION or NOBODY where none did.
        action_ages: (T,) float32 in 0..MAX_ACTION_AGE, s between the observation and the moment the action was applied.
        off_period: (T,) bool, the step did not take a control period: longer, or shorter after a longer one.
        laps: laps that ended in this batch, at most one a row.
        episodes: episodes that ended in this batch, at most one a row.
    """

    layout: Layout
    run_lengths: npt.NDArray[np.int32]
    run_cars: npt.NDArray[np.int32]
    run_first_steps: npt.NDArray[np.int64]
    observations: AnyArray
    actions: AnyArray
    rewards: Float32Array
    terminated: BoolArray
    truncated: BoolArray
    policy_versions: npt.NDArray[np.uint32]
    action_ages: Float32Array
    off_period: BoolArray
    laps: tuple[LapRecord, ...] = ()
    episodes: tuple[EpisodeRecord, ...] = ()

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.rewards)

    @property
    def newest_version(self) -> int:
        """Of the policies that drove; 0 where none did."""
        return int(self.policy_versions.max(initial=0, where=self.policy_versions != NOBODY))

    def current_rows(self) -> RowArray:
        """(T,) row of `observations` on which each step acted; the row after it is what the step led to."""
        runs = np.repeat(np.arange(len(self.run_lengths)), self.run_lengths)
        rows: RowArray = np.arange(self.steps) + runs
        return rows

    def current_observations(self) -> AnyArray:
        """(T, D) what each step's action was chosen on; a view when there is one run."""
        return self.observations[:-1] if len(self.run_lengths) == 1 else self.observations[self.current_rows()]

    def next_observations(self) -> AnyArray:
        """(T, D) what each step led to, also at the end of an episode; a view when there is one run."""
        return self.observations[1:] if len(self.run_lengths) == 1 else self.observations[self.current_rows() + 1]


def within(values: AnyArray, most: float) -> BoolArray:
    """Whether each of these numbers is one, and at most `most` either way, where they are floats; same shape."""
    # float16 would take 1e9 for infinite.
    bounded: BoolArray = np.abs(values) <= np.float32(most) if values.dtype.kind == "f" else np.isfinite(values)
    return bounded


def check_batch(batch: Batch) -> None:
    """Raise CodecError unless the batch keeps every rule that `Batch` states."""
    steps, runs = batch.rewards.size, batch.run_lengths.size
    check_size(batch.layout, steps, runs)
    _check_shapes(batch, steps, runs)
    check_contents(batch)


def check_contents(batch: Batch) -> None:
    """The part of check_batch that a decoder needs, when shapes and dtypes are right by construction."""
    steps = batch.steps
    _check_runs(batch, steps)
    for name, step, most in (
        ("rewards", None, MAX_REWARD),
        # What is on a grid is within its bounds; the codec checks the grid.
        ("observations", batch.layout.observation.step, MAX_NUMBER),
        ("actions", batch.layout.action.step, MAX_NUMBER),
    ):
        if step is None and not within(getattr(batch, name), most).all():
            raise CodecError(
                f"The {name} of this batch hold NaN or an infinite number, or one beyond {most:g}; fix their source."
            )
    if not (batch.action_ages.min() >= 0.0 and batch.action_ages.max() <= MAX_ACTION_AGE):
        raise CodecError(f"The action_ages of a batch hold a negative time, NaN or more than {MAX_ACTION_AGE:.0f} s.")
    _check_records(batch, steps)


def check_size(layout: Layout, steps: int, runs: int) -> None:
    """Raise CodecError for no step, more than MAX_STEPS_PER_BATCH, an empty run, or more numbers than MAX_NUMBERS."""
    if not 1 <= runs <= steps <= MAX_STEPS_PER_BATCH:
        raise CodecError(f"A batch has 1 to {MAX_STEPS_PER_BATCH} steps in at least one run, not {steps} in {runs}.")
    numbers = (steps + runs) * (layout.observation.words + layout.action.words)
    if numbers > MAX_NUMBERS:
        raise CodecError(f"A batch holds at most {MAX_NUMBERS} numbers, not {numbers}; send fewer steps in one.")


def most_steps(layout: Layout) -> int:
    """How many steps any batch of this layout has room for, however many runs they are; 0 where a row is too large."""
    return min(MAX_STEPS_PER_BATCH, MAX_NUMBERS // (2 * (layout.observation.words + layout.action.words)))


def _check_shapes(batch: Batch, steps: int, runs: int) -> None:
    observation, action = batch.layout.observation, batch.layout.action
    for name, shape, dtype in (
        ("run_lengths", (runs,), "int32"),
        ("run_cars", (runs,), "int32"),
        ("run_first_steps", (runs,), "int64"),
        ("observations", (steps + runs, observation.size), observation.dtype),
        ("actions", (steps, action.size), action.dtype),
        ("rewards", (steps,), "float32"),
        ("terminated", (steps,), "bool"),
        ("truncated", (steps,), "bool"),
        ("policy_versions", (steps,), "uint32"),
        ("action_ages", (steps,), "float32"),
        ("off_period", (steps,), "bool"),
    ):
        array = getattr(batch, name)
        if array.shape != shape or array.dtype != dtype:
            raise CodecError(
                f"The {name} of this batch must have shape {shape} and dtype {dtype}, "
                f"but have {array.shape} and {array.dtype}."
            )


def _check_runs(batch: Batch, steps: int) -> None:
    lengths = batch.run_lengths.tolist()
    if min(lengths) < 1 or sum(lengths) != steps:
        raise CodecError(f"The run lengths of a batch must be at least 1 and sum to its {steps} steps.")
    if min(batch.run_cars.tolist()) < 0 or min(batch.run_first_steps.tolist()) < 0:
        raise CodecError("A batch names a car or a first step below zero.")
    if max(batch.run_first_steps.tolist()) > MAX_FIRST_STEP:
        raise CodecError(f"A batch names a first step above {MAX_FIRST_STEP}, which no car reaches.")
    ended = batch.terminated | batch.truncated
    if ended.any():
        ended[np.cumsum(lengths) - 1] = False
        if ended.any():
            raise CodecError("A run of a batch goes on after a terminated or truncated step; begin a new run there.")


def _check_records(batch: Batch, steps: int) -> None:
    for lap in batch.laps:
        if not (0 <= lap.row < steps and 0.0 < lap.time <= MAX_LAP_SECONDS):
            raise CodecError(f"A lap record of a batch has row {lap.row} and time {lap.time}, which cannot be.")
    for end in batch.episodes:
        if not (0 <= end.row < steps and 1 <= end.steps <= MAX_FIRST_STEP and math.isfinite(end.total_reward)):
            raise CodecError(f"An episode record of a batch has row {end.row} and {end.steps} steps, which cannot be.")
        if end.reason not in REASONS:
            raise CodecError(
                f"An episode of a batch ended for the reason {end.reason[:40]!r}, which is none of "
                f"{', '.join(sorted(REASONS))}; bring both sides to one version."
            )
    # A step is of one car, and ends at most one lap and one episode of it.
    for name, records in (("laps", batch.laps), ("episodes", batch.episodes)):
        if len({record.row for record in records}) < len(records):
            raise CodecError(f"A step of a batch ends two {name}, and can end one.")
