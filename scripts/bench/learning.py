"""`python -m scripts.bench.learning`: how many steps of one car's driving each method needs until it laps.

For each track, method and seed one piece: a car in the simulator at the task's rate, whose exported policy is judged
without exploration, now and then, from several starts at once. Pieces take minutes each and hours together; a finished
one is a line of a file in the folder `--results`, and is never computed again for the same settings. `--quick` only
shows that it all works.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from experience.environment import racing
from racing.evaluation import drive_laps, judge, policy_actions, reference_actions
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from scripts.bench.learning_drive import PUBLISH_STEPS, SHARES_OF_SPEED, learn, learn_as_stable_baselines3
from scripts.bench.measuring import head, options, row
from scripts.bench.setting import setting

SHARED_TRACKS: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "tracks"
TRACKS: Final = (
    *("seed:7:1200", "seed:21:1800", "seed:33:2500"),
    *(str(SHARED_TRACKS / name) for name in ("ks_laguna_seca.csv", "ks_red_bull_ring-layout_gp.csv")),
)
RIVAL: Final = "stable-baselines3"
METHODS: Final[dict[str, dict[str, Any]]] = {
    RIVAL: {},
    "sac": {},
    "xqc": {"method": "xqc"},
    "tqc": {"method": "tqc"},
    "crossq": {"method": "crossq"},
}
"""What may be named, and the fields of run.json that it is; with "+laps" and so on, also what is demonstrated first."""
QUICK: Final[dict[str, Any]] = {"learning_starts": 100}
LAPS: Final = 3
STARTS: Final = 3
CLOSE: Final = 1.05
"""Of the reference driver's lap time, what counts as close to it."""
RESAMPLES: Final = 2_000
_TOLD_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One car on one track that learns for `steps`, judged every so many, by these fields of run.json."""

    track: str
    method: str
    seed: int
    steps: int
    every: int
    settings: Mapping[str, Any]

    @property
    def key(self) -> dict[str, Any]:
        """What a result must have been computed with: the task, too."""
        return asdict(self) | {"signature": racing().signature}


def compute(piece: Piece) -> dict[str, Any]:
    """The piece's result, as JSON values: its key, the reference driver's lap in s, and for each judgement the steps,
    clean laps in a row from each start, and the fastest clean lap in s or None.
    """
    began = time.monotonic()
    track = parse_track(piece.track)
    reference = drive_laps(reference_actions(ReferenceDriver(track)), track, 2).laps[-1].time
    judged: list[tuple[int, tuple[int, ...], float | None]] = []

    def look(steps: int, policy: Policy, _file: bytes) -> None:
        found = judge(policy_actions(policy), track, STARTS, LAPS)
        judged.append((steps, found.clean, found.best))

    shown = piece.method.partition("+")[2]
    ours = partial(learn, settings=piece.settings, shown=shown)
    learned = learn_as_stable_baselines3 if piece.method == RIVAL else ours
    ended = learned(track, seed=piece.seed, steps=piece.steps, every=piece.every, judge=look)
    seconds = round(time.monotonic() - began, 1)
    return piece.key | {"reference": reference, "judged": judged, "ended": ended, "seconds": seconds}


def milestones(result: Mapping[str, Any]) -> tuple[float, float, float]:
    """Steps to the first policy with a clean lap from every start, with LAPS of them, and with a lap that is CLOSE.

    Infinite for what was not reached.
    """
    rows = [(steps, min(clean), best) for steps, clean, best in result["judged"]]
    close = CLOSE * result["reference"]
    reached = (
        (steps for steps, clean, _ in rows if clean >= 1),
        (steps for steps, clean, _ in rows if clean >= LAPS),
        (steps for steps, clean, best in rows if clean >= 1 and best <= close),
    )
    return tuple(float(next(each, np.inf)) for each in reached)  # type: ignore[return-value]  # three generators


def steadiness(results: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Of the policies judged after the first with LAPS clean laps, how many have them again, and how many there are."""
    again = later = 0
    for result in results:
        passed = [min(clean) >= LAPS for _, clean, _ in result["judged"]]
        after = passed[passed.index(True) + 1 :] if True in passed else []
        again, later = again + sum(after), later + len(after)
    return again, later


def interval(by_track: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The median over tracks of the medians over seeds, and its 95 % bootstrap interval over the seeds."""
    rng = np.random.default_rng(0)
    drawn = [np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1) for values in by_track]
    draws = np.median(drawn, axis=0)
    middle = float(np.median([np.median(values) for values in by_track]))
    low, high = np.quantile(draws, (0.025, 0.975), method="nearest")
    return middle, float(low), float(high)


def finished(folder: Path) -> list[dict[str, Any]]:
    """The results in the folder, in the order of their computation; a last line that was cut off is left out."""
    results = []
    for file in sorted(folder.glob("*.jsonl")):
        whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
        results += [json.loads(line) for line in whole.splitlines()]
    return results


def find(results: Iterable[Mapping[str, Any]], piece: Piece) -> Mapping[str, Any] | None:
    """The piece's result, if it is among these."""
    key = json.loads(json.dumps(piece.key))
    return next((result for result in results if key.items() <= result.items()), None)


def keep(folder: Path, result: Mapping[str, Any]) -> None:
    """Append it to its method's file, behind whatever a killed process left unfinished there."""
    file = folder / f"{result['method']}.jsonl"
    before = file.read_text(encoding="utf-8").rpartition("\n")[0] if file.exists() else ""
    file.write_text("".join(f"{line}\n" for line in [*before.splitlines(), json.dumps(result)]), encoding="utf-8")


def table(results: Sequence[Mapping[str, Any]], tracks: Sequence[str], methods: Sequence[str], steps: int) -> list[str]:
    """Markdown: for each method and track, and for all tracks, the medians with their intervals."""
    aims = ("a clean lap", f"{LAPS} in a row", f"within {CLOSE - 1:.0%} of the reference")
    lines = [head("method", "track", "seeds", *(f"steps to {aim}" for aim in aims), "minutes", "best lap", "steady")]
    for method in methods:
        of_method = [result for result in results if result["method"] == method]
        groups = [[result for result in of_method if result["track"] == track] for track in tracks]
        shown = [(Path(track).stem, [group]) for track, group in zip(tracks, groups, strict=True) if group]
        if len(shown) > 1:
            shown.append(("all", [group for group in groups if group]))
        for name, those in shown:
            goals = [
                interval([[milestones(result)[which] for result in group] for group in those]) for which in range(3)
            ]
            every_one = [result for group in those for result in group]
            again, later = steadiness(every_one)
            minutes = goals[1][0] / TaskConfig().control_hz / 60.0
            cells = [_goal(goal, steps) for goal in goals]
            cells += [f"{minutes:.1f}" if np.isfinite(minutes) else "-", _best(every_one), f"{again} of {later}"]
            lines.append(row(method, name, len(every_one), *cells))
    return lines


def _goal(goal: tuple[float, float, float], steps: int) -> str:
    middle, low, high = (f"{value:,.0f}" if np.isfinite(value) else f"> {steps:,}" for value in goal)
    return f"{middle} [{low}; {high}]"


def _best(results: Iterable[Mapping[str, Any]]) -> str:
    """The fastest clean lap of each piece, over the reference driver's, in the median."""
    laps = [[best / result["reference"] for *_, best in result["judged"] if best] for result in results]
    shares = [min(those, default=np.inf) for those in laps]
    middle = float(np.median(shares))
    return f"{middle:.3f}" if np.isfinite(middle) else "-"


def main() -> ExitCode:
    """Compute what is missing, then print the table of what was asked for."""
    wanted = options(
        __doc__,
        tracks=(TRACKS, "tracks, as the bridge names them"),
        methods=(tuple(METHODS), "methods"),
        seeds=((0, 1, 2, 3, 4), "seeds"),
        steps=(40_000, "steps that each piece drives"),
        every=(1_000, "steps between two judgements"),
        results=("build/bench-learning", "folder of the finished pieces"),
        quick=(False, "one piece of 300 steps for each method"),
    )
    torch.set_num_threads(1)
    if wanted.quick:
        wanted.tracks, wanted.seeds, wanted.steps, wanted.every = TRACKS[:1], (0,), 300, 100
    problem = _problem(wanted.methods, wanted.tracks, wanted.steps, wanted.every)
    if problem:
        print(problem, file=sys.stderr)
        return ExitCode.USAGE
    folder = Path(wanted.results)
    folder.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that what there is after an interruption covers all tracks and methods.
    asked = product(wanted.seeds, wanted.tracks, wanted.methods)
    settings = {name: fields | (QUICK if wanted.quick else {}) for name, fields in METHODS.items()}
    pieces = [
        Piece(track, method, seed, wanted.steps, wanted.every, settings[method.partition("+")[0]])
        for seed, track, method in asked
    ]
    results, told = [], time.monotonic()
    for number, piece in enumerate(pieces, 1):
        result = find(finished(folder), piece)
        if result is None:
            result = compute(piece)
            keep(folder, result)
        results.append(result)
        if time.monotonic() > told + _TOLD_AFTER_SECONDS:
            told = time.monotonic()
            print(f"{number} of {len(pieces)} pieces", file=sys.stderr, flush=True)
    print(f"{setting('numpy', 'torch', 'stable-baselines3')}\n")
    print("\n".join(table(results, wanted.tracks, wanted.methods, wanted.steps)))
    return ExitCode.OK


def _problem(methods: Iterable[str], tracks: Iterable[str], steps: int, every: int) -> str:
    """What is wrong with what was asked for, as a sentence; or ""."""
    shown = [f"{method}+{kind}" for method in METHODS if method != RIVAL for kind in SHARES_OF_SPEED]
    unknown = [method for method in methods if method not in METHODS and method not in shown]
    if unknown:
        known = f"{', '.join(METHODS)}, and all but the first with +{', +'.join(SHARES_OF_SPEED)}"
        return f"There is no method called {', '.join(unknown)}; there are: {known}."
    if every % PUBLISH_STEPS or steps % every:
        return f"--steps must be a multiple of --every, and that of {PUBLISH_STEPS}."
    try:
        for track in tracks:
            parse_track(track)
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
