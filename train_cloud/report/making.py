"""Makes the report of a run and what lies beside it, the page first: what comes after it costs time, and may fail."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from racing.lap import Lap
from racing.lap_files import LapFileError
from runtime.logs import fields
from train_cloud.code_version import code_version
from train_cloud.environment import task_config
from train_cloud.object_store import ObjectStore
from train_cloud.report.courses import Course, NotALap, course_of_lap, course_of_trace, reference_lap
from train_cloud.report.exports import lap_of, write_lap
from train_cloud.report.facts import Facts, gather
from train_cloud.report.lap_section import Courses
from train_cloud.report.numbers import moment
from train_cloud.report.page import page
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import RUN_CONFIG

PAGE: Final = "report.html"
MOST_BYTES: Final = 5_000_000
"""Of the page."""
LAP_PICTURE, CURVES_PICTURE, ANIMATION, LAP_STEM = "lap.png", "curves.png", "lap.gif", "best-lap"
NAMES: Final = {"best": "policy's best", "newest": "policy's newest", "human": "human's best"}
REFERENCE: Final = "reference driver"

_log = logging.getLogger(__name__)


def make_report(
    config: RunConfig, objects: ObjectStore, folder: Path, reference_within: float = float("inf")
) -> Iterator[Path]:
    """Make the report of the run of `config` in `folder`, which is made; yields each file once it is whole.

    The reference driver has `reference_within` s for its lap.

    The page comes first and settles what is known; a picture or an export that fails is a warning. Raises
    ObjectStoreError where the bucket cannot be read, and OSError where the page cannot be written.
    """
    facts = gather(config, objects)
    courses, reference = _courses(facts, reference_within)
    folder.mkdir(parents=True, exist_ok=True)
    steps = list(_beside(facts, courses, reference, folder))
    content = page(facts, courses, code_version(), [name for name, _ in steps])
    if len(content) > MOST_BYTES:
        raise ValueError(f"the page would have {len(content)} bytes, more than {MOST_BYTES}")
    (folder / PAGE).write_bytes(content)
    yield folder / PAGE
    for name, make in steps:
        try:
            yield from make()
        except (OSError, ValueError, LapFileError, RuntimeError) as error:
            _log.warning("a part of the report could not be made", extra=fields(part=name, reason=str(error)))


def _courses(facts: Facts, within: float) -> tuple[Courses, Lap | None]:
    """The laps that are known, and the reference driver's with all that its car says."""
    track, found, unusable = facts.track, dict[str, Course](), list[str]()
    if not facts.racing:
        return Courses(), None
    for kind, trace in facts.history.traces.items():
        if kind in NAMES:
            try:
                found[kind] = course_of_trace(NAMES[kind], trace, track.length if track else None)
            except NotALap as error:
                unusable.append(f"The history's course of the {NAMES[kind]} lap cannot be drawn: {error}.")
    reference = None if track is None else reference_lap(track, task_config(facts.config), within)
    if track is not None and reference is None:
        unusable.append(
            "The reference driver did not come round this track in the simulator in time: there is no yardstick."
        )
    driven = None if reference is None else course_of_lap(REFERENCE, reference)
    return Courses(**found, reference=driven, unusable=unusable), reference


def _beside(
    facts: Facts, courses: Courses, reference: Lap | None, folder: Path
) -> Iterator[tuple[str, Callable[[], list[Path]]]]:
    """What there is to make beside the page: its name, and what makes its files."""
    best, track = courses.best, facts.track

    def settings() -> list[Path]:
        (folder / RUN_CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(facts.settings), indent=2))
        return [folder / RUN_CONFIG]

    yield RUN_CONFIG, settings
    if best is not None and track is not None:
        ended = next((row.at for row in facts.history.laps if abs(row.time - best.time) < 1e-6), None)
        at = moment(ended) or moment(facts.metrics.get("updated")) or datetime.now(UTC)
        driver = f"{facts.config.run_id} v{best.version}"
        yield LAP_STEM, lambda: write_lap(lap_of(best, track, driver, at), folder / LAP_STEM)
    if reference is not None:
        yield "reference-lap", lambda: write_lap(reference, folder / "reference-lap")
    if find_spec("matplotlib") is None:
        facts.missing.append(
            "matplotlib is not installed here, so there are no pictures beside this page (pip install matplotlib)."
        )
        return
    from train_cloud.report import pictures

    if best is not None and track is not None:
        others = [(one, kind) for one, kind in ((courses.reference, "reference"), (courses.human, "human")) if one]
        yield (
            LAP_PICTURE,
            lambda: _drawn(folder / LAP_PICTURE, lambda file: pictures.draw_lap(file, track, best, others)),
        )

    def curves() -> list[Path]:
        return [folder / CURVES_PICTURE] if pictures.draw_curves(folder / CURVES_PICTURE, facts) else []

    if facts.points or facts.history.laps:
        yield CURVES_PICTURE, curves
    if best is not None and track is not None:
        other = courses.human or courses.reference
        yield ANIMATION, lambda: _drawn(folder / ANIMATION, lambda file: pictures.animate_lap(file, track, best, other))


def _drawn(file: Path, draw: Callable[[Path], None]) -> list[Path]:
    draw(file)
    return [file]
