"""Which of two judgements is better, and when learning has collapsed."""

import msgspec
import pytest

from racing.evaluation import Judgement
from train_cloud.trainer.verdict import COLLAPSED, Judged, JudgedBy, Verdict


def verdict(
    *clean: int, best: float | None = None, metres: float = 1_000.0, by: JudgedBy = JudgedBy.SIMULATOR, steps: int = 1
) -> Verdict:
    judgement = Judgement(clean, ("",) * len(clean), best, (metres,) * len(clean))
    return Verdict(steps=steps, version=steps, by=by, judgement=judgement)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (verdict(0, 3, 3, best=50.0), verdict(1, 1, 1, best=70.0)),
        (verdict(1, 1, 3), verdict(1, 2, 3)),
        (verdict(3, 3, 3, best=60.0), verdict(3, 3, 3, best=59.9)),
        (verdict(3, 2, 1, best=60.0), verdict(3, 3, 1, best=61.0)),
    ],
)
def test_the_worst_start_comes_first_then_the_others_then_the_lap(worse: Verdict, better: Verdict) -> None:
    assert better.is_better(worse)
    assert not worse.is_better(better)
    assert not better.is_better(better), "the older of two alike stays"


def test_without_a_clean_lap_nobody_is_best() -> None:
    judged = Judged()
    assert not judged.take(verdict(0, 0, 0))
    assert judged.best is None
    assert judged.take(verdict(0, 0, 1, best=80.0, steps=2))
    assert not judged.take(verdict(0, 0, 0, steps=3))
    both = [judged.newest, judged.best]
    assert both == [verdict(0, 0, 0, steps=3), verdict(0, 0, 1, best=80.0, steps=2)]


def test_what_others_have_judged_does_not_compare() -> None:
    judged = Judged()
    judged.take(verdict(3, 3, 3, best=50.0))
    assert judged.take(verdict(1, best=90.0, by=JudgedBy.BRIDGES))


def test_learning_has_collapsed_when_it_gets_nowhere_several_times_in_a_row() -> None:
    judged = Judged()
    judged.take(verdict(3, 3, 3, best=50.0, metres=3_600.0))
    seen = []
    for metres in (100.0, 100.0, 800.0, 100.0, 359.0, 0.0):
        judged.take(verdict(0, 0, 0, metres=metres))
        seen.append(judged.far_behind)
    assert seen == [1, 2, 0, 1, 2, 3 if COLLAPSED == 3 else -1], "one bend that is missed is no collapse"


def test_who_never_lapped_from_everywhere_cannot_have_collapsed() -> None:
    judged = Judged()
    judged.take(verdict(3, 3, 2, best=50.0, metres=3_600.0))
    for _ in range(5):
        judged.take(verdict(0, 0, 0, metres=1.0))
    assert judged.far_behind == 0


def test_who_laps_cleanly_on_a_shorter_track_has_not_collapsed() -> None:
    judged = Judged()
    judged.take(verdict(3, 3, 3, best=50.0, metres=30_000.0))
    judged.take(verdict(1, 0, 0, best=51.0, metres=2_000.0))
    assert judged.far_behind == 0


def test_it_survives_a_checkpoint() -> None:
    judged = Judged(newest=verdict(0, 1, 2, best=61.5), best=verdict(3, 3, 3), far_behind=2, went_back_at=500)
    assert msgspec.json.decode(msgspec.json.encode(judged), type=Judged) == judged
    assert judged.figures()["newest"] == {
        "steps": 1,
        "version": 1,
        "by": "simulator",
        "clean_laps": [0, 1, 2],
        "of_laps": 3,
        "best_lap_s": 61.5,
        "ends": ["all laps driven"] * 3,
    }
