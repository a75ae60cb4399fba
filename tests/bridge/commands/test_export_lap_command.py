"""`ac-bridge export-lap`: of a recording of the game, of telemetry, of the reference driver; and what it refuses."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app
from racing.track import Track
from runtime.exit_codes import ExitCode
from tests.fake_ac.install import install
from tests.fake_ac.pages import CAR_MODEL
from tests.support.filmed_game import TRACK as FILMED_TRACK
from tests.support.filmed_game import TRACK_NAME, Filmed
from tests.support.real_data import real_data
from tests.support.recordings import along, straight, write
from tests.support.small_disk import SmallDisk

ROOT = Path(__file__).parents[3]
TRACK = "seed:7:800"


def export(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export-lap", *map(str, arguments)])


def beacons(file: Path) -> list[float]:
    return [float(one.attrib["Time"]) / 1e6 for one in ElementTree.parse(file).getroot().iter("Marker")]


def columns(file: Path) -> dict[str, np.ndarray]:
    table = np.genfromtxt(file, delimiter=",", names=True)
    return {name: table[name] for name in table.dtype.names or ()}


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two laps and a bit at 10 m/s, of which the first has an excursion."""
    track = Track.generate(7, 800.0)
    rows = along(track, round(2 * track.length / 0.4) + 400)
    # It begins on the line itself, so the first crossing is a lap later.
    rows[2500]["out_of_track"] = 1.0
    return write(tmp_path_factory.mktemp("telemetry") / "mine.csv", [{"out_of_track": 0.0} | row for row in rows])


def test_a_lap_of_telemetry_is_written_in_every_format(telemetry: Path, tmp_path: Path) -> None:
    formats = [part for form in ("motec", "motec-csv", "csv", "parquet") for part in ("--format", form)]
    found = export("--recording", telemetry, "--track", TRACK, "--output", tmp_path / "made", *formats)
    assert (found.exit_code, found.stderr) == (ExitCode.OK, "")
    length = Track.generate(7, 800.0).length
    stem = f"seed-7-800-lap-1-1m{length / 10.0 - 60.0:06.3f}".replace(".", "s")
    names = {f"{stem}{ending}" for ending in (".ld", ".ldx", ".motec.csv", ".csv", ".parquet")}
    assert {file.name for file in (tmp_path / "made").iterdir()} == names
    assert found.stdout.splitlines()[0].startswith("1 whole lap was driven, the best (lap 1) in 1:")
    assert found.stdout.splitlines()[0].endswith(", though no lap was clean.")
    assert found.stdout.count("Wrote ") == 4
    table = columns(tmp_path / "made" / f"{stem}.csv")
    assert table["seconds"][-1] == pytest.approx(length / 10.0, abs=0.01)
    assert table["speed"] == pytest.approx(10.0)
    assert beacons(tmp_path / "made" / f"{stem}.ldx") == [0.0, pytest.approx(table["seconds"][-1])]


@pytest.mark.slow
def test_the_recorded_lap_of_the_real_game_is_written(tmp_path: Path) -> None:
    found = export(
        *("--recording", real_data("telemetry/monza_25hz_two_laps.csv"), "--track", real_data("tracks/monza.csv")),
        *("--output", tmp_path, "--format", "csv", "--name", "A. Nobody", "--format", "motec-csv"),
    )
    assert found.exit_code == ExitCode.OK, found.stderr
    assert "1 whole lap was driven, the best (lap 1) in 1:55.35" in found.stdout
    (plain,) = (file for file in tmp_path.iterdir() if not file.name.endswith(".motec.csv"))
    table = columns(plain)
    assert len(table["seconds"]) == 2885
    assert table["speed"].max() * 3.6 > 250.0
    (motec,) = tmp_path.glob("*.motec.csv")
    assert '"Driver","A. Nobody"' in motec.read_text()
    # Telemetry says in degrees how the wheel was turned.
    assert '"s","","deg"' in motec.read_text()


@pytest.mark.slow
def test_the_reference_driver_laps_a_simulated_track(tmp_path: Path) -> None:
    found = export("--track", TRACK, "--output", tmp_path, "--lap", "all", "--format", "motec", "--format", "motec-csv")
    assert (found.exit_code, found.stderr) == (ExitCode.OK, "")
    assert found.stdout.startswith("2 whole laps were driven, the best (lap 2) in 0:")
    assert len(beacons(tmp_path / "seed-7-800-2-laps.ldx")) == 3
    assert {file.name for file in tmp_path.glob("*.csv")} == {f"seed-7-800-2-laps-{n}.motec.csv" for n in (1, 2)}


@pytest.mark.slow
def test_a_recording_of_the_game_gives_the_lap_that_the_game_counted(tmp_path: Path) -> None:
    root = tmp_path / "game"
    install(root, FILMED_TRACK, TRACK_NAME)
    filmed = Filmed(tmp_path / "filmed")
    with closing(filmed.game):
        filmed.drive_laps()
        filmed.drive(0.5)
        recording = filmed.file()
    out = tmp_path / "made"
    found = export("--recording", recording, "--ac-root", root, "--output", out, "--format", "csv", "--format", "motec")
    assert (found.exit_code, found.stderr) == (ExitCode.OK, "")
    (plain,) = out.glob("*.csv")
    table = columns(plain)
    assert 1000.0 * table["seconds"][-1] == pytest.approx(filmed.game.laps.best_ms, abs=10.0)
    assert len(table["seconds"]) == pytest.approx(50.0 * table["seconds"][-1], abs=2)
    assert {"acceleration_left", "yaw_rate", "engine_speed", "x", "y"} <= set(table)
    (log,) = out.glob("*.ld")
    assert CAR_MODEL.encode() in log.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Name what to export: --recording FILE, or --track"),
        (("--track", TRACK, "--format", "pdf"), "'pdf' is no format of a lap"),
        (("--track", TRACK, "--lap", "fast"), "--lap fast is not understood"),
        (("--track", TRACK, "--lap", "0"), "--lap 0 is not understood"),
        (("--track", TRACK, "--lap", "²"), "is not understood"),
        (("--track", TRACK, "--lap", "21"), "drives 20 laps at most"),
        (("--track", TRACK, "--steering-lock", "300"), "the simulated car has none"),
        (("--track", "seed:x"), "does not name a track"),
        (("--recording", "nowhere.acpages"), "nowhere.acpages cannot be opened"),
        (("--recording", "nowhere.csv"), "--recording needs --track FILE"),
        (("--recording", "nowhere.csv", "--track", TRACK), "nowhere.csv cannot be read"),
        (("--recording", "nowhere.csv", "--track", TRACK, "--rate", "20"), "telemetry has the rows that it has"),
        (("--recording", "nowhere.csv", "--track", TRACK, "--pace", "0.5"), "--pace is the reference driver's"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    found = export(*arguments, "--output", tmp_path / "made")
    assert found.exit_code == ExitCode.USAGE, found.output
    assert says in found.stderr
    assert found.stdout == ""
    assert not (tmp_path / "made").exists()


def test_a_recording_without_a_whole_lap_without_that_lap_or_of_another_track_is_refused(
    telemetry: Path, tmp_path: Path
) -> None:
    short = write(tmp_path / "short.csv", along(Track.generate(7, 800.0), 400))
    found = export("--recording", short, "--track", TRACK)
    assert found.exit_code == ExitCode.FAILED
    assert "holds no whole lap" in found.stderr
    found = export("--recording", telemetry, "--track", TRACK, "--lap", "3")
    assert found.exit_code == ExitCode.USAGE
    assert found.stderr.startswith("There is no lap 3: 1 whole lap was driven")
    elsewhere = write(tmp_path / "elsewhere.csv", straight(400, 5000.0))
    found = export("--recording", elsewhere, "--track", TRACK)
    assert found.exit_code == ExitCode.USAGE
    assert "lies off the track" in found.stderr


def test_a_folder_that_takes_no_files_and_a_full_disk_are_sentences(telemetry: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    chosen = ("--recording", telemetry, "--track", TRACK)
    found = export(*chosen, "--output", tmp_path / "file")
    assert found.exit_code == ExitCode.USAGE
    assert "does not take the files" in found.stderr
    with SmallDisk(tmp_path / "small", 1) as disk:
        (disk.folder / "filler").write_bytes(bytes(1_000_000))
        found = export(*chosen, "--output", disk.folder)
        assert found.exit_code == ExitCode.DISK_FULL
        assert "No space left" in found.stderr
        assert [file.name for file in disk.folder.iterdir()] == ["filler"]


@pytest.mark.slow
def test_the_trainers_packages_are_not_needed(telemetry: Path, tmp_path: Path) -> None:
    missing = ("torch", "stable_baselines3", "sb3_contrib", "boto3", "botocore", "matplotlib", "pyarrow", "starlette")
    script = (
        f"import sys\nsys.modules.update(dict.fromkeys({missing!r}))\nfrom bridge.cli import app\napp(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", script, "export-lap", "--recording", str(telemetry), "--track", TRACK]
    found = subprocess.run(
        [*command, "--output", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".ld", ".ldx"]
