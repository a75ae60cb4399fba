"""Reading the columns of a CSV file of numbers, a track's or a recording's, with errors that say what to mend.

Promises finite numbers, one row per point and no repeated last point; what the columns mean is the caller's business.
"""

import csv
from pathlib import Path

import numpy as np

from racing.car import FloatArray


class TrackError(ValueError):
    """A track cannot be read or makes no sense; the text is a sentence for the user."""


def read_columns(path: Path, what: str, instead: str, refused: type[ValueError] = ValueError) -> dict[str, FloatArray]:
    """Return the named columns of a CSV file of numbers, each (K,), without a last row that repeats the first.

    `what` is what the file is to the user, such as "track"; `instead` is a sentence, what to do when it cannot be read.
    Raises `refused` where it is missing, is no text, has no rows, or a row holds something else than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise refused(f"The {what} {path} cannot be read: {error.strerror}. {instead}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise refused(f"The {what} {path} is not a CSV text file ({error}); export it as CSV.") from error
    if len(rows) < 2:
        raise refused(f"The {what} {path} holds no rows; it needs a line of column names and rows of numbers.")
    names = [name.strip() for name in rows[0]]
    values = np.empty((len(rows) - 1, len(names)))
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise refused(f"{path}, row {number}: {len(row)} values where the first line names {len(names)} columns.")
        try:
            values[number - 2] = [float(value) for value in row]
        except ValueError:
            raise refused(f"{path}, row {number} holds something that is not a number: {','.join(row)}") from None
        if not np.isfinite(values[number - 2]).all():
            raise refused(f"{path}, row {number} holds a value that is not finite: {','.join(row)}")
    if len(values) > 1 and np.array_equal(values[0], values[-1]):
        values = values[:-1]
    return {name: values[:, column].copy() for column, name in enumerate(names)}
