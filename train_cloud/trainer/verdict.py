"""What a judgement says of a checkpoint's policy, and what a run remembers of its judgements; without torch."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from experience.policy_driver import LAPS
from racing.evaluation import Judgement

FAR_BEHIND: Final = 0.1
"""Of the metres of the best: 0.3 of a lap where that drove three. Who fails at one bend alone gets two thirds of a lap
far from one of three starts; who gets that far from none has lost more than a bend."""
COLLAPSED: Final = 3
"""So many judgements in a row that are far behind: one alone may be a bad moment."""


class JudgedBy(StrEnum):
    """Who drove: a car of the simulator, or the run's own cars, by way of their bridges."""

    SIMULATOR = "simulator"
    BRIDGES = "bridges"


class Verdict(msgspec.Struct, kw_only=True, frozen=True):
    """How the policy of the checkpoint at `steps`, driven as `version`, did without exploration."""

    steps: int
    version: int
    by: JudgedBy
    judgement: Judgement

    def is_better(self, best: "Verdict | None") -> bool:
        """Whether it takes the best's place; it has lapped cleanly then. What others have judged does not compare."""
        if not any(self.judgement.clean):
            return False
        return best is None or self.by != best.by or self.judgement.rank > best.judgement.rank

    def is_far_behind(self, best: "Verdict | None") -> bool:
        """Whether it gets nowhere from any start, where the best has driven all its laps from every one of them."""
        if best is None or self.by != best.by or min(best.judgement.clean) < LAPS or any(self.judgement.clean):
            return False
        return max(self.judgement.metres, default=0.0) < FAR_BEHIND * max(best.judgement.metres)

    def told(self) -> str:
        """In a sentence."""
        found, laps = self.judgement, f"{LAPS} laps from each of {len(self.judgement.clean)} starts"
        best = "" if found.best is None else f", the best in {found.best:.2f} s"
        clean = "+".join(map(str, found.clean))
        return f"Driven without exploration ({self.by}), {laps}: {clean} clean in a row{best}."

    def figures(self) -> dict[str, Any]:
        """As log and metrics tell it; times in s."""
        found = self.judgement
        lap = None if found.best is None else round(found.best, 3)
        ends = [end or "all laps driven" for end in found.ends]
        where = {"steps": self.steps, "version": self.version, "by": str(self.by)}
        return where | {"clean_laps": list(found.clean), "of_laps": LAPS, "best_lap_s": lap, "ends": ends}


class Judged(msgspec.Struct, kw_only=True):
    """Judgements so far.

    Attributes:
        newest, best: None before the first, and before the first clean lap.
        far_behind: how many of the newest in a row are far behind the best.
        went_back_at: steps at which the run went back to its best checkpoint, which it does once.
    """

    newest: Verdict | None = None
    best: Verdict | None = None
    far_behind: int = 0
    went_back_at: int | None = None

    def take(self, verdict: Verdict) -> bool:
        """Note the newest; whether it is the best."""
        best = verdict.is_better(self.best)
        self.far_behind = self.far_behind + 1 if verdict.is_far_behind(self.best) else 0
        self.newest = verdict
        if best:
            self.best = verdict
        return best

    def figures(self) -> dict[str, dict[str, Any] | None]:
        """Of the newest and the best, by that name."""
        both = {"newest": self.newest, "best": self.best}
        return {name: None if verdict is None else verdict.figures() for name, verdict in both.items()}
