"""Writes laps as MoTeC's i2 reads them (`.ld` with its `.ldx`), and as the CSV that i2 exports and ac-tracer loads.

A `.ld` is blocks that point to each other, then the channels' samples, all little-endian; texts end with a zero. The
format is published by nobody but known from readers of others. Offsets and the device's numbers, which are those of an
ADL, are as they agree on: the reader gotzl/ldparser (logs of ACC and of Assetto Corsa), the writer
riccardotornesello/motecldparser, and a table of an EDL3's logs for what those two leave out (lengths in the venue's
block). tobi/ac-tracer reads the same offsets inside the game. Nothing of them is copied.

    header   0x000 u32 0x40 · 0x008 u32 first channel · 0x00C u32 first sample · 0x024 u32 event · 0x040 3 x u16 (1,
             0x4240, 15) · 0x046 u32 serial · 0x04A 8 s device · 0x052 u16 version · 0x054 u16 0xADB0 · 0x056 u32 number
             of channels · 0x05E 16 s dd/mm/yyyy · 0x07E 16 s hh:mm:ss · 0x09E 64 s driver · 0x0DE 64 s vehicle ·
             0x15E 64 s venue · 0x5DE u32 0xC81A4, which readers call the switch of "pro logging" · 0x624 64 s comment
    event    0x000 64 s name · 0x040 64 s session · 0x080 1024 s comment · 0x480 u32 venue
    venue    0x000 64 s name · 0x042 u32 length, mm · 0x44A u32 vehicle
    vehicle  0x000 64 s id
    channel  0x000 u32 previous · 0x004 u32 next, 0 at the last · 0x008 u32 first sample · 0x00C u32 samples · 0x010 u16
             0x2EE1 and up · 0x012 u16 7, floating point · 0x014 u16 4, bytes of a sample · 0x016 u16 Hz · 0x018 4 x i16
             shift, multiplier, scale, decimals (0, 1, 1, 0: a sample is the value) · 0x020 32 s name · 0x040 8 s short
             name · 0x048 12 s unit; 124 bytes

The `.ldx` is XML with the beacons, us from the first sample (files of ACC and of i2: the differences of their markers
are the lap times that they name). Without it i2 sees one endless lap. The lap from one beacon to the next has the later
one's number, so there is a beacon at the very start, too. Lateral acceleration is positive in left-hand bends, as the
manual of MoTeC's Interpreter asks for. i2 itself was not run.
"""

import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from racing.car import FloatArray, IntArray
from racing.lap import Lap

STANDARD_GRAVITY = 9.80665
"""m/s^2 in one g."""
MOST_HZ = 1000
"""Highest rate of a `.ld`; a channel's is a whole number of Hz."""

_EVENT, _VENUE, _VEHICLE, _CHANNELS = 0x6E2, 0x1336, 0x1F54, 0x2C48
"""Where the blocks begin; in the order and the room that the EDL3 gave them."""
_CHANNEL = struct.Struct("<4I4H4h32s8s12s40x")
_NAME = 64
_KMH, _PERCENT, _RPM, _DEGREES = 3.6, 100.0, 30.0 / np.pi, 180.0 / np.pi


@dataclass(frozen=True, slots=True)
class _Channel:
    """A channel as i2 and other loggers name it: which array of a Lap, times `factor`, it is."""

    name: str
    short: str
    unit: str
    column: str
    factor: float = 1.0
    decimals: int = 4


_SHARED = (
    _Channel("Gear", "Gear", "", "gear", decimals=0),
    _Channel("Engine RPM", "RPM", "rpm", "engine_speed", _RPM, 1),
    _Channel("G Force Lat", "G Lat", "G", "acceleration_left", 1.0 / STANDARD_GRAVITY),
    _Channel("G Force Long", "G Long", "G", "acceleration_forward", 1.0 / STANDARD_GRAVITY),
    _Channel("Gyro Yaw Velocity", "Yaw", "deg/s", "yaw_rate", _DEGREES),
    _Channel("Track Offset", "Offset", "m", "gap"),
    _Channel("Position X", "Pos X", "m", "x"),
    _Channel("Position Y", "Pos Y", "m", "y"),
)
_LD = (
    _Channel("Ground Speed", "Speed", "km/h", "speed", _KMH),
    _Channel("Throttle Pos", "Throttle", "%", "throttle", _PERCENT),
    _Channel("Brake Pos", "Brake", "%", "brake", _PERCENT),
    _Channel("Lap Distance", "Dist", "m", "metres"),
    *_SHARED,
)
_CSV = (
    _Channel("Distance", "", "m", "metres"),
    _Channel("Ground Speed", "", "km/h", "speed", _KMH),
    # ac-tracer takes 0.8 % for 80 %: it tells percent from shares by whether a value is above 1.
    _Channel("Driver Throttle Pos", "", "ratio", "throttle", decimals=6),
    _Channel("Brake Pos", "", "ratio", "brake", decimals=6),
    *_SHARED,
)


def ld_bytes(laps: Sequence[Lap]) -> bytes:
    """Laps, one or more, as a `.ld`: one after the other, at the first one's rate rounded to whole Hz.

    Samples are float32. A quantity that one of the laps lacks is left out. Lateral acceleration, yaw rate and steering
    are positive to the left; steering is in degrees, or where the lock is not known in percent of it.
    """
    rate = _whole_rate(laps[0].rate)
    channels = [_steering(laps, left=1.0), *_LD]
    samples = [(channel, _joined(laps, channel, rate)) for channel in channels if _present(laps, channel)]
    first = _CHANNELS + len(samples) * _CHANNEL.size
    size = 4 * len(samples[0][1])
    blocks = bytearray(first)
    _put_head(blocks, laps, len(samples), first)
    for number, (channel, values) in enumerate(samples):
        at = _CHANNELS + number * _CHANNEL.size
        before = at - _CHANNEL.size if number else 0
        after = at + _CHANNEL.size if number + 1 < len(samples) else 0
        texts = (_ascii(channel.name, 32), _ascii(channel.short, 8), _ascii(channel.unit, 12))
        numbers = (before, after, first + number * size, len(values), 0x2EE1 + number, 7, 4, rate, 0, 1, 1, 0)
        _CHANNEL.pack_into(blocks, at, *numbers, *texts)
    return bytes(blocks) + b"".join(values.astype("<f4").tobytes() for _, values in samples)


def ldx_bytes(laps: Sequence[Lap]) -> bytes:
    """The beacons of the same laps' `.ld`: where each begins, and where the last one ends."""
    beacons = _line_times(laps)
    best = min(range(len(laps)), key=lambda number: laps[number].time)
    root = ElementTree.Element("LDXFile", Locale="English_United States.1252", DefaultLocale="C", Version="1.6")
    layers = ElementTree.SubElement(root, "Layers")
    layer = ElementTree.SubElement(layers, "Layer")
    group = ElementTree.SubElement(
        ElementTree.SubElement(layer, "MarkerBlock"), "MarkerGroup", Name="Beacons", Index="3"
    )
    for number, seconds in enumerate(beacons.tolist(), 1):
        marker = {"Version": "100", "ClassName": "BCN", "Name": f"Manual.{number}", "Flags": "77"}
        ElementTree.SubElement(group, "Marker", marker, Time=f"{seconds * 1e6:.17e}")
    ElementTree.SubElement(layer, "RangeBlock")
    details = ElementTree.SubElement(layers, "Details")
    fastest = _minutes(laps[best].time)
    told = {"Total Laps": str(len(beacons)), "Fastest Time": fastest, "Fastest Lap": str(best + 2)}
    for name, value in told.items():
        ElementTree.SubElement(details, "String", Id=name, Value=value)
    ElementTree.indent(root, " ")
    return b'<?xml version="1.0"?>\n' + ElementTree.tostring(root) + b"\n"


def csv_bytes(lap: Lap) -> bytes:
    """One lap as i2 exports it, in the columns that ac-tracer knows: UTF-8, a row a sample.

    The last row is the line again, with a progression of 0, by which ac-tracer sees that the lap was completed.
    Steering has the game's sign, positive to the right: ac-tracer treats it as it does the game's own; the rest is as
    in `ld_bytes`, but for pedals, which are 0 to 1.
    """
    channels = [channel for channel in [_steering([lap], left=-1.0), *_CSV] if _present([lap], channel)]
    progression = lap.metres / lap.metres[-1]
    progression[-1] = 0.0
    columns = [[f"{value:.6f}" for value in lap.seconds.tolist()], [f"{value:.8f}" for value in progression.tolist()]]
    columns += [[f"{value:.{channel.decimals}f}" for value in _values(lap, channel).tolist()] for channel in channels]
    head = [
        ("Format", "MoTeC CSV File"),
        ("Venue", lap.track),
        ("Vehicle", lap.car),
        ("Driver", lap.driver),
        ("Device", "ac-training"),
        ("Comment", lap.name),
        ("Log Date", f"{lap.begun:%d/%m/%Y}"),
        ("Log Time", f"{lap.begun:%H:%M:%S}"),
        ("Sample Rate", f"{lap.rate:.3f}", "Hz"),
        ("Duration", f"{lap.time:.6f}", "s"),
        ("Beacon Markers", f"{lap.time:.6f}"),
    ]
    names = ["Time", "Lap Progression", *(channel.name for channel in channels)]
    units = ["s", "", *(channel.unit for channel in channels)]
    lines = [*map(_quoted, head), "", _quoted(names), _quoted(units), ""]
    lines += [",".join(row) for row in zip(*columns, strict=True)]
    return "\n".join([*lines, ""]).encode()


def printable(name: str, most: int) -> str:
    """A name for a file of others: at most `most` characters, without line ends and other controls."""
    shown = "".join(letter if letter.isprintable() else " " for letter in name[: 4 * most])
    return " ".join(shown.split())[:most]


def _put_head(blocks: bytearray, laps: Sequence[Lap], channels: int, first_sample: int) -> None:
    """The blocks before the channels."""
    lap = laps[0]

    def text(at: int, value: str, size: int = _NAME) -> None:
        blocks[at : at + size] = _ascii(value, size)

    struct.pack_into("<I", blocks, 0x000, 0x40)
    struct.pack_into("<2I", blocks, 0x008, _CHANNELS, first_sample)
    struct.pack_into("<I", blocks, 0x024, _EVENT)
    struct.pack_into("<3HI8s2HI", blocks, 0x040, 1, 0x4240, 15, 0x1F44, b"ADL", 420, 0xADB0, channels)
    text(0x05E, f"{lap.begun:%d/%m/%Y}", 16)
    text(0x07E, f"{lap.begun:%H:%M:%S}", 16)
    text(0x09E, lap.driver)
    text(0x0DE, lap.car)
    text(0x15E, lap.track)
    struct.pack_into("<I", blocks, 0x5DE, 0xC81A4)
    text(0x624, lap.name if len(laps) == 1 else f"{len(laps)} laps")
    text(_EVENT, lap.track)
    text(_EVENT + 0x040, lap.name if len(laps) == 1 else f"{len(laps)} laps")
    struct.pack_into("<I", blocks, _EVENT + 0x480, _VENUE)
    text(_VENUE, lap.track)
    struct.pack_into("<I", blocks, _VENUE + 0x042, round(1000.0 * float(lap.metres[-1])))
    struct.pack_into("<I", blocks, _VENUE + 0x44A, _VEHICLE)
    text(_VEHICLE, lap.car)


def _steering(laps: Sequence[Lap], left: float) -> _Channel:
    """Degrees of the steering wheel, `left` times what is positive to the left, or percent of its unknown lock."""
    lock = laps[0].steering_lock
    if lock is None or any(lap.steering_lock != lock for lap in laps):
        return _Channel("Steering Angle", "Steering", "%", "steer", left * _PERCENT)
    return _Channel("Steering Angle", "Steering", "deg", "steer", left * lock * _DEGREES)


def _present(laps: Sequence[Lap], channel: _Channel) -> bool:
    return all(getattr(lap, channel.column) is not None for lap in laps)


def _values(lap: Lap, channel: _Channel) -> FloatArray:
    # Adding zero turns -0.0 into 0.0.
    return np.asarray(channel.factor * getattr(lap, channel.column) + 0.0)


def _whole_rate(rate: float) -> int:
    """The rate in Hz of samples that lose nothing of those at `rate`."""
    near = round(rate)
    return min(max(near if abs(rate - near) < 0.01 * rate else int(np.ceil(rate)), 1), MOST_HZ)


def _line_times(laps: Sequence[Lap]) -> FloatArray:
    """When the line is crossed, s from the first lap's begin, (laps + 1,)."""
    return np.concatenate([[0.0], np.cumsum([lap.time for lap in laps])])


def _joined(laps: Sequence[Lap], channel: _Channel, rate: int) -> FloatArray:
    """A channel of the laps in a row at `rate` Hz, up to the first sample that is not before the last one's end."""
    line = _line_times(laps)
    times = np.arange(int(np.ceil(line[-1] * rate - 1e-6)) + 1) / rate
    lap_of: IntArray = np.clip(np.searchsorted(line, times, "right") - 1, 0, len(laps) - 1)
    joined = np.empty(len(times))
    for number, lap in enumerate(laps):
        here = lap_of == number
        within, values = times[here] - line[number], _values(lap, channel)
        if channel.column == "gear":
            joined[here] = values[np.searchsorted(lap.seconds, within + 1e-6, "right") - 1]
        else:
            joined[here] = np.interp(within, lap.seconds, values)
    return joined


def _ascii(text: str, size: int) -> bytes:
    """At most size - 1 bytes and zeros; letters lose their accents, what else is not ASCII becomes a question mark."""
    plain = "".join(
        one for one in unicodedata.normalize("NFKD", printable(text, size)) if not unicodedata.combining(one)
    )
    return plain.encode("ascii", "replace")[: size - 1].ljust(size, b"\0")


def _quoted(cells: Sequence[str]) -> str:
    # A quote within a name could look like the row of column names, which ac-tracer finds by quoted words.
    return ",".join('"' + printable(cell, _NAME).replace('"', "'") + '"' for cell in cells)


def _minutes(seconds: float) -> str:
    whole, thousandths = divmod(round(1000.0 * seconds), 60_000)
    return f"{whole}:{thousandths / 1000.0:06.3f}"
