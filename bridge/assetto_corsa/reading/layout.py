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
        ("packetId", _int),
        ("gas", _float),
        ("brake", _float),
        ("fuel", _float),
        ("gear", _int),
        ("rpms", _int),
        ("steerAngle", _float),
        ("speedKmh", _float),
        ("velocity", _vector),
        ("accG", _vector),
        ("wheelSlip", _four),
        ("wheelLoad", _four),
        ("wheelsPressure", _four),
        ("wheelAngularSpeed", _four),
        ("tyreWear", _four),
        ("tyreDirtyLevel", _four),
        ("tyreCoreTemperature", _four),
        ("camberRAD", _four),
        ("suspensionTravel", _four),
        ("drs", _float),
        ("tc", _float),
        ("heading", _float),
        ("pitch", _float),
        ("roll", _float),
        ("cgHeight", _float),
        ("carDamage", _float * 5),
        ("numberOfTyresOut", _int),
        ("pitLimiterOn", _int),
        ("abs", _float),
        ("kersCharge", _float),
        ("kersInput", _float),
        ("autoShifterOn", _int),
        ("rideHeight", _float * 2),
        ("turboBoost", _float),
        ("ballast", _float),
        ("airDensity", _float),
        ("airTemp", _float),
        ("roadTemp", _float),
        ("localAngularVel", _vector),
        ("finalFF", _float),
        ("performanceMeter", _float),
        ("engineBrake", _int),
        ("ersRecoveryLevel", _int),
        ("ersPowerLevel", _int),
        ("ersHeatCharging", _int),
        ("ersIsCharging", _int),
        ("kersCurrentKJ", _float),
        ("drsAvailable", _int),
        ("drsEnabled", _int),
        ("brakeTemp", _four),
        ("clutch", _float),
        ("tyreTempI", _four),
        ("tyreTempM", _four),
        ("tyreTempO", _four),
        ("isAIControlled", _int),
        ("tyreContactPoint", _vector * 4),
        ("tyreContactNormal", _vector * 4),
        ("tyreContactHeading", _vector * 4),
        ("brakeBias", _float),
        ("localVelocity", _vector),
    )


class Graphics(ctypes.LittleEndianStructure):
    """The page that is written once a picture: what the session is doing. Times in ms where the name starts with i."""

    _pack_ = 4
    _fields_ = (
        ("packetId", _int),
        ("status", _int),
        ("session", _int),
        ("currentTime", _text15),
        ("lastTime", _text15),
        ("bestTime", _text15),
        ("split", _text15),
        ("completedLaps", _int),
        ("position", _int),
        ("iCurrentTime", _int),
        ("iLastTime", _int),
        ("iBestTime", _int),
        ("sessionTimeLeft", _float),
        ("distanceTraveled", _float),
        ("isInPit", _int),
        ("currentSectorIndex", _int),
        ("lastSectorTime", _int),
        ("numberOfLaps", _int),
        ("tyreCompound", _text33),
        ("replayTimeMultiplier", _float),
        ("normalizedCarPosition", _float),
        ("carCoordinates", _vector),
        ("penaltyTime", _float),
        ("flag", _int),
        ("idealLineOn", _int),
        ("isInPitLane", _int),
        ("surfaceGrip", _float),
        ("mandatoryPitDone", _int),
        ("windSpeed", _float),
        ("windDirection", _float),
    )


class Static(ctypes.LittleEndianStructure):
    """The page that is written once a session: which car, which track, which rules."""

    _pack_ = 4
    _fields_ = (
        ("smVersion", _text15),
        ("acVersion", _text15),
        ("numberOfSessions", _int),
        ("numCars", _int),
        ("carModel", _text33),
        ("track", _text33),
        ("playerName", _text33),
        ("playerSurname", _text33),
        ("playerNick", _text33),
        ("sectorCount", _int),
        ("maxTorque", _float),
        ("maxPower", _float),
        ("maxRpm", _int),
        ("maxFuel", _float),
        ("suspensionMaxTravel", _four),
        ("tyreRadius", _four),
        ("maxTurboBoost", _float),
        ("deprecated_1", _float),
        ("deprecated_2", _float),
        ("penaltiesEnabled", _int),
        ("aidFuelRate", _float),
        ("aidTireRate", _float),
        ("aidMechanicalDamage", _float),
        ("aidAllowTyreBlankets", _int),
        ("aidStability", _float),
        ("aidAutoClutch", _int),
        ("aidAutoBlip", _int),
        ("hasDRS", _int),
        ("hasERS", _int),
        ("hasKERS", _int),
        ("kersMaxJ", _float),
        ("engineBrakeSettingsCount", _int),
        ("ersPowerControllerCount", _int),
        ("trackSPlineLength", _float),
        ("trackConfiguration", _text33),
        ("ersMaxJ", _float),
        ("isTimedRace", _int),
        ("hasExtraLap", _int),
        ("carSkin", _text33),
        ("reversedGridPositions", _int),
        ("PitWindowStart", _int),
        ("PitWindowEnd", _int),
    )


class CarControls(ctypes.LittleEndianStructure):
    """What CSP's Custom AI reads 333 times a second: pedals 0 to 1, steer -1 to 1 (right positive), buttons 0 or 1."""

    _pack_ = 4
    _fields_ = (
        ("gas", _float),
        ("brake", _float),
        ("clutch", _float),
        ("steer", _float),
        ("handbrake", _float),
        ("gear_up", _byte),
        ("gear_dn", _byte),
        ("drs", _byte),
        ("kers", _byte),
        ("brake_balance_up", _byte),
        ("brake_balance_dn", _byte),
        ("abs_up", _byte),
        ("abs_dn", _byte),
        ("tc_up", _byte),
        ("tc_dn", _byte),
        ("turbo_up", _byte),
        ("turbo_dn", _byte),
        ("engine_brake_up", _byte),
        ("engine_brake_dn", _byte),
        ("mguk_delivery_up", _byte),
        ("mguk_delivery_dn", _byte),
        ("mguk_recovery_up", _byte),
        ("mguk_recovery_dn", _byte),
        ("mguh_mode", _byte),
        ("headlights", _byte),
        ("teleport_to", _byte),
        ("autoclutch_on_start", _byte),
        ("autoclutch_on_change", _byte),
        ("autoblip_active", _byte),
        ("teleport_pos", _vector),
        ("teleport_dir", _vector),
        ("autoshift_active", _byte),
    )


class CarWheel(ctypes.LittleEndianStructure):
    """One wheel in CarData. nd_slip is the slip over that of the largest tyre force."""

    _pack_ = 4
    _fields_ = (
        ("position", _vector),
        ("contact_point", _vector),
        ("contact_normal", _vector),
        ("look", _vector),
        ("side", _vector),
        ("velocity", _vector),
        ("slip_ratio", _float),
        ("load", _float),
        ("pressure", _float),
        ("angular_velocity", _float),
        ("wear", _float),
        ("dirty_level", _float),
        ("core_temperature", _float),
        ("camber_rad", _float),
        ("disc_temperature", _float),
        ("slip", _float),
        ("slip_angle_deg", _float),
        ("nd_slip", _float),
    )


class CarData(ctypes.LittleEndianStructure):
    """What CSP's Custom AI writes while it has taken the car over ("Car0"); its appearance confirms the takeover."""

    _pack_ = 4
    _fields_ = (
        ("packet_id", _int),
        ("gas", _float),
        ("brake", _float),
        ("clutch", _float),
        ("steer", _float),
        ("handbrake", _float),
        ("fuel", _float),
        ("gear", _int),
        ("rpm", _float),
        ("speed_kmh", _float),
        ("velocity", _vector),
        ("acc_g", _vector),
        ("look", _vector),
        ("up", _vector),
        ("position", _vector),
        ("local_velocity", _vector),
        ("local_angular_velocity", _vector),
        ("cg_height", _float),
        ("car_damage", _float * 5),
        ("wheels", CarWheel * 4),
        ("turbo_boost", _float),
        ("final_ff", _float),
        ("final_pure_ff", _float),
        ("pit_limiter", _byte),
        ("abs_in_action", _byte),
        ("traction_control_in_action", _byte),
        ("lap_time_ms", _uint),
        ("best_lap_time_ms", _uint),
        ("drivetrain_torque", _float),
        ("spline_position", _float),
        ("collision_depth", _float),
        ("collision_counter", _uint),
        ("wheels_valid_surface", _uint),
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
