"""`ac-bridge bind`: holds the virtual pad plugged in and moves what is to be bound in the game, one thing at a time.

A pad that nobody can touch cannot be bound otherwise: the game waits for something to be pressed. Promises that nothing
moves but what was asked for with Enter, that it is at rest again afterwards, that the pad stays until Ctrl-C, and that
no bridge drives through it meanwhile.
"""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Annotated

import typer

from bridge.assetto_corsa.controls.controls import (
    RELEASED,
    Backend,
    BackendUnavailable,
    Button,
    Command,
    NoBackend,
    choose_backend,
)
from bridge.assetto_corsa.controls.device_lock import take
from bridge.assetto_corsa.session import BackendKind, backends
from bridge.commands.options import give_up
from runtime.exit_codes import ExitCode

HOLD_SECONDS = 1.0
"""So long a button is held, or an axis at its end."""
IN_USE_SECONDS = 5.0
"""So long a device may still be in use: a bridge that has just ended holds it for 3 s."""


def bind(
    backend: Annotated[
        BackendKind, typer.Option(help="Which virtual device to hold: gamepad, or vjoy; auto takes the first there is.")
    ] = BackendKind.AUTO,
    delay: Annotated[
        float, typer.Option(min=0.0, help="Seconds between Enter and the movement: time to click in the game.")
    ] = 3.0,
) -> None:
    """Keep the virtual pad plugged in and move what you bind in the game, one thing for each Enter. Ctrl-C ends it."""
    if backend is BackendKind.CSP:
        give_up("CSP's Custom AI needs no binding: it reaches the game without a device.")
    # A person's Ctrl-C ends what waits for Enter; a supervisor's signal shall put the pad at rest just the same.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as held:
        try:
            device = _plugged_in(backend, held)
            typer.echo(f"The {device.name} is plugged in until Ctrl-C. Choose it in the game's control settings.")
            _offer(device, delay)
        except (KeyboardInterrupt, EOFError):
            typer.echo("\nUnplugged.")
        except (BackendUnavailable, NoBackend) as error:
            give_up(str(error), ExitCode.FAILED)


def _plugged_in(kind: BackendKind, held: ExitStack) -> Backend:
    """The device to be moved, which nobody else has until `held` ends; raises BackendUnavailable and NoBackend."""
    devices = [device for device in backends(kind) if device.name != BackendKind.CSP]
    # Where any will do, all must be free: a pad beside the joystick of a bridge would move the car that it drives.
    for device in devices:
        held.enter_context(closing(take(device.name, IN_USE_SECONDS)))
    chosen = choose_backend(devices)
    held.callback(chosen.close)
    # Neutral is a gentle brake, which the game would take for what is being bound.
    chosen.apply(*RELEASED)
    return chosen


def _offer(device: Backend, delay: float) -> None:
    """One thing after the other, round and round, until an exception ends it."""
    things = list(_things(device).items())
    typer.echo("Enter moves the next one; a number moves that one:")
    for number, (name, _) in enumerate(things, start=1):
        typer.echo(f"  {number}  {name}")
    following = 0
    while True:
        name, move = things[following]
        answer = input(f"Let the game wait for {name}, then press Enter: ").strip()
        if answer:
            if not (answer.isdecimal() and 1 <= int(answer) <= len(things)):
                typer.echo(f"Enter, or a number from 1 to {len(things)}.")
                continue
            following = int(answer) - 1
            name, move = things[following]
        typer.echo(f"{name}: in {delay:g} s ...", nl=False)
        time.sleep(delay)
        move(True)
        try:
            typer.echo(" now ...", nl=False)
            time.sleep(HOLD_SECONDS)
        finally:
            move(False)
        typer.echo(" done.")
        following = (following + 1) % len(things)


def _things(device: Backend) -> dict[str, Callable[[bool], None]]:
    """What can be bound, by the name that the game gives it: moved with True, at rest with False."""

    def axis(command: Command) -> Callable[[bool], None]:
        return lambda on: device.apply(*(command if on else RELEASED))

    def button(which: Button) -> Callable[[bool], None]:
        return lambda on: device.press(which, on)

    return {
        "Steering (to the left)": axis(Command(1.0, 0.0, 0.0)),
        "Steering (to the right)": axis(Command(-1.0, 0.0, 0.0)),
        "Throttle": axis(Command(0.0, 1.0, 0.0)),
        "Brake": axis(Command(0.0, 0.0, 1.0)),
        "Gear up": button(Button.GEAR_UP),
        "Restart session": button(Button.RESET_SESSION),
        "Start session": button(Button.START_SESSION),
        "Return to pits": button(Button.TO_PITS),
    }
