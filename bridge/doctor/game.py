"""Judges what was seen of the game: whether it runs and is live, how often it writes, what it writes."""

from collections.abc import Iterator

from bridge.assetto_corsa.files.install import full_name
from bridge.assetto_corsa.reading.assumptions import Judgement
from bridge.assetto_corsa.reading.layout import Status, text
from bridge.assetto_corsa.reading.memory import GameNotRunning
from bridge.doctor.messages import Finding, Message, found
from bridge.doctor.watching import Watched

STILL_SECONDS = 1.0
"""A live game that wrote nothing for so long hangs or has ended."""
PACKETS_A_STEP = 2.0
"""Fewer packets for each control step, and a step may find none."""
LONGEST_GAP = 0.1
"""s; car.PATIENCE, after which there is no state to drive from."""
FEWEST_PICTURES = 50.0
CAPS = (30.0, 60.0, 72.0, 75.0)
"""Pictures a second of slow screens, and of limits that people set."""
_CAP_TOLERANCE = 0.01
_EVEN = 0.15
"""Spread of the times between pictures, as a share of their mean, below which something makes them even."""
_SHOWN = {Status.OFF: "menu", Status.REPLAY: "replay", Status.PAUSE: "pause"}


def game_findings(watched: Watched, rate: float = 20.0) -> Iterator[Finding]:
    """One finding each for game and live; while live, packets (`rate`: control steps, Hz), frame cap, assumptions."""
    if watched.trouble is not None:
        absent = isinstance(watched.trouble, GameNotRunning)
        yield found(Message.NO_GAME) if absent else found(Message.PAGES_UNUSABLE, reason=watched.trouble)
        return
    assert watched.static is not None
    if watched.silent > STILL_SECONDS or (watched.packets == 0.0 and watched.pictures == 0.0):
        # Whatever the pages show, nobody says it now: these may be the remains of a game that died in a pause.
        yield found(Message.STANDS_STILL, seconds=f"{watched.silent:.1f}")
        return
    yield found(Message.GAME, car=text(watched.static.carModel), track=track_name(watched))
    if watched.status is not Status.LIVE:
        yield found(Message.NOT_LIVE, status=_SHOWN[watched.status])
        return
    if watched.still > STILL_SECONDS or watched.packets == 0.0:
        yield found(Message.STANDS_STILL, seconds=f"{watched.still:.1f}")
        return
    yield found(Message.LIVE)
    yield _packets(watched, rate)
    yield _frames(watched)
    yield from _assumptions(watched)


def track_name(watched: Watched) -> str:
    """The track and its layout as the game names them; empty without a game."""
    if watched.static is None:
        return ""
    return full_name(text(watched.static.track), text(watched.static.trackConfiguration))


def _packets(watched: Watched, rate: float) -> Finding:
    packets, gap = f"{watched.packets:.0f}", f"{1000 * watched.longest_gap:.0f}"
    if watched.packets < PACKETS_A_STEP * rate:
        return found(Message.PACKETS_FEW, rate=packets)
    return found(Message.PACKETS_GAPS if watched.longest_gap > LONGEST_GAP else Message.PACKETS, rate=packets, gap=gap)


def _frames(watched: Watched) -> Finding:
    rate = watched.pictures
    even = watched.uneven < _EVEN and any(abs(rate / cap - 1.0) < _CAP_TOLERANCE for cap in CAPS)
    message = Message.FRAMES_EVEN if even else Message.FRAMES
    return found(Message.FRAMES_CAPPED if rate < FEWEST_PICTURES else message, rate=f"{rate:.0f}")


def _assumptions(watched: Watched) -> Iterator[Finding]:
    for finding in watched.assumptions:
        if finding.verdict is Judgement.CONTRADICTED:
            yield found(Message.ASSUMPTION_WRONG, name=finding.name, measured=finding.measured)
    told = {Judgement.HOLDS: Message.ASSUMPTIONS, Judgement.NOT_SEEN: Message.ASSUMPTIONS_UNSEEN}
    for verdict, message in told.items():
        if names := ", ".join(finding.name for finding in watched.assumptions if finding.verdict is verdict):
            yield found(message, names=names)
