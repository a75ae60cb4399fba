"""`python -m scripts.bench.remote`: what stepping a PC's environments costs, beside those who do it otherwise.

A receiver process (TLS), a bridge process that serves environments to it, and this process as the trainer, beside
gymnasium's AsyncVectorEnv and RLMesh (a server process, without TLS), which step the same environments with the same
actions. All take turns. Processor time is that of all processes which take part; from it and from the time of a step
it is told what each of them adds to, or gains over, environments in this process.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from scripts.bench.measuring import head, options, row
from scripts.bench.remote_rivals import (
    ASYNC,
    LOCAL,
    OURS,
    RLMESH,
    START_SECONDS,
    Cost,
    local,
    ours,
    parallel,
    rlmesh,
    rlmesh_is_there,
)
from scripts.bench.setting import setting
from scripts.processes.crew import Crew
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import wait_until
from train_cloud.run_config import BucketConfig, EnvironmentSettings, RunConfig
from train_cloud.run_folder.files import CALLS, PAIRING, RUN_CONFIG, TOKEN_VARIABLE
from wire.pairing import format_pairing, new_token, parse_pairing

PENDULUM, CARTPOLE, CARRACING = "Pendulum-v1", "CartPole-v1", "CarRacing-v3"
STEPPED = ((PENDULUM, 1), (PENDULUM, 4), (PENDULUM, 16), (CARTPOLE, 4), (CARTPOLE, 16), (CARRACING, 4))
CPU_GOALS: Mapping[tuple[str, int], float] = {(PENDULUM, 1): 0.45, (PENDULUM, 16): 1.1}
"""Processor time, ms, that a vector step may cost more than in this process."""
RATE_GOALS: Mapping[tuple[str, int], float] = {
    **dict.fromkeys([(PENDULUM, 4), (CARTPOLE, 4)], 2.0),
    **dict.fromkeys([(PENDULUM, 16), (CARTPOLE, 16)], 4.0),
    (CARRACING, 4): 0.9,
}
"""Steps a second, of AsyncVectorEnv's."""
DELAYS = (0.0, 10.0, 25.0, 50.0)
"""Added each way, ms."""
DELAYED = (PENDULUM, 4)
_MOST_ENVIRONMENTS = 64


@dataclass(frozen=True, slots=True)
class Site:
    """A receiver that runs: its folder and process, and what a bridge needs to reach it."""

    folder: Path
    crew: Crew
    receiver: int
    uri: str

    def serve(self, names: set[str], port: int | None = None) -> int:
        """Start a bridge that serves these environments, and dials another port when there is one; its process."""
        pairing = parse_pairing(self.uri)
        uri = format_pairing(replace(pairing, port=port or pairing.port))
        offered = [argument for name in sorted(names) for argument in ("--env", name)]
        count = ("--num-envs", str(_MOST_ENVIRONMENTS))
        return self.crew.start("bridge", "bridge", "serve-env", *offered, *count, environment={"AC_BRIDGE_URI": uri})


def main() -> None:
    """Measure and print."""
    arguments = options(
        __doc__,
        seconds=(1.0, "that this project's steps take each time; all make as many"),
        repeats=(5, "of all, in turns; medians are shown"),
        rows=(tuple(f"{name}:{count}" for name, count in STEPPED), "environment and how many, or none"),
        delays=(DELAYS, "added each way, ms"),
    )
    if sys.platform != "linux":
        raise SystemExit("The processor time of other processes is read as Linux tells it: run this on Linux.")
    rows = [(name, int(count)) for name, _, count in (one.rpartition(":") for one in arguments.rows)]
    packages = ("gymnasium", "numpy", "websockets", "msgspec")
    print(setting(*packages, *(["rlmesh"] if rlmesh_is_there() else [])))
    print(f"\nLoad average at the start: {os.getloadavg()[0]:.1f}.")
    if not rlmesh_is_there():
        print("\nRLMesh is not installed, so its columns are empty: pip install rlmesh.")
    with tempfile.TemporaryDirectory() as folder, Crew(Path(folder) / "logs") as crew:
        site = _site(Path(folder), crew)
        found = {}
        bridge = site.serve({name for name, _ in rows})
        for name, count in rows:
            found[name, count] = _measured(site, bridge, name, count, arguments.seconds, arguments.repeats)
        crew.end("bridge")
        print("\n" + "\n".join(cpu_table(found)))
        print("\n" + "\n".join(rate_table(found)), flush=True)
        print("\n" + "\n".join(_delays(site, arguments.delays, arguments.repeats)))
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}.")


def _site(folder: Path, crew: Crew) -> Site:
    """A receiver with TLS, for a run that steps environments of PCs."""
    url, run, token, pairing = folder / "s3.txt", folder / RUN_CONFIG, folder / "token.txt", folder / PAIRING
    secrets = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    crew.start("s3", "scripts.bench.s3_server", str(url), "bench", environment=secrets)
    wait_until(url.exists, "the S3 server answers", START_SECONDS)
    config = RunConfig(
        run_id="bench",
        bucket=BucketConfig(name="bench", endpoint_url=url.read_text(encoding="utf-8")),
        listen_host="127.0.0.1",
        listen_port=0,
        environment=EnvironmentSettings(kind="gymnasium", id=PENDULUM, source="remote"),
    )
    run.write_bytes(msgspec.json.encode(config))
    token.write_text(new_token(), encoding="utf-8")
    environment = secrets | {TOKEN_VARIABLE: str(token)}
    receiver = crew.start(
        "receiver", "train_cloud.receiver", "--config", str(run), "--folder", str(folder), environment=environment
    )
    wait_until(pairing.exists, "the receiver listens", START_SECONDS)
    return Site(folder, crew, receiver, pairing.read_text(encoding="utf-8").strip())


def _measured(site: Site, bridge: int, name: str, count: int, seconds: float, repeats: int) -> dict[str, Cost]:
    """The median cost of a vector step, of each; they take turns, and once more beforehand, which does not count."""
    with ExitStack() as opened:
        rivals = {LOCAL: local(name, count, opened)}
        if count > 1:
            rivals[ASYNC] = parallel(name, count, opened)
        rivals[OURS] = ours(name, count, opened, site.folder / CALLS, site.receiver, bridge)
        if rlmesh_is_there():
            rivals[RLMESH] = rlmesh(name, count, opened, site.folder, site.crew, lambda port: port)
        rivals[OURS].step(20)
        steps = max(10, round(seconds / rivals[OURS].cost(20).seconds))
        return in_turns({name: partial(rival.cost, steps) for name, rival in rivals.items()}, repeats)


def in_turns(measures: Mapping[str, Callable[[], Cost]], repeats: int) -> dict[str, Cost]:
    """Medians of what each measure tells."""
    told: dict[str, list[Cost]] = {name: [] for name in measures}
    for _ in range(repeats + 1):
        for name, measure in measures.items():
            told[name].append(measure())
    return {
        name: Cost(median(one.seconds for one in costs[1:]), median(one.cpu for one in costs[1:]))
        for name, costs in told.items()
    }


def _delays(site: Site, delays: list[float], repeats: int) -> list[str]:
    """Lines of Markdown: the time of a vector step over a network that delays, and of what it adds to the delay."""
    name, count = DELAYED
    lines = [f"{name}, {count} environments, ms a vector step:\n"]
    lines.append(
        head(
            "delay each way, ms", "both ways", *(f"{one}{more}" for one in (OURS, RLMESH) for more in ("", ": steps/s"))
        )
    )
    with ExitStack() as opened:

        def proxied(port: int) -> int:
            proxies.append(opened.enter_context(FaultProxy(("127.0.0.1", port))))
            return proxies[-1].port

        proxies: list[FaultProxy] = []
        bridge = site.serve({name}, proxied(parse_pairing(site.uri).port))
        rivals = {OURS: ours(name, count, opened, site.folder / CALLS, site.receiver, bridge)}
        if rlmesh_is_there():
            rivals[RLMESH] = rlmesh(name, count, opened, site.folder, site.crew, proxied)
        for delay in delays:
            for proxy in proxies:
                proxy.latency = delay / 1000.0
            steps = round(1.0 / (0.005 + 2 * delay / 1000.0))
            costs = in_turns({one: partial(rival.cost, steps) for one, rival in rivals.items()}, repeats)
            seconds = [costs[one].seconds if one in costs else None for one in (OURS, RLMESH)]
            cells = [
                cell for one in seconds for cell in ((f"{1000 * one:.2f}", f"{count / one:.0f}") if one else ("-", "-"))
            ]
            lines.append(row(f"{delay:g}", f"{2 * delay:g}", *cells))
    return lines


def cpu_table(found: Mapping[tuple[str, int], Mapping[str, Cost]]) -> list[str]:
    """Lines of Markdown: processor time of a vector step in this process, and how much more others take."""
    others = (OURS, RLMESH, ASYNC)
    lines = ["Processor time of a vector step, ms, in all processes that take part:\n"]
    lines.append(head("environment", "number", LOCAL, *(f"{one}: over {LOCAL}" for one in others), "goal", "verdict"))
    for (name, count), costs in found.items():
        more = {one: 1000 * (costs[one].cpu - costs[LOCAL].cpu) for one in others if one in costs}
        told = [f"{more[one]:.2f}" if one in more else "-" for one in others]
        goal = CPU_GOALS.get((name, count))
        judged = ("-", "-") if goal is None else (f"at most {goal:g}", "kept" if more[OURS] <= goal else "missed")
        lines.append(row(name, count, f"{1000 * costs[LOCAL].cpu:.3f}", *told, *judged))
    return lines


def rate_table(found: Mapping[tuple[str, int], Mapping[str, Cost]]) -> list[str]:
    """Lines of Markdown: environments' steps a second, and how many times AsyncVectorEnv's that is."""
    others = (LOCAL, OURS, RLMESH)
    lines = [f"Steps a second, of all environments together, and how many times {ASYNC}'s:\n"]
    headings = (heading for one in others for heading in (one, "ratio"))
    lines.append(head("environment", "number", ASYNC, *headings, "goal", "verdict"))
    for (name, count), costs in found.items():
        if ASYNC not in costs:
            continue
        ratios = {one: costs[ASYNC].seconds / costs[one].seconds for one in others if one in costs}
        told = [
            cell
            for one in others
            for cell in ((f"{count / costs[one].seconds:.0f}", f"{ratios[one]:.2f}") if one in costs else ("-", "-"))
        ]
        goal = RATE_GOALS.get((name, count))
        judged = ("-", "-") if goal is None else (f"at least {goal:g}", "kept" if ratios[OURS] >= goal else "missed")
        lines.append(row(name, count, f"{count / costs[ASYNC].seconds:.0f}", *told, *judged))
    return lines


if __name__ == "__main__":
    main()
