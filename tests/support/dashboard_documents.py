"""What a dashboard tells its page, for tests: documents of a run before its first bridge, and of one that learns.

Track and laps are real: a generated track, driven by the reference driver in the simulator. The rest is made up.
"""

import math
import time
from functools import cache
from typing import Any

import numpy as np

from racing.car import Controls, FloatArray
from racing.racing_line import racing_line
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.track import Track

PACES = (0.94, 0.96, 1.0)
"""Of the policy, the human and the reference driver itself."""
_PERIOD = 0.04
_SAMPLES = 600

Document = dict[str, Any]


@cache
def track() -> Track:
    """The circuit that everything here drives on."""
    return Track.generate(7, 1000.0)


@cache
def _driven_laps() -> dict[float, Document]:
    """A lap of the reference driver at each of PACES, as the dashboard tells a LapTrace."""
    circuit = track()
    car, line = SimulatedCar(circuit, len(PACES), start="line"), racing_line(circuit)
    drivers = [ReferenceDriver(circuit, line=line, pace=pace) for pace in PACES]
    rows: list[list[list[float]]] = [[] for _ in PACES]
    laps, before = np.zeros(len(PACES)), circuit.project(car.read().position).s
    while laps.min() < 2:
        state = car.read()
        at = circuit.project(state.position)
        laps += before - at.s > circuit.length / 2
        before = at.s
        speed, pedals = np.hypot(*state.velocity.T), state.throttle - state.brake
        row = np.column_stack([state.time, at.s, at.gap, speed, state.steer, pedals, state.gear, state.position])
        for n in np.flatnonzero(laps == 1):
            rows[n].append(row[n].tolist())
        wanted = [driver.controls(state) for driver in drivers]
        own = [
            [getattr(controls, name)[n] for n, controls in enumerate(wanted)] for name in ("steer", "throttle", "brake")
        ]
        car.apply(Controls(*map(np.array, own)))
        car.advance(_PERIOD)
    return {pace: _trace(np.array(rows[n])) for n, pace in enumerate(PACES)}


def _trace(table: FloatArray) -> Document:
    table[:, 0] -= table[0, 0]
    kept = table[np.linspace(0, len(table) - 1, min(_SAMPLES, len(table))).round().astype(int)]
    names = ("seconds", "metres", "gap", "speed", "steer", "pedals", "gear", "x", "y")
    trace: Document = {name: column.round(3).tolist() for name, column in zip(names, kept.T, strict=True)}
    return trace | {"time": round(float(table[-1, 0]) + _PERIOD, 3), "version": 0, "steps": 0}


def driven_lap(pace: float) -> Document:
    """The lap at one of PACES, a share of the speed that the reference driver can drive."""
    return _driven_laps()[pace]


def sectors(trace: Document) -> list[float]:
    """Its sector times in s, by thirds of the track."""
    borders = np.interp(np.arange(4) / 3 * track().length, trace["metres"], trace["seconds"])
    borders[3] = trace["time"]
    return [float(seconds) for seconds in np.diff(borders).round(3)]


def track_document() -> Document:
    """What /api/track tells of the circuit."""
    circuit = track()
    s = np.linspace(0.0, circuit.length, 400, endpoint=False)
    left, right = circuit.widths_at(s)
    lines = {"centre": circuit.position_at(s), "left": circuit.position_at(s, left)}
    lines["right"] = circuit.position_at(s, -right)
    told = {name: points.round(2).tolist() for name, points in lines.items()}
    return {"name": circuit.name, "length_m": circuit.length} | told


def history_document(count: int, now: float, lives: int = 2) -> Document:
    """Points of a run that learns, with as many lives, each going on a little before the end of the last."""
    at = [now - 20.0 * (count - n) for n in range(count)]
    life = [1 + n * lives // count for n in range(count)]
    steps = [500 * n - 3000 * (life[n] - 1) for n in range(count)]
    noise = np.random.default_rng(1).normal(size=count)
    share = np.linspace(0.0, 1.0, count)
    best = driven_lap(0.94)["time"]
    clean = share > 0.25
    newest = best + 12.0 * (1.0 - share) ** 1.5 + np.abs(noise)
    judged = np.clip(np.floor(14 * share - 3), 0, 9)
    columns = {
        "drive/mean_reward": 900.0 * share**0.7 + 40.0 * noise,
        "drive/newest_lap_s": np.where(clean, newest, np.nan),
        "drive/policy_lap_s": np.where(clean, np.minimum.accumulate(np.where(clean, newest, np.inf)), np.nan),
        "drive/human_lap_s": np.full(count, driven_lap(0.96)["time"]),
        "judged/newest_clean_laps": np.where(share > 0.1, judged, np.nan),
        "judged/best_clean_laps": np.where(share > 0.1, np.maximum.accumulate(judged), np.nan),
        "rate/update_ratio": 1.0 + 0.05 * noise,
        "train/critic_loss": 8.0 * np.exp(-3.0 * share) + 0.3 * np.abs(noise),
        "train/actor_loss": -90.0 * share + 4.0 * noise,
        "train/ent_coef": 0.4 * np.exp(-4.0 * share) + 0.01,
    }
    series = {tag: [None if math.isnan(v) else round(v, 4) for v in values.tolist()] for tag, values in columns.items()}
    return {"last_id": count, "at": at, "steps": steps, "life": life, "series": series}


def bridge_document(number: int, connected: bool = True, name: str | None = None) -> Document:
    """A bridge's link, of which each differs a little."""
    return {
        "bridge": name or f"gaming-pc-{number}", "stream": f"stream-{number}", "connected": connected,
        "heard_at": time.time(), "age_s": 0.2 + 0.1 * number if connected else 73.0, "role": "collect",
        "steps_per_second": 19.9 if connected else None, "off_period_steps": 3 * number,
        "action_age_s": 0.0042 + 0.0004 * number,
        "unsent_steps": 120 * (not connected), "round_trip_s": 0.018 + 0.003 * number if connected else None,
        "policy_version": 41 - number % 6, "newest_version": 41,
    }  # fmt: skip


def car_document(number: int, share: float, pace: float = 0.94) -> Document:
    """A car at this share of the lap's time."""
    trace = driven_lap(pace)
    at = int((share % 1.0) * (len(trace["x"]) - 1))
    pedals = trace["pedals"][at]
    return {
        "stream": f"stream-{number}", "bridge": f"gaming-pc-{number}", "x": trace["x"][at], "y": trace["y"][at],
        "speed": trace["speed"][at], "gear": int(trace["gear"][at]), "throttle": max(0.0, pedals),
        "brake": max(0.0, -pedals),
        "steer": trace["steer"][at], "laps": 12, "lap_time": trace["seconds"][at], "delta": 0.31, "age_s": 0.05,
    }  # fmt: skip


def empty_look() -> Document:
    """What is known before the first bridge."""
    return {
        "now": time.time(), "run_id": "spa-2026-11", "method": "sac", "racing": True,
        "verdict": {
            "word": "waiting", "level": "wait", "title": "Waiting for a bridge",
            "reason": "No bridge has connected so far.",
            "advice": "Start one on the gaming PC: make bridge URI=…",
        },
        "progress": {
            "state": "waiting", "steps": 0, "trained_steps": 0, "total_timesteps": 1_000_000, "updates": 0,
            "update_ratio": None,
            "steps_per_second": 0.0, "updates_per_second": 0.0, "seconds_left": None, "mean_reward": None,
            "reward_trend": None,
            "mean_metres": None, "mean_laps": None, "losses": {},
        },
        "laps": {"count": 0, "clean": 0, "best": None, "last": None, "human": None, "reference": None, "recent": []},
        "judged": {"newest": None, "best": None}, "bridges": [], "money": None,
        "safety": {"checkpoint_steps": None, "unsafe_steps": 0, "would_lose": "nothing"},
        "revisions": {"history": 0, "laps": 0, "track": "", "traces": 0},
    }  # fmt: skip


def learning_look(bridges: int = 1) -> Document:
    """A run that goes well, some way in."""
    best, human, reference = (driven_lap(pace) for pace in (0.94, 0.96, 1.0))

    def lap(trace: Document, delta: float | None = None) -> Document:
        return {"time_s": trace["time"], "sectors_s": sectors(trace), "clean": True, "delta_s": delta}

    recent = []
    for n in range(20):
        slower = 1.0 + 0.004 * n + 0.003 * (n % 3)
        times = [round(slower * (1 + 0.001 * ((n + k) % 4)) * seconds, 3) for k, seconds in enumerate(sectors(best))]
        row = {"at": time.time() - 130.0 * n, "steps": 412_000 - 2600 * n, "version": 0 if n == 6 else 41 - n}
        recent.append(row | {"time": round(sum(times), 3), "sectors": times})
    recent[1] |= {"time": best["time"], "sectors": sectors(best)}
    judged = {
        "steps": 410_000,
        "version": 41,
        "by": "laps",
        "clean_laps": [3, 3, 2],
        "of_laps": 3,
        "best_lap_s": best["time"],
    }
    last = lap(best, best["time"] + 0.412 - human["time"]) | {"time_s": best["time"] + 0.412}
    look = empty_look()
    look["verdict"] = {
        "word": "learning", "level": "good", "title": "Learning",
        "reason": "The last 50 episodes went 2,140 m on average, 180 m further than before; 8 of 9 laps judged clean.",
        "advice": "Nothing to do.",
    }  # fmt: skip
    look["progress"] |= {
        "state": "training", "steps": 412_380, "trained_steps": 412_000, "updates": 411_200, "update_ratio": 1.0,
        "steps_per_second": 19.9, "updates_per_second": 20.1, "seconds_left": 29_500.0, "mean_reward": 812.0,
        "reward_trend": 14.0,
        "mean_metres": 2140.0, "mean_laps": 1.1, "losses": {"critic_loss": 0.42, "actor_loss": -88.1},
    }  # fmt: skip
    look["laps"] = {
        "count": 264, "clean": 171, "best": lap(best, best["time"] - human["time"]), "last": last,
        "human": lap(human), "reference": lap(reference, reference["time"] - human["time"]), "recent": recent,
    }  # fmt: skip
    look["judged"] = {"newest": judged, "best": judged}
    look["bridges"] = [bridge_document(n) for n in range(1, bridges + 1)]
    look["money"] = {"spent_usd": 7.42, "usd_per_hour": 0.241, "budget_usd": 20.0, "hours_left": 52.2, "launches": 2}
    look["safety"] = {"checkpoint_steps": 410_000, "unsafe_steps": 0, "would_lose": "nothing"}
    look["revisions"] = {"history": 400, "laps": 171, "track": "f0a1", "traces": 3}
    return look


def traces_document() -> Document:
    """The laps that are compared: the policy's best, the human's and the reference driver's."""
    return {"best": driven_lap(0.94) | {"version": 40}, "human": driven_lap(0.96), "reference": driven_lap(1.0)}
