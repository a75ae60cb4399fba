"""The fake game: one car on one track through the game's states, driven by CSP's Custom AI, a joystick or a person.

Promises that a step of the physics takes what the drivers wish at that moment and that the pages show what came of it.
In menus, pauses and replays the car does not move and nothing that is shown is LIVE. It knows no clock: who calls
`tick` decides how fast time passes.
"""

import enum
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from racing.car import Controls
from racing.track import Track
from tests.fake_ac.car import PHYSICS_HZ, GameCar
from tests.fake_ac.gearbox import Gearbox
from tests.fake_ac.inputs import NOWHERE, PITS, RESTART_BUTTON, START_BUTTON, CustomAi, Pad, Wish
from tests.fake_ac.laps import Laps
from tests.fake_ac.pages import Painter, Scene, static_page
from tests.fake_ac.person import Person
from tests.fake_ac.playback import Playback
from tests.fake_ac.publisher import Publisher

_GRID_BEFORE_LINE, _PITS_BEFORE_LINE = 10.0, 60.0
_DAMAGE_AT_WALL = 8.0


class Mode(enum.Enum):
    """What the game shows; the value is graphics.status."""

    OFF = (0, "off")
    MENU = (0, "menu")
    REPLAY = (1, "replay")
    LIVE = (2, "live")
    PAUSE = (3, "pause")

    @property
    def status(self) -> int:
        """0 OFF, 1 REPLAY, 2 LIVE, 3 PAUSE."""
        return self.value[0]


class Game:
    """One game process's insides.

    Args:
        folder: where shared memory lies.
        track: that is driven.
        name, layout: of the track, as its folders are called.
        custom_ai: CSP's settings allow Custom AI.
    """

    def __init__(self, folder: Path, track: Track, name: str, layout: str = "", custom_ai: bool = True) -> None:
        self.track = track
        self.car = GameCar(track)
        self.gearbox = Gearbox(self.car.vehicle)
        self.pad = Pad(folder)
        self.custom_ai = CustomAi(folder, custom_ai)
        self.pages = Publisher(
            folder,
            Painter(track, self.car.vehicle),
            static_page(track, self.car.vehicle, name, layout),
            PHYSICS_HZ,
        )
        self.mode = Mode.MENU
        self.human = Wish()
        self.human_wins = False
        self.person: Person | None = None
        self.deaf: dict[str, float] = {}
        self.wish = Wish()
        self.damage = [0.0] * 5
        self.in_pit = False
        self.after_restart = Mode.MENU
        self.playback: Playback | None = None
        self._gas = 0.0
        self._restart_asked = False
        self.pages.appear()
        self.restart(Mode.MENU)

    @property
    def s(self) -> float:
        """Where the car is along the track, m."""
        state = self.car.read()
        return float(self.track.follow(state.position, np.array([self.car.index])).s[0])

    def restart(self, into: Mode) -> None:
        """Begin the session anew: packets and laps from zero, the car on the grid, no damage."""
        self.laps = Laps(self.track.length)
        self.pages.new_session()
        self.custom_ai.let_go()
        self.pages.drop_car()
        self.put(self.track.length - _GRID_BEFORE_LINE)
        self.gearbox.to_neutral()
        self.mode = into

    def put(self, s: float, gap: float = 0.0, speed: float = 0.0, askew: float = 0.0) -> None:
        """Put the car at s metres, `gap` to the left, rolling at m/s, turned by rad to the left of the track."""
        at = np.array([s % self.track.length])
        self._place(self.track.position_at(at, gap)[0], float(self.track.heading_at(at)[0]) + askew, speed)

    def tick(self, seconds: float) -> None:
        """Let this time pass."""
        if self.playback is not None:
            for page, data in self.playback.advance(seconds):
                self.pages.put(page, data)
            return
        self._buttons()
        self.custom_ai.look()
        paused, restart, scale = self.custom_ai.simulation()
        if restart and not self._restart_asked:
            # CSP's restart is known to end in a menu that somebody must leave by hand.
            self.restart(Mode.MENU)
        self._restart_asked = restart
        if self.mode is Mode.REPLAY:
            self.pages.replay(self.mode.status)
        elif self.mode is not Mode.LIVE or paused:
            self.pages.status(Mode.PAUSE.status if paused else self.mode.status, moving=self.mode is not Mode.OFF)
        else:
            self._drive(seconds * scale)

    def close(self) -> None:
        """End the game: nothing of it stays in shared memory."""
        self.pages.vanish()
        self.pad.close()

    def truth(self) -> dict[str, Any]:
        """What really is, in racing's units, whatever the pages show."""
        state = self.car.read()
        at = self.track.project(state.position)
        return {
            "mode": self.mode.value[1],
            "s": float(at.s[0]),
            "gap": float(at.gap[0]),
            "position": state.position[0].tolist(),
            "heading": float(state.heading[0]),
            "velocity": state.velocity[0].tolist(),
            "yaw_rate": float(state.yaw_rate[0]),
            "steer": float(state.steer[0]),
            "gear": self.gearbox.gear,
            "wheels_off": sum(self.car.wheels_off),
            "collisions": self.car.collisions,
            "laps": self.laps.completed,
            "best_ms": self.laps.best_ms,
            "custom_ai": self.custom_ai.in_charge,
            "wish": {"steer": self.wish.steer, "gas": self.wish.gas, "brake": self.wish.brake},
            "physics_packet": self.pages.physics_packet,
            "graphics_packet": self.pages.graphics_packet,
        }

    def _buttons(self) -> None:
        pressed = self.pad.pressed()
        if RESTART_BUTTON in pressed and self.mode is not Mode.OFF:
            self.restart(self.after_restart)
        if START_BUTTON in pressed and self.mode is Mode.MENU:
            self.mode = Mode.LIVE

    def _drive(self, seconds: float) -> None:
        self.wish = wish = self._wished()
        if wish.teleport != NOWHERE:
            self._teleport(wish)
            wish = replace(wish, steer=0.0, gas=0.0)
        before = self.car.read()
        speed = float(np.hypot(*before.velocity[0]))
        assert before.wheel_angular_speed is not None
        driven = 0.5 * float(before.wheel_angular_speed[0, 2] + before.wheel_angular_speed[0, 3])
        gas = self.gearbox.drive(wish, int(before.gear[0]), float(before.engine_rpm[0]), speed, driven)
        self._gas = wish.gas
        self.car.apply(Controls(np.array([-wish.steer]), np.array([gas]), np.array([wish.brake])))
        collisions = self.car.collisions
        self.car.advance(seconds)
        if self.car.collisions > collisions:
            self.damage[4] = min(100.0, self.damage[4] + _DAMAGE_AT_WALL)
        if speed > 1.0:
            self.in_pit = False
        s = self.s
        if wish.teleport == NOWHERE:
            self.laps.advance(s, seconds)
        self.pages.publish(self._scene(s))

    def _wished(self) -> Wish:
        wish = self._driver_wishes()
        return replace(
            wish,
            steer=self.deaf.get("steer", wish.steer),
            gas=self.deaf.get("gas", wish.gas),
            brake=self.deaf.get("brake", wish.brake),
        )

    def _driver_wishes(self) -> Wish:
        if not self.human_wins:
            if self.custom_ai.in_charge:
                return self.custom_ai.wish()
            if self.pad.connected:
                return self.pad.wish()
        return self.human if self.person is None else self.person.wish(self.car.read())

    def _teleport(self, wish: Wish) -> None:
        if wish.teleport == PITS:
            room = float(self.track.widths_at(np.array([self.track.length - _PITS_BEFORE_LINE]))[1][0])
            self.put(self.track.length - _PITS_BEFORE_LINE, gap=1.5 - room)
            self.gearbox.to_neutral()
            self.in_pit = True
            return
        x, _, z = wish.teleport_position
        look_x, _, look_z = wish.teleport_direction
        self._place(np.array([z, x]), math.atan2(look_x, look_z), 0.0)

    def _place(
        self, position: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", heading: float, speed: float
    ) -> None:
        self.car.place(position, heading, speed)
        self.laps.jump()
        self.damage = [0.0] * 5
        self.in_pit = False

    def _scene(self, s: float) -> Scene:
        return Scene(
            state=self.car.read(),
            gear=self.gearbox.gear,
            rpm=self.gearbox.rpm,
            gas=self._gas,
            s=s,
            laps=self.laps,
            damage=tuple(self.damage),
            collisions=self.car.collisions,
            wheels_off=self.car.wheels_off,
            in_pit=self.in_pit,
            status=Mode.LIVE.status,
            custom_ai=self.custom_ai.in_charge,
        )
