"""Judges what was seen of the game: whether it runs and is live, how often it writes, what it writes."""

from collections.abc import Iterator

from bridge.assetto_corsa.assumptions import Verdict
from bridge.assetto_corsa.layout import Status, text
from bridge.assetto_corsa.memory import GameNotRunning
from bridge.doctor.messages import Finding, Message, found
from bridge.doctor.watching import Watched

STILL_SECONDS = 1.0
"""A live game that wrote nothing for so long hangs or has ended."""
FEWEST_PACKETS = 40.0
"""Packets a second: two for each of 20 control steps."""
LONGEST_GAP = 0.1
"""s; car.PATIENCE, after which there is no state to drive from."""
FEWEST_PICTURES = 50.0
_SHOWN = {Status.OFF: "menu", Status.REPLAY: "replay", Status.PAUSE: "pause"}


def game_findings(watched: Watched) -> Iterator[Finding]:
    """One finding for each of: game, live; and while it is live: packets, frame cap, assumptions."""
    if watched.trouble is not None:
        absent = isinstance(watched.trouble, GameNotRunning)
        yield found(Message.NO_GAME) if absent else found(Message.PAGES_UNUSABLE, reason=watched.trouble)
        return
    assert watched.static is not None
    yield found(Message.GAME, car=text(watched.static.carModel), track=track_name(watched))
    if watched.status is not Status.LIVE:
        yield found(Message.NOT_LIVE, status=_SHOWN[watched.status])
        return
    if watched.still > STILL_SECONDS or watched.packets == 0.0:
        yield found(Message.STANDS_STILL, seconds=f"{watched.still:.1f}")
        return
    yield found(Message.LIVE)
    yield _packets(watched)
    capped = watched.pictures < FEWEST_PICTURES
    yield found(Message.FRAMES_CAPPED if capped else Message.FRAMES, rate=f"{watched.pictures:.0f}")
    yield from _assumptions(watched)


def track_name(watched: Watched) -> str:
    """The track and its layout as the game names them; empty without a game."""
    if watched.static is None:
        return ""
    layout = text(watched.static.trackConfiguration)
    return text(watched.static.track) + (f"/{layout}" if layout else "")


def _packets(watched: Watched) -> Finding:
    rate, gap = f"{watched.packets:.0f}", f"{1000 * watched.longest_gap:.0f}"
    if watched.packets < FEWEST_PACKETS:
        return found(Message.PACKETS_FEW, rate=rate)
    return found(Message.PACKETS_GAPS if watched.longest_gap > LONGEST_GAP else Message.PACKETS, rate=rate, gap=gap)


def _assumptions(watched: Watched) -> Iterator[Finding]:
    names = {verdict: [f.name for f in watched.assumptions if f.verdict is verdict] for verdict in Verdict}
    for finding in watched.assumptions:
        if finding.verdict is Verdict.CONTRADICTED:
            yield found(Message.ASSUMPTION_WRONG, name=finding.name, measured=finding.measured)
    if names[Verdict.HOLDS]:
        yield found(Message.ASSUMPTIONS, names=", ".join(names[Verdict.HOLDS]))
    if names[Verdict.NOT_SEEN]:
        yield found(Message.ASSUMPTIONS_UNSEEN, names=", ".join(names[Verdict.NOT_SEEN]))
