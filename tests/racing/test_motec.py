"""MoTeC's files, read back by a reader of the test's own: its offsets are those of the readers that people use."""

import csv
import io
import struct
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racing.lap import Lap
from racing.motec import csv_bytes, ld_bytes, ldx_bytes
from tests.support.laps import made_lap

HOSTILE = (
    "Nürburgring/Nordschleife",
    '"Time","Lap Progression"\r\n0,0',
    "<Marker/>&amp;]]>\x00\x1b[2J",
    "コース" * 100,
    "../../etc/passwd",
    "",
    "x" * 100_000,
)


@dataclass(frozen=True)
class ReadChannel:
    """A channel as the file has it."""

    unit: str
    short: str
    hertz: int
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReadLog:
    """What a reader finds in a `.ld`."""

    texts: dict[str, str]
    venue_mm: int
    channels: dict[str, ReadChannel]


def text_at(data: bytes, at: int, size: int) -> str:
    field = data[at : at + size]
    assert b"\0" in field, "a text must end within its field"
    return field[: field.index(b"\0")].decode("ascii")


def read_ld(data: bytes) -> ReadLog:
    """Follow the pointers from the header on; everything has to lie within the file."""

    def u32(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    def u16(at: int) -> int:
        return int.from_bytes(data[at : at + 2], "little")

    assert u32(0) == 0x40
    event = u32(36)
    venue = u32(event + 1152)
    vehicle = u32(venue + 1098)
    texts = {
        "date": text_at(data, 94, 16),
        "time": text_at(data, 126, 16),
        "driver": text_at(data, 158, 64),
        "vehicle": text_at(data, 222, 64),
        "venue": text_at(data, 350, 64),
        "comment": text_at(data, 1572, 64),
        "event": text_at(data, event, 64),
        "session": text_at(data, event + 64, 64),
        "event venue": text_at(data, venue, 64),
        "event vehicle": text_at(data, vehicle, 64),
        "device": text_at(data, 74, 8),
    }
    channels: dict[str, ReadChannel] = {}
    at, before = u32(8), 0
    while at:
        previous, following, first, count = struct.unpack_from("<IIII", data, at)
        assert previous == before
        kind, size, hertz = u16(at + 18), u16(at + 20), u16(at + 22)
        assert (kind, size) == (7, 4)
        shift, multiplier, scale, decimals = struct.unpack_from("<hhhh", data, at + 24)
        assert first + 4 * count <= len(data)
        assert len(channels) or first == u32(12)
        raw = np.frombuffer(data, "<f4", count, first).astype(np.float64)
        values = (raw / scale * 10.0**-decimals + shift) * multiplier
        name = text_at(data, at + 32, 32)
        channels[name] = ReadChannel(text_at(data, at + 72, 12), text_at(data, at + 64, 8), hertz, values)
        before, at = at, following
    assert len(channels) == u32(86)
    return ReadLog(texts, u32(venue + 66), channels)


def read_beacons(data: bytes) -> tuple[list[float], dict[str, str]]:
    """Their times in s, and the details."""
    root = ElementTree.fromstring(data)
    assert root.tag == "LDXFile"
    (group,) = root.findall("./Layers/Layer/MarkerBlock/MarkerGroup[@Name='Beacons']")
    details = {one.attrib["Id"]: one.attrib["Value"] for one in root.findall("./Layers/Details/String")}
    return [float(one.attrib["Time"]) / 1e6 for one in group.findall("Marker[@ClassName='BCN']")], details


def read_csv(data: bytes) -> tuple[list[list[str]], dict[str, str], dict[str, npt.NDArray[np.float64]]]:
    """The head, the units and the columns, found as ac-tracer finds them."""
    lines = data.decode().split("\n")
    (start,) = (number for number, line in enumerate(lines) if '"Time"' in line and '"Lap Progression"' in line)
    names, units = next(csv.reader([lines[start]])), next(csv.reader([lines[start + 1]]))
    assert lines[start + 2] == ""
    rows = [[float(cell) for cell in line.split(",")] for line in lines[start + 3 :] if line.strip()]
    columns = dict(zip(names, np.array(rows).T, strict=True))
    return list(csv.reader(io.StringIO("\n".join(lines[:start])))), dict(zip(names, units, strict=True)), columns


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 400), st.integers(1, 1000))
def test_a_log_holds_every_sample_of_a_lap_as_exactly_as_float32_can(seed: int, count: int, hertz: int) -> None:
    lap = made_lap(count, (count - 1) / hertz, seed)
    channels = read_ld(ld_bytes([lap])).channels
    column = {name: values.astype(np.float64) for name, values in lap.columns().items()}
    expected: dict[str, npt.NDArray[np.float64]] = {
        "Ground Speed": 3.6 * column["speed"],
        "Throttle Pos": 100.0 * column["throttle"],
        "Brake Pos": 100.0 * column["brake"],
        "Steering Angle": 100.0 * column["steer"],
        "Gear": column["gear"],
        "Engine RPM": column["engine_speed"] * 60.0 / (2.0 * np.pi),
        "G Force Lat": column["acceleration_left"] / 9.80665,
        "G Force Long": column["acceleration_forward"] / 9.80665,
        "Gyro Yaw Velocity": np.degrees(column["yaw_rate"]),
        "Lap Distance": column["metres"],
        "Track Offset": column["gap"],
        "Position X": column["x"],
        "Position Y": column["y"],
    }
    assert set(channels) == set(expected)
    for name, values in expected.items():
        assert channels[name].hertz == hertz
        # Half a unit of float32's last place, and a billionth for times that no binary number is.
        np.testing.assert_allclose(channels[name].values, values, rtol=2.0**-24, atol=1e-9, err_msg=name)
    assert channels["Gear"].values.tolist() == lap.gear.tolist()


def test_a_log_says_what_was_driven_where_by_whom_and_when() -> None:
    lap = made_lap()
    log = read_ld(ld_bytes([lap]))
    assert log.texts == {
        "date": "30/11/2026",
        "time": "08:09:10",
        "driver": "human",
        "vehicle": "ks_porsche_911_gt3_r_2016",
        "venue": "monza",
        "comment": "lap 3",
        "event": "monza",
        "session": "lap 3",
        "event venue": "monza",
        "event vehicle": "ks_porsche_911_gt3_r_2016",
        "device": "ADL",
    }
    assert log.venue_mm == round(1000.0 * float(lap.metres[-1]))
    speed = log.channels["Ground Speed"]
    assert (speed.unit, speed.short) == ("km/h", "Speed")


def test_a_lap_of_no_whole_rate_loses_nothing_between_its_samples() -> None:
    lap = made_lap(301, 57.21)
    speed = read_ld(ld_bytes([lap])).channels["Ground Speed"]
    assert speed.hertz == 6
    times = np.arange(len(speed.values)) / speed.hertz
    assert times[-2] < lap.time <= times[-1]
    np.testing.assert_allclose(speed.values, 3.6 * np.interp(times, lap.seconds, lap.speed), rtol=1e-6)


def test_laps_in_a_row_are_one_log_with_a_beacon_at_each_crossing_of_the_line() -> None:
    laps = [made_lap(101, 4.013, 1), made_lap(99, 3.877, 2), made_lap(103, 4.1, 3)]
    log, (beacons, details) = read_ld(ld_bytes(laps)), read_beacons(ldx_bytes(laps))
    assert beacons == pytest.approx([0.0, 4.013, 7.89, 11.99], abs=1e-9)
    assert details == {"Total Laps": "4", "Fastest Time": "0:03.877", "Fastest Lap": "3"}
    distance = log.channels["Lap Distance"]
    assert distance.hertz == 25
    times = np.arange(len(distance.values)) / distance.hertz
    assert times[-2] < beacons[-1] <= times[-1]
    for lap, start, end in zip(laps, beacons[:-1], beacons[1:], strict=True):
        here = (times >= start) & (times < end)
        np.testing.assert_allclose(
            distance.values[here], np.interp(times[here] - start, lap.seconds, lap.metres), rtol=1e-6, atol=1e-5
        )
        gears = lap.gear[np.searchsorted(lap.seconds, times[here] - start + 1e-6, "right") - 1]
        assert log.channels["Gear"].values[here].tolist() == gears.tolist()


def test_what_a_lap_lacks_its_files_lack() -> None:
    bare = made_lap(engine_speed=None, acceleration_left=None, gap=None)
    channels = read_ld(ld_bytes([bare, made_lap()])).channels
    assert not {"Engine RPM", "G Force Lat", "Track Offset"} & set(channels)
    assert "G Force Long" in channels
    _, _, columns = read_csv(csv_bytes(bare))
    assert not {"Engine RPM", "G Force Lat", "Track Offset"} & set(columns)


def test_steering_is_in_degrees_where_the_lock_is_known_left_in_the_log_right_in_the_csv() -> None:
    lap = made_lap(steering_lock=float(np.radians(450.0)))
    steering = read_ld(ld_bytes([lap])).channels["Steering Angle"]
    assert steering.unit == "deg"
    np.testing.assert_allclose(steering.values, 450.0 * lap.steer, rtol=2.0**-24, atol=1e-9)
    _, units, columns = read_csv(csv_bytes(lap))
    assert units["Steering Angle"] == "deg"
    np.testing.assert_allclose(columns["Steering Angle"], -450.0 * lap.steer, atol=1e-4)
    # Laps of two cars have no lock in common.
    assert read_ld(ld_bytes([lap, made_lap()])).channels["Steering Angle"].unit == "%"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(11, 300), st.floats(1.0, 200.0))
def test_the_csv_holds_a_lap_within_its_last_digit(seed: int, count: int, time: float) -> None:
    lap = made_lap(count, time, seed)
    head, units, columns = read_csv(csv_bytes(lap))
    assert head[0] == ["Format", "MoTeC CSV File"]
    assert {row[0]: row[1] for row in head if row}["Sample Rate"] == f"{(count - 1) / time:.3f}"
    assert (units["Time"], units["Ground Speed"]) == ("s", "km/h")
    np.testing.assert_allclose(columns["Time"], lap.seconds, atol=5.1e-7)
    np.testing.assert_allclose(columns["Ground Speed"], 3.6 * lap.speed, atol=5.1e-5)
    np.testing.assert_allclose(columns["Driver Throttle Pos"], lap.throttle, atol=5.1e-7)
    np.testing.assert_allclose(columns["Brake Pos"], lap.brake, atol=5.1e-7)
    assert columns["Gear"].tolist() == lap.gear.tolist()
    place = columns["Lap Progression"]
    np.testing.assert_allclose(place[:-1], lap.metres[:-1] / lap.metres[-1], atol=5.1e-9)
    assert place.min() == 0.0
    assert place.max() < 1.0


def test_ac_tracers_rule_finds_one_completed_lap_with_its_exact_time() -> None:
    lap = made_lap(2885, 115.351489)
    _, _, columns = read_csv(csv_bytes(lap))
    place, times = columns["Lap Progression"], columns["Time"]
    # It begins with a first row below 0.05 and ends where the progression falls from above 0.9 to below 0.1.
    assert place[0] < 0.05
    (end,) = np.flatnonzero((place[:-1] > 0.9) & (place[1:] < 0.1)) + 1
    assert end == len(place) - 1
    assert times[end] - times[0] == pytest.approx(lap.time, abs=1e-6)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_bounded_and_break_no_file(name: str) -> None:
    lap = made_lap(name=name, track=name, driver=name, car=name)
    log = read_ld(ld_bytes([lap]))
    assert all(len(text) < 64 for text in log.texts.values())
    assert len(log.channels) == 13
    assert read_beacons(ldx_bytes([lap]))[0] == [0.0, pytest.approx(4.0)]
    data = csv_bytes(lap)
    head, _, columns = read_csv(data)
    assert len(columns["Time"]) == len(lap.seconds)
    assert all(len(cell) <= 64 for row in head for cell in row)
    assert len(head) == 11
    assert len(data) < 30_000


def test_letters_beyond_ascii_are_told_as_well_as_the_format_can() -> None:
    lap = made_lap(track="Autódromo José Carlos Pace", driver="Чайка")
    texts = read_ld(ld_bytes([lap])).texts
    assert texts["venue"] == "Autodromo Jose Carlos Pace"
    # The breve of one letter is an accent, and goes too.
    assert texts["driver"] == "?????"
    assert "Autódromo José Carlos Pace" in csv_bytes(lap).decode()


def test_a_log_is_no_larger_than_its_samples_ask_for() -> None:
    lap: Lap = made_lap(5001, 100.0)
    assert len(ld_bytes([lap])) == 0x2C48 + 13 * (124 + 4 * 5001)
