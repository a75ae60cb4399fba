"""Which limit a run has reached: what it may cost, how long it may be on, how long nobody may use it."""

from pathlib import Path
from typing import NamedTuple

from train_cloud.instance.account import State
from train_cloud.instance.config import MIN_GUARD_HOURS, InstanceConfig
from train_cloud.instance.ledger import Totals
from train_cloud.receiver.tls import pin_of
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_folder.states import BRIDGES, STORED_STEPS, UPDATES, Reason
from wire.pairing import Pairing, PinMismatch

WARNING_SECONDS = 300.0
"""So long before an idle instance ends (half its patience at most) its bridges are told."""


class Activity(NamedTuple):
    """Bridges connected now, and environment steps stored and gradient updates made over the whole life of the run."""

    bridges: int
    stored_steps: int
    updates: int = 0


def ask_receiver(port: int, shown_pem: Path, token_file: Path) -> Activity | None:
    """Figures of the receiver that shows this certificate, asked on loopback; None without an answer, no error."""
    try:
        pin = pin_of(shown_pem.read_bytes())
        found = metrics(Pairing("127.0.0.1", port, token_file.read_text(encoding="ascii").strip(), pin))
        return Activity(int(found[BRIDGES]), int(found[STORED_STEPS]), int(found[UPDATES]))
    except (OSError, Unreachable, PinMismatch, ValueError, KeyError):
        return None


def idle_seconds(state: State, life_s: float, activity: Activity | None) -> float:
    """For how long nobody has used the receiver, in life seconds; `state` remembers what it said.

    Used means: more is stored than before, or learned while a bridge is connected (which may have to wait for that).
    A bridge that comes counts once until it has driven: one that only stays, or comes again and again, is no use. The
    first answer begins the count anew, since nobody could connect earlier; until then the count runs from the first
    look, which the services' start brings: a first boot may build its environment for longer than an instance may be
    idle.
    """
    if state.active_s is None:
        state.active_s = life_s
    if activity is not None:
        stored, learned = activity.stored_steps != state.stored_steps, activity.updates != state.updates
        connected = activity.bridges > 0
        arrived = connected and not state.connected and not state.greeted
        if stored or arrived or (connected and learned):
            state.active_s = life_s
        state.connected, state.greeted = connected, not stored and (state.greeted or arrived)
        state.stored_steps, state.updates = activity.stored_steps, activity.updates
    return max(0.0, life_s - state.active_s)


def idle_warning(config: InstanceConfig, idle_s: float) -> str | None:
    """What to tell the bridges when the instance will soon end as idle; None while it will not."""
    limit_s = config.idle_minutes * 60.0
    if idle_s < limit_s - min(WARNING_SECONDS, limit_s / 2):
        return None
    return (
        f"Nothing new was driven for {idle_s / 60.0:.0f} minutes, so the instance is about to end itself (idle_minutes "
        f"is {config.idle_minutes:g}). Let the car drive and it stays; later, `make start` starts it again."
    )


def disk_full(state: State, life_s: float, patience_s: float) -> tuple[Reason, str] | None:
    """The end of an instance whose disk has been full for `patience_s`, with a sentence; None while it is not."""
    if state.full_s is None or life_s - state.full_s < patience_s:
        return None
    return Reason.FAILED, (
        f"For {(life_s - state.full_s) / 60.0:.0f} minutes the disk has been full or could not be written: no "
        "experience is taken, which waits in the bridges' spools. Raise volume_gb (or lower training.max_store_bytes), "
        "apply, `make start`."
    )


def guard_hours(config: InstanceConfig, totals: Totals) -> float:
    """In how many hours the guard outside shall end the group: what is left pays for them at the dearest price."""
    paid = (config.budget_usd - totals.spend_usd) / config.guard_usd_per_hour
    return min(config.max_hours - totals.hours + 1.0, max(paid, MIN_GUARD_HOURS))


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
        happened = "nothing new was driven" if answered else "the receiver has never answered"
        return Reason.IDLE, (
            f"For {idle_s / 60.0:.0f} minutes {happened}, and idle_minutes is {config.idle_minutes:g}. "
            "To go on from the last checkpoint, `make start` and let a bridge drive."
        )
    return None
