"""What the fake game's car looks like in the game's pages: racing's axes, units and signs turned into the game's.

Promises the game's conventions, written down independently of the bridge: x is the ground plane's y, z its x, y is up;
the heading counts the other way round; steering is positive to the right; speeds in km/h, times in ms, accelerations
in g; the car's own axes are left, up, forward. It only fills bytearrays; who publishes them decides when.
"""

import math
from dataclasses import dataclass

import numpy as np

from racing.car import CarState
from racing.track import Track
from racing.vehicle import GRAVITY, Vehicle
from tests.fake_ac import offsets
from tests.fake_ac.laps import Laps
from tests.fake_ac.shared import Layout, Value

STEERING_LOCK_DEGREES = 320.0
HEIGHT = 12.8
"""Metres above the sea of the car; its track's line lies at 12.5."""
CAR_MODEL, TYRES = "ks_fake_gt3", "Slicks (S)"

PHYSICS = Layout(offsets.PHYSICS, offsets.PHYSICS_SIZE)
GRAPHICS = Layout(offsets.GRAPHICS, offsets.GRAPHICS_SIZE)
STATIC = Layout(offsets.STATIC, offsets.STATIC_SIZE)
CAR = Layout(offsets.CAR, offsets.CAR_SIZE)
WHEEL = Layout(offsets.CAR_WHEEL, offsets.CAR_WHEEL_SIZE)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """All that the pages tell about one moment."""

    state: CarState
    gear: int
    rpm: float
    gas: float
    s: float
    laps: Laps
    damage: tuple[float, ...]
    collisions: int
    wheels_off: tuple[bool, ...]
    in_pit: bool
    status: int
    custom_ai: bool


class Moment:
    """A scene in the game's axes: vectors are (x, y up, z) of the world or (left, up, forward) of the car."""

    def __init__(self, scene: Scene, arms: list[tuple[float, float]]) -> None:
        state = scene.state
        heading = float(state.heading[0])
        sine, cosine = math.sin(heading), math.cos(heading)
        forward, left = (float(value) for value in state.velocity[0])
        x, z = float(state.position[0, 1]), float(state.position[0, 0])
        ahead, aside = state.acceleration[0] if state.acceleration is not None else (0.0, 0.0)
        self.heading = (-heading + math.pi) % (2.0 * math.pi) - math.pi
        self.look: Triple = (sine, 0.0, cosine)
        self.side: Triple = (cosine, 0.0, -sine)
        self.position: Triple = (x, HEIGHT, z)
        self.velocity: Triple = (forward * sine + left * cosine, 0.0, forward * cosine - left * sine)
        self.local_velocity: Triple = (left, 0.0, forward)
        self.turning: Triple = (0.0, float(state.yaw_rate[0]), 0.0)
        self.acc_g: Triple = (float(aside) / GRAVITY, 0.0, float(ahead) / GRAVITY)
        self.speed_kmh = 3.6 * math.hypot(forward, left)
        self.steer = -float(state.steer[0])
        self.contacts: list[Triple] = [
            (x + along * sine + across * cosine, HEIGHT - 0.3, z + along * cosine - across * sine)
            for along, across in arms
        ]


class Painter:
    """Fills the pages of one car on one track. Attributes: physics, graphics, car: the pages as they are now."""

    def __init__(self, track: Track, vehicle: Vehicle) -> None:
        self._length = track.length
        self._vehicle = vehicle
        self._arms = [(float(ahead), float(left)) for ahead, left in vehicle.wheel_arms()]
        self.physics = bytearray(offsets.PHYSICS_SIZE)
        self.graphics = bytearray(offsets.GRAPHICS_SIZE)
        self.car = bytearray(offsets.CAR_SIZE)
        upright = (0.0, 1.0, 0.0)
        warm: dict[str, Value] = dict.fromkeys(
            ("tyreCoreTemperature", "tyreTempI", "tyreTempM", "tyreTempO"), (80.0,) * 4
        )
        constant: dict[str, Value] = {
            "fuel": 40.0,
            "wheelsPressure": (27.5,) * 4,
            "cgHeight": vehicle.gravity_height,
            "airDensity": 1.2,
            "airTemp": 26.0,
            "roadTemp": 32.0,
            "autoShifterOn": 1,
            "brakeTemp": (300.0,) * 4,
            "brakeBias": vehicle.front_brakes,
            "rideHeight": (0.06, 0.08),
            "tyreContactNormal": upright * 4,
        }
        PHYSICS.put(self.physics, warm | constant)
        GRAPHICS.put(self.graphics, {"tyreCompound": TYRES, "surfaceGrip": 1.0, "replayTimeMultiplier": 1.0})
        GRAPHICS.put(self.graphics, {"numberOfLaps": 0, "position": 1, "sessionTimeLeft": 1_800_000.0})
        CAR.put(self.car, {"up": upright, "fuel": 40.0, "cg_height": vehicle.gravity_height})

    def paint_physics(self, scene: Scene, packet: int) -> Moment:
        """Fill the physics page; the moment that it shows, for the other pages."""
        state = scene.state
        now = Moment(scene, self._arms)
        values: dict[str, Value] = {
            "packetId": packet,
            "gas": scene.gas,
            "brake": float(state.brake[0]),
            "gear": scene.gear,
            "rpms": round(scene.rpm),
            "steerAngle": now.steer,
            "speedKmh": now.speed_kmh,
            "velocity": now.velocity,
            "accG": now.acc_g,
            "wheelSlip": _four(state.wheel_slip),
            "wheelLoad": _four(state.wheel_load),
            "wheelAngularSpeed": _four(state.wheel_angular_speed),
            "heading": now.heading,
            "carDamage": scene.damage,
            "numberOfTyresOut": sum(scene.wheels_off),
            "localAngularVel": now.turning,
            "clutch": 1.0,
            "isAIControlled": int(scene.custom_ai),
            "tyreContactPoint": tuple(part for point in now.contacts for part in point),
            "tyreContactHeading": now.look * 4,
            "localVelocity": now.local_velocity,
        }
        PHYSICS.put(self.physics, values)
        return now

    def paint_graphics(self, scene: Scene, now: Moment, packet: int) -> None:
        """Fill the graphics page."""
        laps = scene.laps
        values: dict[str, Value] = {
            "packetId": packet,
            "status": scene.status,
            "currentTime": _clock(int(laps.current_ms)),
            "lastTime": _clock(laps.last_ms),
            "bestTime": _clock(laps.best_ms),
            "completedLaps": laps.completed,
            "iCurrentTime": int(laps.current_ms),
            "iLastTime": laps.last_ms,
            "iBestTime": laps.best_ms,
            "distanceTraveled": laps.distance,
            "isInPit": int(scene.in_pit),
            "isInPitLane": int(scene.in_pit),
            "currentSectorIndex": min(2, int(3.0 * scene.s / self._length)),
            "normalizedCarPosition": scene.s / self._length % 1.0,
            "carCoordinates": now.position,
        }
        GRAPHICS.put(self.graphics, values)

    def paint_car(self, scene: Scene, now: Moment, packet: int) -> None:
        """Fill CSP's page of car 0."""
        laps, state = scene.laps, scene.state
        values: dict[str, Value] = {
            "packet_id": packet,
            "gas": scene.gas,
            "brake": float(state.brake[0]),
            "clutch": 1.0,
            "steer": now.steer * STEERING_LOCK_DEGREES,
            "gear": scene.gear,
            "rpm": scene.rpm,
            "speed_kmh": now.speed_kmh,
            "velocity": now.velocity,
            "acc_g": now.acc_g,
            "look": now.look,
            "position": now.position,
            "local_velocity": now.local_velocity,
            "local_angular_velocity": now.turning,
            "car_damage": scene.damage,
            "lap_time_ms": int(laps.current_ms),
            "best_lap_time_ms": laps.best_ms,
            "spline_position": scene.s / self._length % 1.0,
            "collision_counter": scene.collisions,
            "wheels_valid_surface": sum(1 << wheel for wheel, off in enumerate(scene.wheels_off) if not off),
        }
        CAR.put(self.car, values)
        for wheel in range(4):
            at = offsets.CAR_WHEELS + wheel * offsets.CAR_WHEEL_SIZE
            page = self.car[at : at + offsets.CAR_WHEEL_SIZE]
            WHEEL.put(page, self._wheel(scene, now, wheel))
            self.car[at : at + offsets.CAR_WHEEL_SIZE] = page

    def _wheel(self, scene: Scene, now: Moment, wheel: int) -> dict[str, Value]:
        """One wheel in CSP's terms: slip ratio and slip angle of its contact patch in its own direction."""
        state, (along, across) = scene.state, self._arms[wheel]
        left, _, forward = now.local_velocity
        ahead, aside = forward - across * now.turning[1], left + along * now.turning[1]
        turned = -now.steer * self._vehicle.full_lock if wheel < 2 else 0.0
        rolling = ahead * math.cos(turned) + aside * math.sin(turned)
        sliding = aside * math.cos(turned) - ahead * math.sin(turned)
        spin = _four(state.wheel_angular_speed)[wheel]
        reference = max(abs(rolling), 1.0)
        x, _, z = now.contacts[wheel]
        return {
            "position": (x, HEIGHT, z),
            "contact_point": now.contacts[wheel],
            "contact_normal": (0.0, 1.0, 0.0),
            "look": now.look,
            "side": now.side,
            "velocity": now.velocity,
            "slip_ratio": (spin * self._vehicle.wheel_radius - rolling) / reference,
            "load": _four(state.wheel_load)[wheel],
            "pressure": 27.5,
            "angular_velocity": spin,
            "core_temperature": 80.0,
            "slip_angle_deg": math.degrees(math.atan2(sliding, reference)),
            "nd_slip": _four(state.wheel_slip)[wheel],
        }


def static_page(track: Track, vehicle: Vehicle, name: str, layout: str) -> bytes:
    """The static page of a session on this track."""
    page = bytearray(offsets.STATIC_SIZE)
    texts: dict[str, Value] = {"smVersion": "1.7", "acVersion": "1.16.4", "carModel": CAR_MODEL, "track": name}
    player: dict[str, Value] = {"playerName": "Tazio", "playerSurname": "Nuvolari", "playerNick": "Nivola"}
    numbers: dict[str, Value] = {
        "trackConfiguration": layout,
        "carSkin": "00_red",
        "numberOfSessions": 1,
        "numCars": 1,
        "sectorCount": 3,
        "maxTorque": vehicle.peak_torque,
        "maxPower": vehicle.peak_power,
        "maxRpm": round(vehicle.limit_rpm),
        "maxFuel": 110.0,
        "tyreRadius": (vehicle.wheel_radius,) * 4,
        "aidAutoClutch": 1,
        "aidMechanicalDamage": 1.0,
        "trackSPlineLength": track.length,
    }
    STATIC.put(page, texts | player | numbers)
    return bytes(page)


def _four(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None") -> tuple[float, ...]:
    return (0.0,) * 4 if values is None else tuple(values[0].tolist())


def _clock(milliseconds: int) -> str:
    if milliseconds <= 0:
        return "-:--:---"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}:{rest // 1000:02d}:{rest % 1000:03d}"
