"""`ac-bridge stream` beside the fake game: a person drives, frames tell of it, and nothing is sent to the game."""

import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.fake_ac.inputs import CONTROLS_NAME
from tests.support.fake_game import FakeGame
from tests.support.game_drive import CONFIG, GameBridge
from tests.support.receivers import ThreadedReceiver
from tests.support.telemetry import written_rows
from tests.support.waiting import wait_until
from train_cloud.receiver.telemetry_files import TelemetryFiles
from wire.pairing import format_pairing

TRACK = "seed:7:1200"


def quiet(telemetry: Path) -> Callable[[], bool]:
    """Whether nothing was written for half a second, ten frames' time."""
    count, since = 0, time.monotonic()

    def look() -> bool:
        nonlocal count, since
        if len(written_rows(telemetry)) != count:
            count, since = len(written_rows(telemetry)), time.monotonic()
        return time.monotonic() - since > 0.5

    return look


@pytest.mark.slow
def test_what_a_person_drives_is_streamed_over_a_pause_and_nothing_is_sent_to_the_game(tmp_path: Path) -> None:
    telemetry = tmp_path / "telemetry"
    receiver = ThreadedReceiver(CONFIG, tmp_path, telemetry=TelemetryFiles(telemetry, "jsonl", 2**24))
    try:
        with FakeGame(tmp_path, TRACK) as game:
            game.live()
            options = ["--keep", "--batch", "2", "--rate", "20", "--spool", str(tmp_path / "spool")]
            bridge = GameBridge(game, tmp_path, "stream", *options, uri=format_pairing(receiver.pairing))
            try:
                wait_until(lambda: len(written_rows(telemetry)) > 4, "a car that stands is streamed, too")
                game.tell("person", pace=0.8)
                wait_until(lambda: written_rows(telemetry)[-1]["speed"] > 15.0, "it drives")
                game.tell("mode", mode="pause")
                wait_until(quiet(telemetry), "no frame comes in a pause")
                game.live()
                wait_until(lambda: written_rows(telemetry)[-1]["lap_time"] < 1.0, "a lap begins anew after the pause")
                bridge.process.send_signal(signal.SIGINT)
                assert bridge.process.wait(120) == ExitCode.OK, bridge.text
            finally:
                bridge.process.kill()
                bridge.process.wait()
            assert not (game.shm / CONTROLS_NAME).exists(), "CSP was asked for nothing"
    finally:
        receiver.close()
    rows = written_rows(telemetry)
    assert all("batch" in row for row in rows)
    for before, after in pairwise(rows):
        assert before["time"] < after["time"] or (before["time"] == after["time"] and after["lap_time"] == 0.0)
    assert any(row["time"] > 0.0 and row["lap_time"] == 0.0 for row in rows)
    assert max(row["speed"] for row in rows) < 100.0
    assert all(abs(row["gap"]) < 10.0 and 0.0 <= row["place"] <= 1200.0 for row in rows)
    whole = {"position", "heading", "velocity", "engine_rpm", "wheel_load", "wheels_out"}
    assert all(whole <= set(row) for row in rows)
    assert "lost=0" in bridge.text
