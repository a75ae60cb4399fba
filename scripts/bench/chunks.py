"""`python -m scripts.bench.chunks`: laps of cars that are driven from afar, over links of several delays.

Cars in the simulator, all time simulated: the reference driver and a learned policy plan chunks of actions, which a
PC's player applies; beside them the same drivers on the spot. A policy that has learned over the link of LATE_DELAY
stands in the same table. Both learn first, unless there are files of them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch

from racing.evaluation import Actor, judge, policy_actions, reference_actions
from racing.link_model import LinkModel
from racing.policy import Policy
from racing.prediction import PREDICTIONS
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import Track, parse_track
from scripts.bench.chunks_drive import Driven, drive, link_of
from scripts.bench.learning_drive import learn
from scripts.bench.measuring import head, options, row
from scripts.bench.setting import setting

DELAYS: Final = (0, 20, 50, 100, 200)
COUNTS: Final = (1, 5, 10, 20)
LATE_DELAY: Final = 0.02
"""s each way: a control step there and back, so that an observation tells of all actions that are under way."""
HZ: Final = TaskConfig().control_hz


def there_and_back(delay: float) -> LinkModel:
    """The link of `delay` s each way as one, whose controls come so late."""
    way = link_of(delay, HZ)
    return LinkModel(tuple(2.0 * each for each in way.delays), 2.0 * way.stalls_per_second, way.stall_seconds)


def learned(track: Track, file: Path, steps: int, link: LinkModel | None) -> Policy:
    """The best of the policies that learned for so many steps, by `link` or on the spot; kept in `file`."""
    best: list[tuple[tuple[int, ...], float]] = []

    def look(driven: int, policy: Policy, data: bytes) -> None:
        rank = judge(policy_actions(policy), track, link=link).rank
        print(f"{file.stem}: {driven} steps, clean laps {rank[0]}, best {-rank[1]:.2f} s", file=sys.stderr)
        if not best or rank > best[0]:
            best[:] = [rank]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    if (problem := learn(track, {}, 0, steps, 2_000, look, link=link)) and not best:
        raise SystemExit(f"Nothing was learned: {problem}")
    return Policy.from_bytes(file.read_bytes())


def rows(
    track: Track,
    name: str,
    act: Actor,
    delays: tuple[int, ...],
    counts: tuple[int, ...],
    seconds: float,
    cars: int,
    predict: str,
    trained: float,
) -> Iterator[str]:
    """The table's lines of one driver."""
    if not trained:
        yield row(name, "local", "-", *cells(drive(track, act, seconds, cars, None)))
    for delay in delays:
        for count in counts:
            driven = drive(track, act, seconds, cars, delay / 1000.0, count, PREDICTIONS[predict], trained)
            yield row(name, f"{delay} ms", count, *cells(driven))


def cells(driven: Driven) -> tuple[str, ...]:
    """Mean and best clean lap, clean laps of all, ends for each 10 km, and the share of steps of the watchdog."""
    ends, played = sum(driven.ends.values()), driven.played
    steps = sum(played[state] for state in ("fresh", "late", "held", "watchdog"))
    return (
        f"{np.mean(driven.clean):.2f} s" if driven.clean else "-",
        f"{min(driven.clean):.2f} s" if driven.clean else "-",
        f"{len(driven.clean)} of {driven.laps}",
        f"{1e4 * ends / driven.metres:.1f}",
        f"{played['watchdog'] / steps:.1%}" if steps else "-",
    )


def main() -> None:
    """Learn, measure and print."""
    wanted = options(
        __doc__,
        track=("seed:7:1200", "as the bridge names it"),
        delays=(DELAYS, "each way, ms"),
        counts=(COUNTS, "actions of a chunk"),
        drivers=(("reference", "policy", "late"), "of these: reference, policy, late (learned over the link)"),
        predictions=(("steered",), "how the driver foretells the car: " + ", ".join(PREDICTIONS)),
        seconds=(50.0, "simulated, of each car"),
        cars=(10, "of each drive, from the straights before the line"),
        policy=("build/bench-chunks/policy.safetensors", "a policy; one that is not there learns"),
        late=("build/bench-chunks/late.safetensors", "a policy that has learned over the link, likewise"),
        steps=(40_000, "that a policy learns for"),
    )
    torch.set_num_threads(1)
    track = parse_track(wanted.track)
    print(setting("numpy", "torch") + "\n")
    print(head("driver", "each way", "actions", "clean lap", "best", "clean", "ends in 10 km", "watchdog"))
    for name in wanted.drivers:
        trained = there_and_back(LATE_DELAY).median if name == "late" else 0.0
        if name == "reference":
            act = reference_actions(ReferenceDriver(track))
        else:
            file = Path(wanted.policy if name == "policy" else wanted.late)
            link = there_and_back(LATE_DELAY) if name == "late" else None
            known = file.exists()
            act = policy_actions(
                Policy.from_bytes(file.read_bytes()) if known else learned(track, file, wanted.steps, link)
            )
        for predict in wanted.predictions:
            title = name if predict == "steered" else f"{name}, {predict}"
            for line in rows(
                track, title, act, wanted.delays, wanted.counts, wanted.seconds, wanted.cars, predict, trained
            ):
                print(line, flush=True)


if __name__ == "__main__":
    main()
