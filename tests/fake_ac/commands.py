"""What can be told to a running fake game: one method a command, its keyword arguments from a JSON object.

    {"do": "pause"}   {"do": "tear", "page": "physics", "seconds": 0.02}   {"do": "put", "s": 100.0, "speed": 20.0}

Answers an object; {"error": text} for what it does not understand.
"""

import resource
import time
from pathlib import Path
from typing import Any

from tests.fake_ac.game import Game, Mode
from tests.fake_ac.inputs import Wish
from tests.fake_ac.person import Person
from tests.fake_ac.playback import Playback


class Commands:
    """Commands for one game."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._stalled_until = 0.0

    def do(self, message: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; what it answers."""
        arguments = dict(message)
        try:
            method = getattr(self, "do_" + str(arguments.pop("do", None)))
            return method(**arguments) or {}
        except (AttributeError, TypeError, KeyError, ValueError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def stalled(self) -> bool:
        """Whether the game hangs just now."""
        return time.perf_counter() < self._stalled_until

    def do_mode(self, mode: str) -> None:
        """Show off, menu, live, pause or replay."""
        self._game.mode = Mode[mode.upper()]

    def do_drive(self) -> dict[str, Any]:
        """Dismiss the menu by hand, as a click on Drive does; whether there was one."""
        was = self._game.mode is Mode.MENU
        if was:
            self._game.mode = Mode.LIVE
        return {"dismissed": was}

    def do_restart(self, into: str = "menu") -> None:
        """Restart the session by hand."""
        self._game.restart(Mode[into.upper()])

    def do_after_restart(self, into: str) -> None:
        """What the restart button leads to from now on: menu or live."""
        self._game.after_restart = Mode[into.upper()]

    def do_stall(self, seconds: float) -> None:
        """Hang: nothing moves, nothing is written."""
        self._stalled_until = time.perf_counter() + seconds

    def do_tear(self, page: str = "physics", seconds: float = 0.02, head_first: bool = True, times: int = 1) -> None:
        """Write the next publications of a page in two halves."""
        self._game.pages.tear(page, seconds, head_first, times)

    def do_rates(self, physics_hz: float | None = None, graphics_hz: float | None = None) -> None:
        """Publish this often: a frame cap, or a game that shows its physics once a frame."""
        pages = self._game.pages
        pages.physics_hz = physics_hz or pages.physics_hz
        pages.graphics_hz = graphics_hz or pages.graphics_hz

    def do_vanish(self) -> None:
        """Take the pages away, as when the game ends."""
        self._game.pages.vanish()

    def do_come_back(self, into: str = "menu") -> None:
        """Bring the pages back, as when the game is started again."""
        if not self._game.pages.present:
            self._game.pages.appear()
            self._game.restart(Mode[into.upper()])

    def do_put(self, s: float, gap: float = 0.0, speed: float = 0.0, askew: float = 0.0) -> None:
        """Put the car somewhere: metres along and to the left, m/s, rad to the left of the track."""
        self._game.put(s, gap, speed, askew)

    def do_damage(self, values: list[float]) -> None:
        """Damage the car: front, rear, left, right, centre, 0 to 100."""
        if len(values) != 5:
            raise ValueError("five values are needed")
        self._game.damage = [float(value) for value in values]

    def do_human(self, steer: float = 0.0, gas: float = 0.0, brake: float = 0.0, wins: bool = False) -> None:
        """A person moves wheel (right positive) and pedals, and overrides everybody else if `wins`."""
        self._game.human, self._game.person = Wish(steer=steer, gas=gas, brake=brake), None
        self._game.human_wins = wins

    def do_person(self, pace: float, wins: bool = False) -> None:
        """A person drives laps at this share of the reference driver's speed, until the command human."""
        self._game.person = Person(self._game.track, self._game.car.vehicle, pace)
        self._game.human_wins = wins

    def do_deaf(self, controls: list[str]) -> None:
        """Follow nobody in these controls (steer, gas, brake) from now on: they stay where they are."""
        wish = self._game.wish
        now = {"steer": wish.steer, "gas": wish.gas, "brake": wish.brake}
        self._game.deaf = {control: now[control] for control in controls}

    def do_custom_ai(self, allowed: bool = True, ready: bool = True) -> None:
        """Whether CSP allows Custom AI from now on, and is ready for it: what is made before is never looked at."""
        self._game.custom_ai.allowed, self._game.custom_ai.ready = allowed, ready

    def do_play(self, path: str) -> None:
        """Publish nothing but this file of recorded pages (playback.py) from now on."""
        self._game.playback = Playback(Path(path))

    def do_played(self) -> dict[str, Any]:
        """Whether the file has been played to its end."""
        return {"over": self._game.playback is None or self._game.playback.over}

    def do_truth(self) -> dict[str, Any]:
        """What really is, in racing's units and frame."""
        return self._game.truth()

    def do_cost(self) -> dict[str, Any]:
        """Seconds of CPU and of time that the process has taken, and how often it gave the processor back by itself."""
        sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        return {"cpu": time.process_time(), "time": time.perf_counter(), "sleeps": sleeps}
