"""What lies where in the game's shared memory, and in that of its Custom Shaders Patch (CSP).

Promises the official field names, and that a declaration which does not have the official offsets and sizes cannot be
imported. It opens no memory and gives the values no meaning: memory.py and state.py do. Everything is little-endian
and packed to 4 bytes; wheels are in the order FL, FR, RL, RR; vectors are the game's x, y (up), z.

Sources: the game's "Shared Memory Reference" of 25-05-2017 (pages of shared memory version 1.7), and the page "Custom
AI" of CSP's wiki, whose names are kept.
"""

import ctypes
from collections.abc import Mapping
from enum import IntEnum

PHYSICS_PAGE = "acpmf_physics"
GRAPHICS_PAGE = "acpmf_graphics"
STATIC_PAGE = "acpmf_static"
CAR_CONTROLS_PAGE = "AcTools.CSP.NewBehaviour.CustomAI.CarControls0.v0"
CAR_PAGE = "AcTools.CSP.NewBehaviour.CustomAI.Car0.v0"

_int = ctypes.c_int32
_uint = ctypes.c_uint32
_float = ctypes.c_float
_byte = ctypes.c_uint8
_vector = _float * 3
_four = _float * 4
# c_wchar has four bytes on Linux; the game's has two everywhere.
_text15 = ctypes.c_uint16 * 15
_text33 = ctypes.c_uint16 * 33


def _each(kind: type, *names: str) -> tuple[tuple[str, type], ...]:
    """Fields of one kind that follow each other."""
    return tuple((name, kind) for name in names)


class Status(IntEnum):
    """What the game shows; only what was read while LIVE is driving."""

    OFF = 0
    REPLAY = 1
    LIVE = 2
    PAUSE = 3


class Teleport(IntEnum):
    """Values of CarControls.teleport_to."""

    NONE = 0
    PITS = 1
    POSITION = 2


class Physics(ctypes.LittleEndianStructure):
    """The page that the physics thread writes. Units: m, s, rad, N, degrees Celsius, g; km/h in speedKmh, L in fuel."""

    _pack_ = 4
    _fields_ = (
        *_each(_int, "packetId"),
        *_each(_float, "gas", "brake", "fuel"),
        *_each(_int, "gear", "rpms"),
        *_each(_float, "steerAngle", "speedKmh"),
        *_each(_vector, "velocity", "accG"),
        *_each(_four, "wheelSlip", "wheelLoad", "wheelsPressure", "wheelAngularSpeed", "tyreWear", "tyreDirtyLevel"),
        *_each(_four, "tyreCoreTemperature", "camberRAD", "suspensionTravel"),
        *_each(_float, "drs", "tc", "heading", "pitch", "roll", "cgHeight"),
        *_each(_float * 5, "carDamage"),
        *_each(_int, "numberOfTyresOut", "pitLimiterOn"),
        *_each(_float, "abs", "kersCharge", "kersInput"),
        *_each(_int, "autoShifterOn"),
        *_each(_float * 2, "rideHeight"),
        *_each(_float, "turboBoost", "ballast", "airDensity", "airTemp", "roadTemp"),
        *_each(_vector, "localAngularVel"),
        *_each(_float, "finalFF", "performanceMeter"),
        *_each(_int, "engineBrake", "ersRecoveryLevel", "ersPowerLevel", "ersHeatCharging", "ersIsCharging"),
        *_each(_float, "kersCurrentKJ"),
        *_each(_int, "drsAvailable", "drsEnabled"),
        *_each(_four, "brakeTemp"),
        *_each(_float, "clutch"),
        *_each(_four, "tyreTempI", "tyreTempM", "tyreTempO"),
        *_each(_int, "isAIControlled"),
        *_each(_vector * 4, "tyreContactPoint", "tyreContactNormal", "tyreContactHeading"),
        *_each(_float, "brakeBias"),
        *_each(_vector, "localVelocity"),
    )


class Graphics(ctypes.LittleEndianStructure):
    """The page that is written once a picture: what the session is doing. Times in ms where the name starts with i."""

    _pack_ = 4
    _fields_ = (
        *_each(_int, "packetId", "status", "session"),
        *_each(_text15, "currentTime", "lastTime", "bestTime", "split"),
        *_each(_int, "completedLaps", "position", "iCurrentTime", "iLastTime", "iBestTime"),
        *_each(_float, "sessionTimeLeft", "distanceTraveled"),
        *_each(_int, "isInPit", "currentSectorIndex", "lastSectorTime", "numberOfLaps"),
        *_each(_text33, "tyreCompound"),
        *_each(_float, "replayTimeMultiplier", "normalizedCarPosition"),
        *_each(_vector, "carCoordinates"),
        *_each(_float, "penaltyTime"),
        *_each(_int, "flag", "idealLineOn", "isInPitLane"),
        *_each(_float, "surfaceGrip"),
        *_each(_int, "mandatoryPitDone"),
        *_each(_float, "windSpeed", "windDirection"),
    )


class Static(ctypes.LittleEndianStructure):
    """The page that is written once a session: which car, which track, which rules."""

    _pack_ = 4
    _fields_ = (
        *_each(_text15, "smVersion", "acVersion"),
        *_each(_int, "numberOfSessions", "numCars"),
        *_each(_text33, "carModel", "track", "playerName", "playerSurname", "playerNick"),
        *_each(_int, "sectorCount"),
        *_each(_float, "maxTorque", "maxPower"),
        *_each(_int, "maxRpm"),
        *_each(_float, "maxFuel"),
        *_each(_four, "suspensionMaxTravel", "tyreRadius"),
        *_each(_float, "maxTurboBoost", "deprecated_1", "deprecated_2"),
        *_each(_int, "penaltiesEnabled"),
        *_each(_float, "aidFuelRate", "aidTireRate", "aidMechanicalDamage"),
        *_each(_int, "aidAllowTyreBlankets"),
        *_each(_float, "aidStability"),
        *_each(_int, "aidAutoClutch", "aidAutoBlip", "hasDRS", "hasERS", "hasKERS"),
        *_each(_float, "kersMaxJ"),
        *_each(_int, "engineBrakeSettingsCount", "ersPowerControllerCount"),
        *_each(_float, "trackSPlineLength"),
        *_each(_text33, "trackConfiguration"),
        *_each(_float, "ersMaxJ"),
        *_each(_int, "isTimedRace", "hasExtraLap"),
        *_each(_text33, "carSkin"),
        *_each(_int, "reversedGridPositions", "PitWindowStart", "PitWindowEnd"),
    )


class CarControls(ctypes.LittleEndianStructure):
    """What CSP's Custom AI reads 333 times a second: pedals 0 to 1, steer -1 to 1 (right positive), buttons 0 or 1."""

    _pack_ = 4
    _fields_ = (
        *_each(_float, "gas", "brake", "clutch", "steer", "handbrake"),
        *_each(_byte, "gear_up", "gear_dn", "drs", "kers", "brake_balance_up", "brake_balance_dn", "abs_up", "abs_dn"),
        *_each(_byte, "tc_up", "tc_dn", "turbo_up", "turbo_dn", "engine_brake_up", "engine_brake_dn"),
        *_each(_byte, "mguk_delivery_up", "mguk_delivery_dn", "mguk_recovery_up", "mguk_recovery_dn", "mguh_mode"),
        *_each(_byte, "headlights", "teleport_to", "autoclutch_on_start", "autoclutch_on_change", "autoblip_active"),
        *_each(_vector, "teleport_pos", "teleport_dir"),
        *_each(_byte, "autoshift_active"),
    )


class CarWheel(ctypes.LittleEndianStructure):
    """One wheel in CarData. nd_slip is the slip over that of the largest tyre force."""

    _pack_ = 4
    _fields_ = (
        *_each(_vector, "position", "contact_point", "contact_normal", "look", "side", "velocity"),
        *_each(_float, "slip_ratio", "load", "pressure", "angular_velocity", "wear", "dirty_level", "core_temperature"),
        *_each(_float, "camber_rad", "disc_temperature", "slip", "slip_angle_deg", "nd_slip"),
    )


class CarData(ctypes.LittleEndianStructure):
    """What CSP's Custom AI writes while it has taken the car over ("Car0"); its appearance confirms the takeover."""

    _pack_ = 4
    _fields_ = (
        *_each(_int, "packet_id"),
        *_each(_float, "gas", "brake", "clutch", "steer", "handbrake", "fuel"),
        *_each(_int, "gear"),
        *_each(_float, "rpm", "speed_kmh"),
        *_each(_vector, "velocity", "acc_g", "look", "up", "position", "local_velocity", "local_angular_velocity"),
        *_each(_float, "cg_height"),
        *_each(_float * 5, "car_damage"),
        *_each(CarWheel * 4, "wheels"),
        *_each(_float, "turbo_boost", "final_ff", "final_pure_ff"),
        *_each(_byte, "pit_limiter", "abs_in_action", "traction_control_in_action"),
        *_each(_uint, "lap_time_ms", "best_lap_time_ms"),
        *_each(_float, "drivetrain_torque", "spline_position", "collision_depth"),
        *_each(_uint, "collision_counter", "wheels_valid_surface"),
    )


def text(units: "ctypes.Array[ctypes.c_uint16]") -> str:
    """What is written in a wide string of a page, up to its first zero; what is no UTF-16 becomes U+FFFD."""
    return bytes(units).decode("utf-16-le", errors="replace").split("\0", 1)[0]


_OFFICIAL: Mapping[type[ctypes.LittleEndianStructure], tuple[int, Mapping[str, int]]] = {
    Physics: (
        580,
        {"gear": 16, "steerAngle": 24, "velocity": 32, "accG": 44, "tyreCoreTemperature": 152, "drs": 200}
        | {"heading": 208, "carDamage": 224, "numberOfTyresOut": 244, "abs": 252, "autoShifterOn": 264, "airTemp": 288}
        | {"localAngularVel": 296, "engineBrake": 316, "kersCurrentKJ": 336, "brakeTemp": 348, "clutch": 364}
        | {"tyreTempI": 368, "isAIControlled": 416, "tyreContactPoint": 420, "brakeBias": 564, "localVelocity": 568},
    ),
    Graphics: (
        296,
        {"status": 4, "currentTime": 12, "completedLaps": 132, "iCurrentTime": 140, "isInPit": 160}
        | {"tyreCompound": 176, "replayTimeMultiplier": 244, "normalizedCarPosition": 248, "carCoordinates": 252}
        | {"flag": 268, "isInPitLane": 276, "surfaceGrip": 280, "windDirection": 292},
    ),
    Static: (
        684,
        {"acVersion": 30, "carModel": 68, "track": 134, "playerNick": 332, "sectorCount": 400, "maxRpm": 412}
        | {"suspensionMaxTravel": 420, "maxTurboBoost": 452, "penaltiesEnabled": 464, "hasDRS": 496, "kersMaxJ": 508}
        | {"trackSPlineLength": 520, "trackConfiguration": 524, "carSkin": 604, "PitWindowEnd": 680},
    ),
    CarControls: (
        72,
        {"steer": 12, "gear_up": 20, "teleport_to": 40, "autoclutch_on_start": 41, "autoblip_active": 43}
        | {"teleport_pos": 44, "teleport_dir": 56, "autoshift_active": 68},
    ),
    CarWheel: (120, {"slip_ratio": 72, "slip_angle_deg": 112}),
    CarData: (
        672,
        {"velocity": 40, "look": 64, "position": 88, "local_velocity": 100, "wheels": 148, "lap_time_ms": 644}
        | {"spline_position": 656, "collision_counter": 664, "wheels_valid_surface": 668},
    ),
}


def _check() -> None:
    """Refuse a declaration that differs from the official layout; raises ImportError naming the field."""
    for structure, (size, offsets) in _OFFICIAL.items():
        for name, offset in offsets.items():
            if (declared := getattr(structure, name).offset) != offset:
                raise ImportError(f"{structure.__name__}.{name} is declared at byte {declared}, not at {offset}")
        if (declared := ctypes.sizeof(structure)) != size:
            raise ImportError(f"{structure.__name__} is declared with {declared} bytes, not with {size}")


_check()
