"""Controls that reach nothing: for tests of a car that somebody else moves, and of what is sent to a backend."""

from bridge.assetto_corsa.controls.controls import Button, CannotTeleport, Vector


class IdleBackend:
    """A backend without a game. Attributes: sent, what it was told, in order."""

    name = "idle"
    can_teleport = False
    buttons: frozenset[Button] = frozenset()

    def __init__(self) -> None:
        self.sent: list[tuple[float, float, float] | str] = []

    def why_not(self) -> str | None:
        """It can always be used."""
        return None

    def open(self) -> None:
        """Note it."""
        self.sent.append("open")

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Note it."""
        self.sent.append((steer, throttle, brake))

    def neutral(self) -> None:
        """Note it."""
        self.sent.append("neutral")

    def close(self) -> None:
        """Note it."""
        self.sent.append("closed")

    def teleport(self, position: Vector, direction: Vector) -> None:
        """It cannot."""
        raise CannotTeleport(f"nobody puts the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        """It has no buttons."""
        raise KeyError(button, down)
