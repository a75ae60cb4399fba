"""Reads what a run has left for those who watch: its store, live.json, and the files of an instance's guards.

Nothing is ever written, and a look costs little: the tables are read again only when somebody has committed something,
and of the curves only what is new. Everything here belongs to one thread.
"""

import math
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from racing.track import TrackError
from train_cloud.bridge_table import standings
from train_cloud.dashboard.course import Course, course_of
from train_cloud.dashboard.look import Seen, look_document
from train_cloud.dashboard.money import Money, money_of
from train_cloud.dashboard.reference import Reference, ReferenceLap
from train_cloud.dashboard.standing import Facts
from train_cloud.dashboard.track_map import TrackMap
from train_cloud.environment import task_config
from train_cloud.history_table import Point, beats, points, report
from train_cloud.lap_table import LapTrace, laps, traces
from train_cloud.live_file import LiveFile, read_live
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import LIVE, STORE
from train_cloud.spot_table import Spot, spots
from train_cloud.store import Store, StoreError
from train_cloud.track_table import only_track
from train_cloud.track_table import track as chosen_track

MONEY_SECONDS: Final = 5.0
"""Between two looks at the guards' files, which are written each minute."""
_LAPS: Final = 20


class Reading:
    """Looks at the run of `config` in its `folder`; `instance_folder` is where an instance has its settings."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        instance_folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._folder, self._instance_folder, self._clock = config, folder, instance_folder, clock
        self._racing = config.environment.kind == "racing"
        self._reference = Reference()
        self._money: tuple[float, Money | None] = (-math.inf, None)
        self._live_stamp: tuple[int, int] | None = None
        self._live: LiveFile | None = None
        self._store: Store | None = None
        self._forget()

    def close(self) -> None:
        """Let go of the store, and of the child that drives the reference lap."""
        self._reference.close()
        self._forget()

    def look(self) -> dict[str, Any]:
        """The document of this moment."""
        self._refresh()
        facts = Facts(
            now=self._clock(),
            trouble=self._trouble,
            total_timesteps=self._config.total_timesteps,
            learning_starts=0 if self._config.method == "ppo" else self._config.learning_starts,
            remote=self._config.environment.source == "remote",
            moved_at=self._moved_at,
            learned_at=self._learned_at,
            course=self._course,
            money=self._money_now(),
            **self._known,
        )
        reference = self._reference_lap()
        revisions = {
            "history": next(reversed(self._points), 0),
            "laps": self._newest_lap,
            "track": "" if self._map is None else self._map.sha256,
            "traces": self._traces_crc + (2**32 if reference is not None else 0),
        }
        return look_document(self._config, facts, Seen(reference=reference, revisions=revisions, **self._seen))

    def changed(self) -> bool:
        """Whether the store holds something that the newest look did not have."""
        if self._store is None:
            return False
        try:
            return self._data_version(self._store) != self._version
        except StoreError:
            return True

    def history(self, after: int = 0) -> bytes:
        """The points of the curves after the one of this id, as JSON."""
        self._refresh()
        found = [(number, point) for number, point in self._points.items() if number > after]
        tags = sorted({tag for _, point in found for tag in point.values})
        document = {
            "last_id": found[-1][0] if found else after,
            "at": [point.at for _, point in found],
            "steps": [point.steps for _, point in found],
            "life": [point.life for _, point in found],
            "series": {tag: [_finite(point.values.get(tag)) for _, point in found] for tag in tags},
        }
        return msgspec.json.encode(document)

    def track(self) -> bytes | None:
        """The track's outline as JSON; None while it is unknown, and in runs without one."""
        self._refresh()
        return None if self._map is None else msgspec.json.encode(self._map.outline())

    def traces(self) -> bytes:
        """The laps that are drawn, with their points on the track, as JSON."""
        self._refresh()
        drawn = dict(self._traces)
        if (reference := self._reference_lap()) is not None:
            drawn["reference"] = reference.trace
        return msgspec.json.encode({kind: self._drawn(trace) for kind, trace in drawn.items()})

    def live(self) -> dict[str, Any] | None:
        """Where the cars are, when that is news; else None."""
        file, stamp = self._folder / LIVE, None
        with suppress(OSError):
            stat = file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
        if self._map is None or stamp is None or stamp == self._live_stamp:
            return None
        live = read_live(file)
        if live is None:
            return None
        self._live_stamp, self._live = stamp, live
        return self._placed(live)

    def newest_live(self) -> dict[str, Any] | None:
        """Where the cars were last, and where they left the track; None where nobody has told either."""
        if self._live is not None:
            return self._placed(self._live)
        return self._placed(LiveFile(self._clock(), spots=self._heard)) if self._taken_up or self._heard else None

    def _placed(self, live: LiveFile) -> dict[str, Any] | None:
        if self._map is None:
            return None
        now, cars = self._clock(), live.bridges
        points = self._map.points([car.place or 0.0 for car in cars], [car.gap or 0.0 for car in cars])
        told = []
        for car, point in zip(cars, points, strict=True):
            # Who knows no place has no point on the map, and figures all the same.
            x, y = (None, None) if car.place is None else point
            said = asdict(car)
            age = round(max(0.0, now - said.pop("at")), 2)
            del said["place"], said["gap"]
            told.append({"x": x, "y": y, "age_s": age} | said)
        left = [*self._taken_up, *live.spots]
        off_track = self._map.points([place for place, _ in left], [gap for _, gap in left])
        return {"at": live.at, "cars": told, "spots": off_track}

    def _forget(self) -> None:
        """Begin anew, as with a store that is not there."""
        if self._store is not None:
            self._store.close()
        self._store = None
        self._inode = self._version = -1
        self._trouble = ""
        self._known: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        self._points: dict[int, Point] = {}
        self._course = Course()
        self._traces: dict[str, LapTrace] = {}
        self._traces_crc = self._newest_lap = 0
        self._taken_up: tuple[Spot, ...] = ()
        self._heard: tuple[Spot, ...] = ()
        self._map: TrackMap | None = None
        self._track_looked_at = -1
        self._moved_at = self._learned_at = self._clock()

    def _refresh(self) -> None:
        """Read what has changed; what keeps it from that is the trouble of the next look."""
        try:
            self._read_tables()
        except StoreError as error:
            self._forget()
            self._trouble = str(error)

    def _read_tables(self) -> None:
        store = self._opened()
        version = self._data_version(store)
        if version == self._version:
            return
        before = self._known
        stored, safe = store.totals()
        progress = store.progress()
        known: dict[str, Any] = {
            "beats": beats(store),
            "progress": progress,
            "stored_steps": stored,
            "report": report(store),
            "bridges": standings(store),
        }
        now = self._clock()
        if before:
            self._moved_at = now if stored != before["stored_steps"] else self._moved_at
            self._learned_at = now if progress.updates != before["progress"].updates else self._learned_at
        self._read_points(store)
        self._read_traces(store)
        self._read_track(store)
        self._taken_up, self._heard = spots(store, "taken_up"), spots(store, "heard")
        self._newest_lap = store.rows("SELECT COALESCE(MAX(id), 0) FROM laps")[0][0]
        self._seen = {"laps": laps(store, _LAPS), "safe_steps": safe, "newest_version": store.newest_version()}
        self._known, self._version, self._trouble = known, version, ""

    def _opened(self) -> Store:
        """The store that lies there now."""
        file, inode = self._folder / STORE, -1
        with suppress(OSError):
            inode = file.stat().st_ino
        if self._store is not None and inode != self._inode:
            self._forget()
        if self._store is None:
            self._store, self._inode = Store(file, read_only=True), inode
        return self._store

    def _data_version(self, store: Store) -> int:
        return int(store.rows("PRAGMA data_version")[0][0])

    def _read_points(self, store: Store) -> None:
        last = next(reversed(self._points), 0)
        new = points(store, last)
        count = store.rows("SELECT COUNT(*) FROM points")[0][0]
        if count != len(self._points) + len(new):
            # Some were thinned out, or forgotten by a run that went back to its checkpoint.
            self._points, new = {}, points(store)
            last = -1
        self._points |= dict(new)
        if new or last < 0:
            self._course = course_of(list(self._points.values()))

    def _read_traces(self, store: Store) -> None:
        texts = store.rows("SELECT content FROM traces ORDER BY kind")
        crc = zlib.crc32(b"".join(bytes(content) for (content,) in texts))
        if crc != self._traces_crc:
            self._traces_crc, self._traces = crc, traces(store)

    def _read_track(self, store: Store) -> None:
        """The track; once it is known it is not read again until there is another."""
        count = store.rows("SELECT COUNT(*) FROM tracks")[0][0] if self._racing else 0
        if count == self._track_looked_at:
            return
        self._track_looked_at = count
        chosen = self._config.environment.track
        text = only_track(store) if chosen is None else chosen_track(store, chosen)
        try:
            self._map = None if text is None else TrackMap(text)
        except TrackError:
            self._map = None

    def _reference_lap(self) -> ReferenceLap | None:
        if self._map is None:
            return None
        return self._reference.lap(self._map.sha256, self._map.text, task_config(self._config))

    def _money_now(self) -> Money | None:
        """As the guards' files said within the last MONEY_SECONDS."""
        if self._instance_folder is None:
            return None
        now = time.monotonic()
        if now - self._money[0] >= MONEY_SECONDS:
            self._money = (now, money_of(self._instance_folder, (self._instance_folder, self._folder)))
        return self._money[1]

    def _drawn(self, trace: LapTrace) -> dict[str, Any]:
        points = [] if self._map is None else self._map.points(trace.metres, trace.gap)
        return asdict(trace) | {"x": [x for x, _ in points], "y": [y for _, y in points]}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
