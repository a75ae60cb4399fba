"""Reading the columns of a CSV file of numbers, a track's or a recording's, with errors that say what to mend.

Promises finite numbers, one row per point and no repeated last point; what the columns mean is the caller's business.
"""

import csv
from pathlib import Path

import numpy as np

from racing.car import FloatArray


class ColumnsError(ValueError):
    """A file of columns cannot be read; the text is a sentence for the user."""


class TrackError(ValueError):
    """A track cannot be read or makes no sense; the text is a sentence for the user."""


def read_columns(path: Path, what: str, instead: str) -> dict[str, FloatArray]:
    """Return the named columns of a CSV file of numbers, each (K,), without a last row that repeats the first.

    Args:
        path: the file.
        what: what it is to the user, such as "track".
        instead: what to do when it cannot be read, a sentence.

    Raises:
        ColumnsError: the file is missing, is no text, has no rows, or a row holds something else than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise ColumnsError(f"The {what} {path} cannot be read: {error.strerror}. {instead}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ColumnsError(f"The {what} {path} is not a CSV text file ({error}); export it as CSV.") from error
    if len(rows) < 2:
        raise ColumnsError(f"The {what} {path} holds no rows; it needs a line of column names and rows of numbers.")
    names = [name.strip() for name in rows[0]]
    values = np.array([_numbers(row, len(names), number, path) for number, row in enumerate(rows[1:], 2)])
    if len(values) > 1 and np.array_equal(values[0], values[-1]):
        values = values[:-1]
    return {name: values[:, column].copy() for column, name in enumerate(names)}


def _numbers(row: list[str], count: int, number: int, path: Path) -> list[float]:
    if len(row) != count:
        raise ColumnsError(f"{path}, row {number}: {len(row)} values where the first line names {count} columns.")
    try:
        numbers = [float(value) for value in row]
    except ValueError:
        raise ColumnsError(f"{path}, row {number} holds something that is not a number: {','.join(row)}") from None
    if not np.isfinite(numbers).all():
        raise ColumnsError(f"{path}, row {number} holds a value that is not finite: {','.join(row)}")
    return numbers
