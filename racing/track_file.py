"""Reading the columns of a track's CSV file, with errors that say what to mend.

Promises finite numbers, one row per point and no repeated last point; what the columns mean is track.py's business.
"""

import csv
from pathlib import Path

import numpy as np

from racing.car import FloatArray


class TrackError(ValueError):
    """A track cannot be read or makes no sense; the text is a sentence for the user."""


def read_columns(path: Path) -> dict[str, FloatArray]:
    """Return the named columns of a CSV file of numbers, each (K,), without a last row that repeats the first.

    Raises TrackError where the file is missing, is no text, has no rows, or a row holds something else than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise TrackError(
            f"The track {path} cannot be read: {error.strerror}. Give a CSV file or seed:NUMBER."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrackError(f"The track {path} is not a CSV text file ({error}); export it as CSV.") from error
    if len(rows) < 2:
        raise TrackError(f"The track {path} holds no points; it needs a line of column names and one row per point.")
    names = [name.strip() for name in rows[0]]
    values = np.array([_numbers(row, len(names), number, path) for number, row in enumerate(rows[1:], 2)])
    if len(values) > 1 and np.array_equal(values[0], values[-1]):
        values = values[:-1]
    return {name: values[:, column].copy() for column, name in enumerate(names)}


def _numbers(row: list[str], count: int, number: int, path: Path) -> list[float]:
    if len(row) != count:
        raise TrackError(f"{path}, row {number}: {len(row)} values where the first line names {count} columns.")
    try:
        numbers = [float(value) for value in row]
    except ValueError:
        raise TrackError(f"{path}, row {number} holds something that is not a number: {','.join(row)}") from None
    if not np.isfinite(numbers).all():
        raise TrackError(f"{path}, row {number} holds a value that is not finite: {','.join(row)}")
    return numbers
