"""A matrix of integers, a column for each signal and runs of rows in time, to few bytes and back.

Each signal is predicted from its own past (order 0, 1 or 2: nothing, the last value, the last two), or
from another signal: an earlier action that the observation repeats a row later, or an action of which the
next observation holds a rounded copy. What the best predictor leaves is written by `experience.rice`.
Everything is exact, modulo 2**32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from experience import rice
from experience.bytestream import CodecError, Reader, varint

_HIGHEST_ORDER: Final = 2
_FROM_PREVIOUS_ROW: Final = 3
_FROM_SAME_ROW: Final = 4
_MAX_SHIFT: Final = 31
_SHORTEST_FOR_REFERENCES: Final = 4
_MOST_ROUNDED: Final = 64
_FEW_STEPS: Final = 8
_HEAD_BITS: Final = 7
# Two signals whose weighted sums of a few values agree are worth a full comparison.
_WEIGHTS: Final = np.array([1, 3, 9, 27, 81, 243, 729, 2187, 6561, 19683, 59049, 177147], np.int32)

IntMatrix = npt.NDArray[np.int32]
RowArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rounded:
    """Hint.

    A signal among `fine` may be one among `coarse` in the same row, times 2**shift, up to rounding.
    """

    fine: range
    coarse: range
    shift: int


@dataclass(frozen=True, slots=True)
class _Reference:
    """Signal `of` is predicted by signal `source`, times 2**shift, in the row given by `predictor`."""

    of: int
    source: int
    predictor: int
    shift: int


class Rows:
    """Where the rows of each run are, when a run of n steps has n + 1 rows, one run after another.

    `first` selects the runs' first rows (R of them), `later` all others (T), `before` the row before each
    of those. One run is selected by slices, which copy nothing.
    """

    def __init__(self, run_lengths: npt.NDArray[np.int32]) -> None:
        self.run_lengths = run_lengths
        self.runs = len(run_lengths)
        self.first: RowArray | slice = slice(0, 1)
        self.later: RowArray | slice = slice(1, None)
        self.before: RowArray | slice = slice(0, -1)
        self.steps = int(run_lengths.sum(dtype=np.int64))
        if self.runs > 1:
            lengths = run_lengths.astype(np.int64)
            self.first = np.cumsum(lengths + 1) - lengths - 1
            self.before = np.arange(self.steps) + np.repeat(np.arange(self.runs), lengths)
            self.later = self.before + 1


def pack_matrix(matrix: IntMatrix, rows: Rows, rounded: Rounded | None = None) -> bytes:
    """The matrix (C, T + R), one signal a row here and one moment a column, as bytes."""
    later, before = matrix[:, rows.later], matrix[:, rows.before]
    references = _copies(later, before) if rows.steps >= _SHORTEST_FOR_REFERENCES else []
    if rounded is not None:
        references += _rounded(later, rounded, references)
    residuals = np.empty((_HIGHEST_ORDER + 1, *later.shape), np.int32)
    residuals[0] = later
    np.subtract(later, before, out=residuals[1])
    residuals[2] = residuals[1]
    residuals[2, :, 1:] -= residuals[1, :, :-1]
    for reference in references:
        residuals[:, reference.of] = later[reference.of] - _predicted(reference, later, before)
    numbers = _zigzag(residuals)
    orders, parameters = _choice(numbers)
    chosen = numbers[orders, np.arange(len(matrix))]
    for reference in references:
        orders[reference.of] = reference.predictor
    return (
        _pack_head(matrix[:, rows.first], orders, parameters)
        + b"".join(varint(r.source) + bytes([r.shift]) for r in sorted(references, key=lambda r: r.of))
        + rice.pack_streams(chosen, parameters)
    )


def unpack_matrix(reader: Reader, signals: int, rows: Rows) -> IntMatrix:
    """Inverse of pack_matrix: (signals, T + R). Raises CodecError."""
    firsts, predictors, parameters = _unpack_head(reader, signals, rows.runs)
    references = _unpack_references(reader, predictors)
    later = _unzigzag(rice.unpack_streams(reader, parameters, rows.steps))
    second = predictors == _HIGHEST_ORDER
    later[second] = later[second].cumsum(axis=1, dtype=np.int32)
    own = (predictors == 1) | second
    sums = later[own].cumsum(axis=1, dtype=np.int32)
    if rows.runs == 1:
        later[own] = sums + firsts[own]
    else:
        starts = np.cumsum(rows.run_lengths, dtype=np.int64) - rows.run_lengths
        sums_before = np.where(starts > 0, sums[:, starts - 1], np.int32(0))
        later[own] = sums + np.repeat(firsts[own] - sums_before, rows.run_lengths, axis=1)
    matrix = np.empty((signals, rows.runs + rows.steps), np.int32)
    matrix[:, rows.first] = firsts
    matrix[:, rows.later] = later
    for reference in references:
        row = rows.later if reference.predictor == _FROM_SAME_ROW else rows.before
        matrix[reference.of, rows.later] += matrix[reference.source, row] << np.int32(reference.shift)
    return matrix


def _choice(numbers: npt.NDArray[np.uint32]) -> tuple[RowArray, RowArray]:
    """From residuals (orders, C, T): each signal's order and Rice parameter, (C,) each."""
    orders, signals, steps = numbers.shape
    bits = rice.costs(numbers.reshape(-1, steps)).reshape(orders, signals, -1)
    each = bits.transpose(1, 0, 2).reshape(signals, -1)
    best = each.argmin(axis=1)
    if steps <= _FEW_STEPS:
        # Saying how each of many short signals is written can cost more than writing all of them alike.
        together = each.sum(axis=0)
        alike = together.argmin()
        if together[alike] < each.min(axis=1).sum() + _HEAD_BITS * signals:
            best[:] = alike
    return best // bits.shape[2], best % bits.shape[2]


def _copies(later: IntMatrix, before: IntMatrix) -> list[_Reference]:
    """Signals that repeat another one a row later."""
    weights = _WEIGHTS[: later.shape[1]]
    keys = later[:, : len(weights)] @ weights
    sources = {key: index for index, key in enumerate((before[:, : len(weights)] @ weights).tolist())}
    found: dict[int, _Reference] = {}
    for index, key in enumerate(keys.tolist()):
        source = sources.get(key)
        if source is None or source == index or source in found or later[index, 0] == later[index, -1]:
            continue
        if (later[index] == before[source]).all():
            found[index] = _Reference(index, source, _FROM_PREVIOUS_ROW, 0)
    used = {reference.source for reference in found.values()}
    return [reference for index, reference in found.items() if index not in used]


def _rounded(later: IntMatrix, hint: Rounded, copies: list[_Reference]) -> list[_Reference]:
    """Fine signals of which a coarse one, itself predicted from its past, is a rounded copy."""
    copied, copying = {copy.source for copy in copies}, {copy.of for copy in copies}
    half = 1 << hint.shift >> 1
    coarse = later[hint.coarse.start : hint.coarse.stop]
    fine = later[hint.fine.start : hint.fine.stop][:_MOST_ROUNDED]
    near = np.abs(fine[:, -1:] - (coarse[:, -1] << hint.shift)) <= half
    found: dict[int, _Reference] = {}
    for row, source in zip(*(axis.tolist() for axis in near.nonzero()), strict=True):
        index, of = hint.fine.start + row, hint.coarse.start + source
        if index in found or index in copied or index in copying or of in copying:
            continue
        apart = fine[row] - (coarse[source] << hint.shift)
        if apart.max() <= half and apart.min() >= -half:
            found[index] = _Reference(index, of, _FROM_SAME_ROW, hint.shift)
    return list(found.values())


def _predicted(reference: _Reference, later: IntMatrix, before: IntMatrix) -> IntMatrix:
    rows = later if reference.predictor == _FROM_SAME_ROW else before
    predicted: IntMatrix = rows[reference.source] << np.int32(reference.shift)
    return predicted


def _pack_head(firsts: IntMatrix, predictors: RowArray, parameters: RowArray) -> bytes:
    """How each signal is written, a byte each, and the runs' first rows (C, R)."""
    codes: bytes = (predictors * (rice.ZERO + 1) + parameters).astype(np.uint8).tobytes()
    return codes + b"".join(rice.pack_plainly(first) for first in _zigzag(firsts).T)


def _unpack_head(reader: Reader, signals: int, runs: int) -> tuple[IntMatrix, RowArray, RowArray]:
    codes = np.frombuffer(reader.take(signals), np.uint8).astype(np.int64)
    predictors, parameters = codes // (rice.ZERO + 1), codes % (rice.ZERO + 1)
    if predictors.max() > _FROM_SAME_ROW:
        raise CodecError("The batch names an unknown predictor; it was damaged.")
    firsts = np.empty((signals, runs), np.uint32)
    for run in range(runs):
        firsts[:, run] = rice.unpack_plainly(reader, signals)
    return _unzigzag(firsts), predictors, parameters


def _unpack_references(reader: Reader, predictors: RowArray) -> list[_Reference]:
    references = []
    for index in np.flatnonzero(predictors > _HIGHEST_ORDER):
        source, shift = reader.varint(), reader.take(1)[0]
        if source >= len(predictors) or predictors[source] > _HIGHEST_ORDER or shift > _MAX_SHIFT:
            raise CodecError("The batch predicts a signal from one that cannot be; it was damaged.")
        references.append(_Reference(int(index), source, int(predictors[index]), shift))
    return references


def _zigzag(values: IntMatrix) -> npt.NDArray[np.uint32]:
    return ((values << np.int32(1)) ^ (values >> np.int32(31))).view(np.uint32)


def _unzigzag(numbers: npt.NDArray[np.uint32]) -> IntMatrix:
    return (numbers >> np.uint32(1)).view(np.int32) ^ -(numbers & np.uint32(1)).view(np.int32)
