"""How long the instance took from its start to the first gradient, step by step.

The boot scripts append `name<TAB>seconds` lines to the file BOOT_STEPS in the service's folder; the trainer adds the
last one. Seconds count from the start of PID 1 and by a clock that nobody sets. Without the file, so anywhere but on
an instance, there is nothing to tell.
"""

import logging
from contextlib import suppress
from pathlib import Path

from runtime.boot_clock import seconds_since_boot
from runtime.logs import fields
from train_cloud.run_folder.files import BOOT_STEPS

FIRST_GRADIENT = "first_gradient"

_log = logging.getLogger(__name__)


def read_boot_steps(folder: Path) -> dict[str, float]:
    """Seconds of each boot step, in their order; empty without the file. Lines that are none are passed over."""
    steps: dict[str, float] = {}
    try:
        text = (folder / BOOT_STEPS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return steps
    for line in text.splitlines():
        name, _, seconds = line.partition("\t")
        with suppress(ValueError):
            steps[name] = float(seconds)
    return steps


def note_first_gradient(folder: Path) -> dict[str, float]:
    """The boot steps, the first gradient's among them; it is noted for a trainer that is started again on this boot."""
    steps = read_boot_steps(folder)
    if steps and FIRST_GRADIENT not in steps:
        steps[FIRST_GRADIENT] = seconds = round(seconds_since_boot(), 3)
        with suppress(OSError), (folder / BOOT_STEPS).open("a", encoding="utf-8") as file:
            file.write(f"{FIRST_GRADIENT}\t{seconds}\n")
        _log.info("first gradient: the boot is over, seconds since it began", extra=fields(**steps))
    return steps
