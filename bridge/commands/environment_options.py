"""The options of `drive` for an environment of one's own, and the check that no option of a car stands beside them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from bridge.commands.options import give_up

OwnEnvironment = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help="Drive an environment of your own instead of a car: an id that Gymnasium knows, such as Pendulum-v1, or "
        "module:attribute of your code; the run's environment.id is the same. Box observations, Box or Discrete "
        "actions. Time passes in its step, as fast as that goes; with --real-time step is called --rate times a "
        'second by our clock, unless metadata["ac_training"] says {"self_paced": True}, whose step lasts a control '
        "period itself.",
    ),
]
NumEnvs = Annotated[
    int | None, typer.Option("--num-envs", min=1, max=1024, help="Environments of --env at once; 1 is the default.")
]


class Outside(StrEnum):
    """What becomes of a value outside its declared space."""

    WARN = "warn"
    REFUSE = "refuse"
    PASS = "pass"


OutsideOption = Annotated[
    Outside | None,
    typer.Option(
        "--outside",
        help="A value of --env outside its declared space: warn (the default) says so once, refuse ends the drive.",
    ),
]


def check_options(
    env: str | None,
    num_envs: int | None,
    outside: Outside | None,
    rate: float | None,
    real_time: bool,
    of_cars: Sequence[str],
) -> None:
    """Give up where options do not go together; `of_cars` are those given that are for cars alone."""
    if env is None:
        if num_envs is not None or outside is not None:
            give_up("--num-envs and --outside go with --env NAME; add that, or leave them out.")
        return
    for name in of_cars:
        give_up(f"{name} is for cars and has no effect on --env; leave one of them out.")
    if (rate is None) == real_time:
        give_up("--env needs --rate and --real-time together, for so many steps a second by our clock, or neither.")
    if rate is not None and not 0.0 < rate <= 1000.0:
        give_up("--rate is more than 0 and at most 1000 steps a second.")
