"""A vJoy device of the fake game: what pyvjoy is told, the game's virtual joystick shows."""

from types import SimpleNamespace
from typing import Any

from tests.support.fake_game import FakeGame


class WiredJoystick:
    """pyvjoy's interface, wired to the fake game's virtual joystick."""

    def __init__(self, game: FakeGame) -> None:
        self.data: Any = SimpleNamespace(wAxisX=0, wAxisY=0, wAxisZ=0, wAxisZRot=0, lButtons=0)
        self._device = game.device()

    def update(self) -> object:
        """Show the game what was set."""
        data = self.data
        self._device.show(
            steer=(data.wAxisX - 0x4000) / 0x4000,
            throttle=(data.wAxisY - 1) / 0x7FFF,
            brake=(data.wAxisZ - 1) / 0x7FFF,
            buttons=frozenset(number for number in range(1, 33) if data.lButtons >> number - 1 & 1),
        )
        return 1
