"""Which limit a run has reached: what it may cost, how long it may be on, how long nobody may use it."""

from pathlib import Path
from typing import NamedTuple

from train_cloud.instance.account import State
from train_cloud.instance.config import InstanceConfig
from train_cloud.instance.ledger import Totals
from train_cloud.receiver.tls import pin_of
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_folder.states import BRIDGES, STORED_STEPS, Reason
from wire.pairing import Pairing, PinMismatch


class Activity(NamedTuple):
    """Bridges connected now, and environment steps stored over the whole life of the run."""

    bridges: int
    stored_steps: int


def ask_receiver(port: int, tls_pem: Path, token_file: Path) -> Activity | None:
    """The receiver's figures, asked on loopback; None when it is not there, or not well, which is no error."""
    try:
        pin = pin_of(tls_pem.read_bytes())
        found = metrics(Pairing("127.0.0.1", port, token_file.read_text(encoding="ascii").strip(), pin))
        return Activity(int(found[BRIDGES]), int(found[STORED_STEPS]))
    except (OSError, Unreachable, PinMismatch, ValueError, KeyError):
        return None


def idle_seconds(state: State, life_s: float, activity: Activity | None) -> float:
    """For how long nobody has used the receiver, in life seconds; `state` remembers what it said.

    Used means: a bridge is connected, or more is stored than before. Its first answer begins the count anew, since
    nobody could connect earlier; until then the count runs from the first look, which the services' start brings: a
    first boot may build its environment for longer than an instance may be idle.
    """
    if state.active_s is None:
        state.active_s = life_s
    if activity is not None:
        if activity.bridges > 0 or activity.stored_steps != state.stored_steps:
            state.active_s = life_s
        state.stored_steps = activity.stored_steps
    return max(0.0, life_s - state.active_s)


def limit_reached(config: InstanceConfig, totals: Totals, idle_s: float, answered: bool) -> tuple[Reason, str] | None:
    """The first limit in Reason's order that is reached, with a sentence; None when none is.

    `answered`: whether the receiver ever said whether it is used.
    """
    if totals.spend_usd >= config.budget_usd:
        return Reason.OVER_BUDGET, (
            f"The run has cost {totals.spend_usd:.2f} USD in {totals.lives} launches, and budget_usd is "
            f"{config.budget_usd:g}. To go on from the last checkpoint, raise budget_usd, apply, `make start`."
        )
    if totals.hours >= config.max_hours:
        return Reason.OVER_HOURS, (
            f"The run has been on for {totals.hours:.1f} hours since it was started, and max_hours is "
            f"{config.max_hours:g}. To go on from the last checkpoint for as long again, `make start`."
        )
    if idle_s >= config.idle_minutes * 60.0:
        happened = "no bridge was connected and nothing stored" if answered else "the receiver has never answered"
        return Reason.IDLE, (
            f"For {idle_s / 60.0:.0f} minutes {happened}, and idle_minutes is {config.idle_minutes:g}. "
            "To go on from the last checkpoint, `make start` and connect a bridge."
        )
    return None
