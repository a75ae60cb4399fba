"""The declared pages against the official sizes and offsets, which are written down here a second time, by hand."""

import ctypes
import struct

import pytest

from bridge.assetto_corsa.reading import layout
from bridge.assetto_corsa.reading.layout import CarControls, CarData, CarWheel, Graphics, Physics, Static, text

SIZES = {Physics: 580, Graphics: 296, Static: 684, CarControls: 72, CarData: 672, CarWheel: 120}

# Byte, struct code and field, as the description of the pages has them; not derived from the declarations.
PHYSICS = """
0 i packetId; 4 f gas; 8 f brake; 12 f fuel; 16 i gear; 20 i rpms; 24 f steerAngle; 28 f speedKmh; 32 3f velocity;
44 3f accG; 56 4f wheelSlip; 72 4f wheelLoad; 88 4f wheelsPressure; 104 4f wheelAngularSpeed; 120 4f tyreWear;
136 4f tyreDirtyLevel; 152 4f tyreCoreTemperature; 168 4f camberRAD; 184 4f suspensionTravel; 200 f drs; 204 f tc;
208 f heading; 212 f pitch; 216 f roll; 220 f cgHeight; 224 5f carDamage; 244 i numberOfTyresOut; 248 i pitLimiterOn;
252 f abs; 264 i autoShifterOn; 268 2f rideHeight; 288 f airTemp; 296 3f localAngularVel; 308 f finalFF;
316 i engineBrake; 336 f kersCurrentKJ; 348 4f brakeTemp; 364 f clutch; 368 4f tyreTempI; 384 4f tyreTempM;
400 4f tyreTempO; 416 i isAIControlled; 420 12f tyreContactPoint; 468 12f tyreContactNormal; 516 12f tyreContactHeading;
564 f brakeBias; 568 3f localVelocity
"""
GRAPHICS = """
0 i packetId; 4 i status; 8 i session; 12 15H currentTime; 42 15H lastTime; 72 15H bestTime; 102 15H split;
132 i completedLaps; 136 i position; 140 i iCurrentTime; 144 i iLastTime; 148 i iBestTime; 152 f sessionTimeLeft;
156 f distanceTraveled; 160 i isInPit; 176 33H tyreCompound; 244 f replayTimeMultiplier; 248 f normalizedCarPosition;
252 3f carCoordinates; 264 f penaltyTime; 268 i flag; 276 i isInPitLane; 280 f surfaceGrip; 292 f windDirection
"""
STATIC = """
0 15H smVersion; 30 15H acVersion; 60 i numberOfSessions; 64 i numCars; 68 33H carModel; 134 33H track;
200 33H playerName; 266 33H playerSurname; 332 33H playerNick; 400 i sectorCount; 412 i maxRpm;
420 4f suspensionMaxTravel; 436 4f tyreRadius; 452 f maxTurboBoost; 464 i penaltiesEnabled; 476 f aidMechanicalDamage;
480 i aidAllowTyreBlankets; 496 i hasDRS; 508 f kersMaxJ; 520 f trackSPlineLength; 524 33H trackConfiguration;
592 f ersMaxJ; 604 33H carSkin; 672 i reversedGridPositions; 680 i PitWindowEnd
"""
CONTROLS = """
0 f gas; 4 f brake; 8 f clutch; 12 f steer; 16 f handbrake; 20 B gear_up; 21 B gear_dn; 39 B headlights;
40 B teleport_to; 41 B autoclutch_on_start; 42 B autoclutch_on_change; 43 B autoblip_active; 44 3f teleport_pos;
56 3f teleport_dir; 68 B autoshift_active
"""
CAR = """
0 i packet_id; 16 f steer; 28 i gear; 36 f speed_kmh; 40 3f velocity; 52 3f acc_g; 64 3f look; 88 3f position;
100 3f local_velocity; 124 f cg_height; 128 5f car_damage; 628 f turbo_boost; 640 B pit_limiter; 644 I lap_time_ms;
656 f spline_position; 664 I collision_counter; 668 I wheels_valid_surface
"""
WHEEL = """
0 3f position; 60 3f velocity; 72 f slip_ratio; 76 f load; 84 f angular_velocity; 112 f slip_angle_deg; 116 f nd_slip
"""

FIELDS = [
    (structure, int(offset), code, name)
    for structure, table in [
        (Physics, PHYSICS),
        (Graphics, GRAPHICS),
        (Static, STATIC),
        (CarControls, CONTROLS),
        (CarData, CAR),
        (CarWheel, WHEEL),
    ]
    for offset, code, name in (entry.split() for entry in table.split(";"))
]


def flat(value: object) -> list[float]:
    if isinstance(value, ctypes.Array):
        return [number for item in value for number in flat(item)]
    assert isinstance(value, (int, float))
    return [float(value)]


@pytest.mark.parametrize(("structure", "size"), SIZES.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_page_has_its_official_size(structure: type[ctypes.LittleEndianStructure], size: int) -> None:
    assert ctypes.sizeof(structure) == size


def test_the_table_covers_more_fields_than_are_asked_for() -> None:
    assert len(FIELDS) >= 100


@pytest.mark.parametrize(
    ("structure", "offset", "code", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value)
)
def test_what_the_game_writes_at_a_byte_is_read_as_that_field(
    structure: type[ctypes.LittleEndianStructure], offset: int, code: str, name: str
) -> None:
    count = int(code[:-1] or 1)
    written = [3 + index for index in range(count)]
    page = bytearray(SIZES[structure])
    struct.pack_into(f"<{code}", page, offset, *written)
    assert flat(getattr(structure.from_buffer_copy(page), name)) == written
    # Every other byte of the page leaves the field alone.
    page = bytearray(b"\xff" * SIZES[structure])
    struct.pack_into(f"<{code}", page, offset, *written)
    assert flat(getattr(structure.from_buffer_copy(page), name)) == written


def test_the_four_wheels_of_a_car_follow_each_other() -> None:
    page = bytearray(672)
    for wheel in range(4):
        struct.pack_into("<f", page, 148 + 120 * wheel + 116, 0.25 * wheel)
    assert [wheel.nd_slip for wheel in CarData.from_buffer_copy(page).wheels] == [0.0, 0.25, 0.5, 0.75]


def test_wide_strings_end_at_their_zero_and_survive_foreign_letters() -> None:
    page = bytearray(684)
    page[134 : 134 + 22] = "nürburg 日\0old".encode("utf-16-le")[:22]
    assert text(Static.from_buffer_copy(page).track) == "nürburg 日"


def test_a_broken_wide_string_is_still_a_string() -> None:
    page = bytearray(684)
    struct.pack_into("<3H", page, 68, ord("a"), 0xD800, ord("b"))
    assert text(Static.from_buffer_copy(page).carModel) == "a\ufffdb"


def test_a_declaration_that_is_off_by_a_field_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(ctypes.LittleEndianStructure):
        _pack_ = 4
        _fields_ = (("gas", ctypes.c_float), ("packetId", ctypes.c_int32))

    monkeypatch.setattr(layout, "_OFFICIAL", {Shifted: (8, {"gas": 4})})
    with pytest.raises(ImportError, match=r"Shifted\.gas is declared at byte 0, not at 4"):
        layout._check()
