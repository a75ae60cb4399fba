"""What the budget's ticks remember from one to the next, in FOLDER/budget.json; it outlives a reboot.

Everything in it is counted in life seconds, so that the wall clock may jump between two ticks. A file that is lost or
damaged costs accuracy, never the decision: the spend is then priced again over the whole boot.
"""

import logging
from pathlib import Path

import msgspec

from runtime.files import write_private
from runtime.logs import fields
from train_cloud.instance.ledger import Life
from train_cloud.instance.spend import Spent

FILE = "budget.json"

_log = logging.getLogger(__name__)


class Instance(msgspec.Struct, frozen=True):
    """Which instance this is, as the metadata service says."""

    instance_id: str
    instance_type: str
    availability_zone: str


class BudgetState(msgspec.Struct):
    """One instance between two ticks.

    Attributes:
        boot: name of the boot that `spent`, `life_s`, `boot_usd` and the idle clock belong to.
        launched_at: when the first boot began (ISO 8601), by the clock as it was at the first tick.
        earlier_usd, earlier_hours: what this instance's boots before this one took.
        boot_usd, life_s: what this boot took at the last tick.
        active_s: life second at which somebody last used the receiver; None before this boot's first look.
        stored_steps: what the receiver said last; None before it ever answered in this boot.
        others, started: what the bucket said last of other lives and of the last start.
        chunks: pieces of the log shipped so far.
    """

    boot: str = ""
    launched_at: str = ""
    instance: Instance | None = None
    earlier_usd: float = 0.0
    earlier_hours: float = 0.0
    spent: Spent = msgspec.field(default_factory=Spent)
    boot_usd: float = 0.0
    life_s: float = 0.0
    active_s: float | None = None
    stored_steps: int | None = None
    others: dict[str, Life] = msgspec.field(default_factory=dict)
    started: str | None = None
    chunks: int = 0

    def begin(self, boot: str) -> None:
        """Go on in `boot`: after a reboot, what the last boot took is put by and its clocks begin anew."""
        if self.boot == boot:
            return
        self.earlier_usd += self.boot_usd
        self.earlier_hours += self.life_s / 3600.0
        self.boot, self.boot_usd, self.life_s, self.active_s = boot, 0.0, 0.0, None
        self.spent, self.stored_steps = Spent(last_price=self.spent.last_price), None


def load_state(folder: Path) -> BudgetState:
    """What the last tick left in `folder`; a fresh state when it left none that can be read."""
    file = folder / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=BudgetState)
    except FileNotFoundError:
        return BudgetState()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("the last tick's state is lost; the spend is counted anew", extra=fields(file=file, problem=error))
        return BudgetState()


def save_state(folder: Path, state: BudgetState) -> None:
    """Keep the state. A full disk is said, and no error: what must be decided is decided without it."""
    try:
        write_private(folder / FILE, msgspec.json.encode(state))
    except OSError as error:
        _log.error("the tick's state could not be kept", extra=fields(problem=error))
