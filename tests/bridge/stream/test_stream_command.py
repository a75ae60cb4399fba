"""`ac-bridge stream` against real receivers, cut and killed: what is kept arrives once, else the newest wins."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest

from bridge.stream.frames import FrameMaker
from bridge.stream.sources import Source
from bridge.stream.streaming import Settings, stream
from racing.car import CarState
from racing.lap import played_states
from racing.recorded_car import RecordedCar
from racing.track import Track, parse_track
from racing.track_text import track_hash, track_text
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import ROOT, bridge_process
from tests.support.fault_proxy import FaultProxy
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import CONFIG, TOKEN, ReceiverProcess, ThreadedReceiver, receiver_process
from tests.support.recordings import along, write
from tests.support.runs import run_config
from tests.support.telemetry import written_rows
from tests.support.waiting import wait_until
from train_cloud.bridge_table import standings
from train_cloud.live_file import read_live
from train_cloud.receiver.telemetry_files import TelemetryFiles
from train_cloud.run_config import RunConfig
from wire.messages import Hello, Telemetry
from wire.pairing import Pairing, format_pairing

__all__ = ["s3"]

SEED = "seed:7:1200"
TRACK = Track.generate(7, 1200.0)
NOWHERE = format_pairing(Pairing("127.0.0.1", 1, TOKEN, tls=False))


def config_of(s3: MotoS3) -> RunConfig:
    bucket = {"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url}
    return run_config(
        bucket=bucket, listen_host="127.0.0.1", listen_port=0, segment_seconds=0.5, write_telemetry="jsonl"
    )


def recording(folder: Path, rows: int) -> Path:
    """At 25 rows a second."""
    return write(folder / "mine.csv", along(TRACK, rows))


def frames_of(file: Path) -> list[Telemetry]:
    maker = FrameMaker(TRACK)
    return [one for state in played_states(RecordedCar(file)) if state and (one := maker.frame(state)) is not None]


@pytest.mark.slow
def test_kept_frames_arrive_once_each_over_cuts_and_a_killed_receiver(s3: MotoS3, tmp_path: Path) -> None:
    file, instance = recording(tmp_path, 200), tmp_path / "instance"
    telemetry = instance / "telemetry"
    with ExitStack() as stack:
        receiver = ReceiverProcess(config_of(s3), instance)
        stack.callback(lambda: receiver.kill())
        pairing = receiver.pairing()
        proxy = stack.enter_context(FaultProxy((pairing.host, pairing.port)))
        uri = format_pairing(Pairing(pairing.host, proxy.port, pairing.token, pairing.pin))
        arguments = ["--source", str(file), "--track", SEED, "--rate", "60", "--keep", "--batch", "3"]
        arguments += ["--reconnect-delay", "0.2"]
        bridge = stack.enter_context(bridge_process(receiver, tmp_path, "stream", *arguments, AC_BRIDGE_URI=uri))

        def heard(count: int) -> None:
            wait_until(lambda: len(written_rows(telemetry)) >= count, f"{count} frames are written")

        for count in (20, 40, 60):
            heard(count)
            proxy.cut_after(300)
        heard(90)
        receiver.kill()
        receiver = ReceiverProcess(config_of(s3), instance)
        proxy.target = (pairing.host, receiver.pairing().port)
        proxy.cut()
        heard(130)
        assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
    expected = frames_of(file)
    assert [row["time"] for row in written_rows(telemetry)] == [frame.time for frame in expected]
    row, frame = written_rows(telemetry)[-1], expected[-1]
    assert msgspec.convert({k: row[k] for k in row if k not in ("at", "stream", "bridge", "batch")}, Telemetry) == frame
    log = (tmp_path / "bridge.log").read_text()
    assert log.count("the link is down") >= 4, "three cuts and a kill"
    assert "none is lost" in log
    assert "frames=200" in log
    assert "lost=0" in log
    assert "waiting=0" in log


class Counting:
    """A listener that keeps the times of frames."""

    def __init__(self) -> None:
        self.times: list[float | None] = []

    def joined(self, hello: Hello) -> None:
        """Nothing to keep."""

    def heard(self, stream: str, frame: Telemetry) -> None:  # noqa: ARG002 - of Listener
        self.times.append(frame.time)

    def left(self, stream: str) -> None:
        """Nothing to keep."""


def all_forgotten(spool: Path) -> bool:
    """Whether the spool holds nothing any more."""
    with closing(sqlite3.connect(spool / "spool.db")) as db:
        return bool(db.execute("SELECT count(*) FROM batches").fetchone() == (0,))


def driven(states: list[CarState], reached: threading.Event, release: threading.Event) -> Source:
    """States as fast as they are taken, the last of them after `release`; `reached` tells of all others."""

    def one_by_one() -> Iterator[CarState]:
        yield from states[:-1]
        reached.set()
        release.wait(240)
        yield states[-1]

    return Source(TRACK, one_by_one(), ends=False)


def test_what_is_not_kept_is_dropped_while_the_link_is_down_and_the_newest_arrives(tmp_path: Path) -> None:
    states = [state for state in played_states(RecordedCar(recording(tmp_path, 60))) if state is not None]
    files = TelemetryFiles(tmp_path / "telemetry", "jsonl", 2**24)
    receiver = ThreadedReceiver(CONFIG, tmp_path, telemetry=files)
    reached, release, stop = (threading.Event() for _ in range(3))
    ended: list[ExitCode] = []
    settings = Settings(60.0, False, 1, True, 0.1, tmp_path / "spool", 2**24)
    try:
        with FaultProxy(("127.0.0.1", receiver.port)) as proxy:
            proxy.refuse()
            pairing = Pairing("127.0.0.1", proxy.port, TOKEN, tls=False)
            work = threading.Thread(
                target=lambda: ended.append(stream(pairing, lambda: driven(states, reached, release), settings, stop))
            )
            work.start()
            assert reached.wait(120)
            # All but one came while nobody answered.
            proxy.resume()
            wait_until(lambda: len(written_rows(tmp_path / "telemetry")) == 1, "the newest came")
            release.set()
            wait_until(lambda: len(written_rows(tmp_path / "telemetry")) == 2, "and the one after it")
            wait_until(lambda: bool(standings(receiver.store)), "how it stands is known")
            assert standings(receiver.store)[0].steps_per_second == 0.0, "nothing is driven for the run"
            stop.set()
            work.join(60)
    finally:
        release.set()
        stop.set()
        receiver.close()
    assert [row["time"] for row in written_rows(tmp_path / "telemetry")] == [float(one.time[0]) for one in states[-2:]]
    assert ended == [ExitCode.OK]


def test_kept_frames_go_on_as_a_new_stream_where_a_new_receiver_has_written_nothing(tmp_path: Path) -> None:
    states = [state for state in played_states(RecordedCar(recording(tmp_path, 20))) if state is not None]
    reached, release, stop = (threading.Event() for _ in range(3))
    ended: list[ExitCode] = []
    settings = Settings(60.0, True, 3, False, 0.1, tmp_path / "spool", 2**24)
    heard, listener = Counting(), Counting()
    first = ThreadedReceiver(CONFIG, tmp_path)
    first.receiver.streams.subscribe(heard)
    with FaultProxy(("127.0.0.1", first.port)) as proxy:
        pairing = Pairing("127.0.0.1", proxy.port, TOKEN, tls=False)
        source = Source(TRACK, driven(states, reached, release).states, ends=True)
        work = threading.Thread(target=lambda: ended.append(stream(pairing, lambda: source, settings, stop)))
        work.start()
        # Six whole batches and a part of one.
        wait_until(lambda: len(heard.times) == 19 and all_forgotten(tmp_path / "spool"), "what came was acknowledged")
        first.close()
        second_folder = tmp_path / "second"
        second_folder.mkdir()
        second = ThreadedReceiver(CONFIG, second_folder)
        try:
            second.receiver.streams.subscribe(listener)
            proxy.target = ("127.0.0.1", second.port)
            release.set()
            work.join(120)
        finally:
            stop.set()
            second.close()
    assert ended == [ExitCode.OK]
    assert listener.times == [float(state.time[0]) for state in states[19:]]


@pytest.mark.slow
def test_a_simulated_car_streams_json_until_it_is_stopped(
    s3: MotoS3, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_of(s3)
    chosen = msgspec.structs.replace(config.environment, track=track_hash(track_text(parse_track(SEED))))
    config = msgspec.structs.replace(config, environment=chosen)
    said = [""]

    def told() -> bool:
        said.append(capfd.readouterr().out)
        return re.search(r"^\[#\d+\] \d+\.\d km/h  lap 1  valid$", "".join(said), re.M) is not None

    with receiver_process(config, tmp_path / "instance", "--show-telemetry") as receiver:
        arguments = ["--car", "simulated", "--track", SEED, "--json", "--rate", "20"]
        with bridge_process(receiver, tmp_path, "stream", *arguments) as bridge:
            live = tmp_path / "instance" / "live.json"
            wait_until(
                lambda: (found := read_live(live)) is not None and any(one.place is not None for one in found.bridges),
                "its place is shown",
            )
            wait_until(lambda: len(written_rows(tmp_path / "instance" / "telemetry")) > 10, "some frames came")
            wait_until(told, "people are told")
            bridge.send_signal(signal.SIGINT)
            assert bridge.wait(60) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
    assert "the newest wins" in (tmp_path / "bridge.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--batch", "5"), "--batch goes with --keep"),
        (("--source", "mine.csv"), "--source needs --track FILE"),
        (("--source", "mine.csv", "--track", "seed:3:1200", "--wait"), "leave --car and --wait out"),
        (("--source", "mine.csv", "--track", "seed:3:1200"), "lies off the track seed:3:1200"),
        (("--car", "recorded"), "Recorded laps are named with --source FILE"),
        (("--rate", "100"), "60"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_dialled(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    recording(tmp_path, 400)
    found = subprocess.run(
        [sys.executable, "-m", "bridge", "stream", *arguments],
        cwd=tmp_path,
        env=os.environ | {"AC_BRIDGE_URI": NOWHERE, "AC_BRIDGE_CONFIG_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == ExitCode.USAGE, found.stderr
    assert says in found.stderr
    assert "Traceback" not in found.stderr
