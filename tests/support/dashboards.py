"""Real dashboards for tests, on a free port of loopback in a thread, and a browser's bare necessities."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from racing.track import Track
from racing.track_text import track_hash, track_text
from tests.support.runs import run_config
from tests.support.waiting import PATIENCE, wait_until
from train_cloud.bridge_table import BridgeStanding, put_standings
from train_cloud.dashboard.reading import Reading
from train_cloud.dashboard.server import bound, serve
from train_cloud.dashboard.sessions import cookie_name
from train_cloud.history_table import beats, put_beat
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import STORE
from train_cloud.store import Store, TrainerProgress
from train_cloud.track_table import put_track

TOKEN = "TheDashboardsOwnToken0123"
CONFIG = run_config(run_id="dashboard-test")


@dataclass(slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Browser:
    """Talks to a dashboard as a browser would, without following anything; keeps the session's cookie."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        """One request; in the names of headers an underscore stands for a hyphen."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60 * PATIENCE)
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.msg, response.read())
        finally:
            connection.close()
        if (given := answer.headers.get("Set-Cookie")) is not None:
            self.cookie = given.partition(";")[0]
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        headers.setdefault("Content_Type", "application/x-www-form-urlencoded")
        return self.ask("POST", path, urlencode(fields or {}), **headers)

    def log_in(self, token: str = TOKEN) -> "Browser":
        assert self.post("/login", {"token": token}).status == 303
        return self

    @contextmanager
    def stream(self) -> Iterator["Stream"]:
        """The events of /stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60 * PATIENCE)
        try:
            connection.request("GET", "/stream", headers=self.headers | {"Cookie": self.cookie})
            yield Stream(connection.getresponse())
        finally:
            connection.close()


class Stream:
    """Server-sent events as they come."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    def next(self, kind: str) -> Any:
        """The data of the next event of this kind."""
        name = ""
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: ") and name == kind:
                return json.loads(text.removeprefix("data: "))
        raise EOFError("the stream has ended")


class ThreadedDashboard:
    """A dashboard over `folder`, without TLS, in a thread; its reading is open to the test."""

    def __init__(self, folder: Path, config: RunConfig = CONFIG, instance_folder: Path | None = None) -> None:
        self.reading = Reading(config, folder, instance_folder)
        self.stop = threading.Event()
        self.url = ""
        listening = bound("127.0.0.1", 0)
        self.port = int(listening.getsockname()[1])
        self.cookie_name = cookie_name(self.port, secure=False)

        def run() -> None:
            asyncio.run(serve(self.reading, TOKEN, listening, None, "127.0.0.1", self.stop, self._on_ready))

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.url != "", "the dashboard listens")

    def _on_ready(self, url: str) -> None:
        self.url = url

    def browser(self, **headers: str) -> Browser:
        """A browser without a session."""
        return Browser(self.port, headers=headers)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


class LivingRun:
    """A store in `folder`, as a receiver and a trainer keep it: while it lives, both say so and a bridge drives."""

    def __init__(self, folder: Path, beating: bool = True) -> None:
        self.folder = folder
        self.store = Store(folder / STORE)
        self.alive = {"trainer", "receiver", "bridge"} if beating else set[str]()
        self.bridge = BridgeStanding("a" * 32, "pc-a", "collect", "test", True, time.time(), steps_per_second=20.0)
        self._stop, self._turn = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.beat()
        self._thread.start()

    def progress(self, steps: int, updates: int, state: str = "training") -> None:
        """What the trainer says of how far it is."""
        self.store.put_progress(TrainerProgress(steps, steps, updates, state))

    def announce(self, track: Track) -> str:
        """A bridge told its track; returns its hash."""
        text = track_text(track)
        put_track(self.store, track_hash(text), text)
        return track_hash(text)

    def beat(self) -> None:
        """One sign of life of all that live."""
        with self._turn:
            for process in ("trainer", "receiver"):
                if process in self.alive:
                    put_beat(self.store, process, "training")
            if "bridge" in self.alive:
                self.bridge = replace(self.bridge, heard_at=time.time())
                put_standings(self.store, [self.bridge])

    def last_beat(self, process: str) -> float:
        """When that process last said that it lives, Unix time (s)."""
        with self._turn:
            return beats(self.store)[process].at

    def cut(self) -> None:
        """The receiver notices that the bridge's connection has ended."""
        with self._turn:
            self.alive.discard("bridge")
            put_standings(self.store, [replace(self.bridge, connected=False)])

    def _beat(self) -> None:
        while not self._stop.wait(0.5):
            self.beat()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self.store.close()
