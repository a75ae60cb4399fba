"""Writes laps into files for racers' tools and for programs: MoTeC's log, MoTeC's CSV, plain CSV, Parquet.

Plain CSV and Parquet have a row a sample, in SI units, in the columns of `Lap` behind the number of the lap, exact to
the last bit; what a lap lacks, the file lacks. Promises whole files: one that cannot be written leaves what was there.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from racing.car import FloatArray, IntArray
from racing.lap import Lap
from racing.motec import csv_bytes, ld_bytes, ldx_bytes, printable

FORMATS = ("motec", "motec-csv", "csv", "parquet")
"""motec: .ld and .ldx for MoTeC's i2; motec-csv: for ac-tracer, one lap a file; csv, parquet: for programs."""
_ENDINGS = {"motec": ".ld", "motec-csv": ".motec.csv", "csv": ".csv", "parquet": ".parquet"}
_LONGEST_NAME = 60


class LapFileError(ValueError):
    """These laps cannot be written like this; the text says why and what to do."""


def check_format(form: str) -> None:
    """Raise LapFileError for what is no format, or one whose library is not installed."""
    if form not in FORMATS:
        raise LapFileError(f"{form!r} is no format of a lap. Choose {', '.join(FORMATS)}.")
    if form == "parquet" and find_spec("pyarrow") is None:
        raise LapFileError(
            'Parquet needs pyarrow, which is not installed. Install it (pip install "ac-training[export]", or pip '
            "install pyarrow), or choose csv, which holds the same."
        )


def write(laps: Lap | Sequence[Lap], path: Path, format: str) -> tuple[Path, ...]:
    """Write a lap, or several of one track in order, into `path`, whose ending is added where it lacks it.

    Returns the files: .ld and .ldx; several laps as motec-csv are a file each, with their numbers. What is there is
    replaced. Raises LapFileError, and OSError where the disk does not take it.
    """
    check_format(format)
    chosen = [laps] if isinstance(laps, Lap) else list(laps)
    if not chosen:
        raise LapFileError("There is no lap to write.")
    ending = _ENDINGS[format]
    stem = path.name.removesuffix(ending).removesuffix(Path(ending).suffix)
    return tuple(_written(path.with_name(name), content) for name, content in _contents(chosen, stem, format))


def _contents(laps: list[Lap], stem: str, form: str) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the files of these laps."""
    ending = _ENDINGS[form]
    if form == "motec":
        yield f"{stem}.ld", ld_bytes(laps)
        yield f"{stem}.ldx", ldx_bytes(laps)
    elif form == "motec-csv":
        for number, lap in enumerate(laps, 1):
            yield stem + (f"-{number}" if len(laps) > 1 else "") + ending, csv_bytes(lap)
    else:
        yield stem + ending, _csv(laps) if form == "csv" else _parquet(laps)


def file_stem(lap: Lap) -> str:
    """A name for a lap's file, without its ending: track, lap and time, in letters that every system takes."""
    minutes, rest = divmod(round(1000.0 * lap.time), 60_000)
    return f"{_plain(lap.track)}-{_plain(lap.name)}-{minutes}m{rest // 1000:02d}s{rest % 1000:03d}"


def stint_stem(laps: Sequence[Lap]) -> str:
    """The same for several laps."""
    return f"{_plain(laps[0].track)}-{len(laps)}-laps"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", printable(name, _LONGEST_NAME)).strip("-") or "lap"


def _table(laps: Sequence[Lap]) -> dict[str, FloatArray | IntArray]:
    """Columns of all laps in a row, those that every lap has, behind the laps' numbers."""
    number = np.concatenate([np.full(len(lap.seconds), place, np.int64) for place, lap in enumerate(laps, 1)])
    columns = [lap.columns() for lap in laps]
    names = [name for name in columns[0] if all(name in each for each in columns)]
    return {"lap": number} | {name: np.concatenate([each[name] for each in columns]) for name in names}


def _csv(laps: Sequence[Lap]) -> bytes:
    table = _table(laps)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    # A float's shortest text is read back as the same float.
    writer.writerows(zip(*(values.tolist() for values in table.values()), strict=True))
    return text.getvalue().encode()


def _parquet(laps: Sequence[Lap]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lap = laps[0]
    about: Mapping[str, str] = {
        "track": lap.track,
        "driver": lap.driver,
        "car": lap.car,
        "begun": lap.begun.isoformat(),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(_table(laps)).replace_schema_metadata(about), buffer)
    return buffer.getvalue()


def _written(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    return path
