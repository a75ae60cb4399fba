"""A link between a car and its driver as the driving feels it: how long messages take, and how often all of them stop.

It models a reliable stream in order, which a WebSocket is: a lost packet is not a lost message, but a stall of it and
of everything behind it until it was sent again. Repeatable for a seed; no sockets, no clock. A recorded link is a JSON
file, which is also what run.json's `link` holds.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

LEAST_QUANTILES, MOST_QUANTILES = 2, 101
MOST_DELAY = 5.0
"""s; nobody drives a car over a longer link."""
MOST_STALLS = 10.0
"""1/s."""
MOST_STALL = 30.0
"""s."""


QUANTILES = 21
"""Of a recorded link."""
STALLED, STALLED_SECONDS = 1.5, 0.1
"""A message has met a stall that takes so many medians, and these s more."""
LINK_VERSION: Final = 1
"""Of the file's form."""
_MOST_BYTES = 64 * 1024


class LinkError(ValueError):
    """These figures are of no link; the text says which of them, and what is allowed."""


@dataclass(frozen=True, slots=True)
class LinkModel:
    """How long messages take.

    Attributes:
        delays: s, quantiles of them in even steps from the least to the greatest, without the stalls.
        stalls_per_second: how often the stream stops.
        stall_seconds: how long it does, in the mean; single ones are distributed exponentially.

    Raises LinkError.
    """

    delays: tuple[float, ...]
    stalls_per_second: float = 0.0
    stall_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not LEAST_QUANTILES <= len(self.delays) <= MOST_QUANTILES:
            raise LinkError(
                f"`delays` has {len(self.delays)} numbers: expected {LEAST_QUANTILES} to {MOST_QUANTILES} quantiles, "
                "from the least to the greatest delay."
            )
        for delay, following in zip(self.delays, (*self.delays[1:], MOST_DELAY), strict=True):
            if not 0.0 <= delay <= following:
                raise LinkError(
                    f"`delays` has {delay:g} before {following:g}: expected seconds from 0 to {MOST_DELAY:g}, none "
                    "less than the one before."
                )
        if not 0.0 <= self.stalls_per_second <= MOST_STALLS:
            raise LinkError(f"`stalls_per_second` is {self.stalls_per_second:g}: expected 0 to {MOST_STALLS:g}.")
        if not 0.0 <= self.stall_seconds <= MOST_STALL:
            raise LinkError(f"`stall_seconds` is {self.stall_seconds:g}: expected 0 to {MOST_STALL:g}.")

    @property
    def median(self) -> float:
        """s."""
        return float(np.quantile(self.delays, 0.5))


def read_link(path: Path) -> LinkModel:
    """The link that `ac-bridge doctor --record-link` recorded in this file. Raises LinkError."""
    again = "Record one with `ac-bridge doctor --record-link MINUTES`."
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise LinkError(f"The link {path} cannot be read ({error.strerror}). {again}") from error
    try:
        told: Any = json.loads(text)
        if len(text) > _MOST_BYTES or not isinstance(told, dict):
            raise ValueError
    except ValueError:
        raise LinkError(f"The file {path} holds no recorded link. {again}") from None
    version = told.pop("version", None)
    if version != LINK_VERSION:
        raise LinkError(f"The link {path} has the version {version!r}: expected {LINK_VERSION}. {again}")
    known = LinkModel.__dataclass_fields__
    if (name := next((name for name in told if name not in known), None)) is not None:
        raise LinkError(f"The link {path} has an unknown field `{name}`: expected {', '.join(known)}. {again}")
    try:
        return LinkModel(**{name: _number(name, value) for name, value in told.items()})
    except TypeError:
        raise LinkError(f"The link {path} lacks `delays`. {again}") from None
    except LinkError as error:
        raise LinkError(f"The link {path} cannot be simulated. {error} {again}") from None


def _number(name: str, value: Any) -> Any:
    values = value if name == "delays" and isinstance(value, list) else [value]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise LinkError(f"`{name}` holds what is no number.")
    return tuple(map(float, values)) if name == "delays" else float(value)


def link_text(link: LinkModel) -> str:
    """The file of a link, and of run.json's `link`; equal links have equal texts."""
    return json.dumps({"version": LINK_VERSION, **asdict(link)})


def recorded_link(trips: list[float], every: float) -> LinkModel:
    """The link over which messages sent every `every` s took these times, s, in order; there are two at least.

    Raises LinkError for times that are of no link.
    """
    times = np.array(trips)
    if len(times) < 2:
        raise LinkError(f"{len(times)} round trips say nothing of a link.")
    stalled = times > STALLED * np.median(times) + STALLED_SECONDS
    # Those that waited for the same packet arrived together, the first of them after the longest wait.
    firsts = np.flatnonzero(stalled & ~np.append(False, stalled[:-1]))
    usual = times[~stalled]
    waits = [float(times[first]) - float(np.median(usual)) for first in firsts]
    delays = np.round(np.quantile(usual, np.linspace(0.0, 1.0, QUANTILES)), 6)
    return LinkModel(
        tuple(delays.tolist()),
        round(len(firsts) / (len(times) * every), 6),
        round(float(np.mean(waits)), 6) if waits else 0.0,
    )


class SimulatedLink:
    """Says when messages arrive that are sent over a link of this model, one after the other."""

    def __init__(self, model: LinkModel, seed: int = 0) -> None:
        self._model, self._random = model, np.random.default_rng(seed)
        self._steps = np.linspace(0.0, 1.0, len(model.delays))
        self._sent: float | None = None
        self._arrived = self._stalled_until = -math.inf

    def arrival(self, sent: float) -> float:
        """When a message arrives (s) that is sent then, which is not before the one that was sent before."""
        model, random = self._model, self._random
        past = 0.0 if self._sent is None else sent - self._sent
        self._sent = sent
        delay = float(np.interp(random.random(), self._steps, model.delays))
        # Drawn in any case, so that links that differ in one figure alone meet the same luck.
        stalls, seconds = random.random(), random.exponential()
        if stalls < -math.expm1(-model.stalls_per_second * past):
            self._stalled_until = sent + delay + seconds * model.stall_seconds
        self._arrived = max(self._arrived, sent + delay, self._stalled_until)
        return self._arrived
