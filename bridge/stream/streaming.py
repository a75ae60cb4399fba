"""Streams a car's frames to the receiver, from the first to an orderly end, and says what became of them.

Kept, frames wait in a spool until the receiver has them: whatever is cut or killed, at most those of the newest second
are lost, which no batch holds yet, and what a full disk did not take. Not kept, the newest wins: what cannot be sent at
once is dropped. Frames that an earlier stream has kept in the same spool are sent too.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.assetto_corsa.reading.memory import GameError
from bridge.driving.garage import UNUSABLE, SettingsError, exit_code_of, software
from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from bridge.stream.frames import FrameMaker
from bridge.stream.sinks import SIGNATURE, Keeper, Newest, Sink, batch_of
from bridge.stream.sources import Source
from racing.track_text import track_text
from runtime.exit_codes import ExitCode
from runtime.logs import fields
from wire.messages import Role
from wire.pairing import Pairing

LAST_SEND_SECONDS = 5.0
"""For so long a stream that is stopped offers what is unsent."""
_LOOK_SECONDS = 0.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose.

    Attributes:
        rate: frames a second at most, Hz.
        keep: lose nothing because the link is down; else the newest wins.
        batch: frames to a batch, where they are kept.
        text: speak JSON, not MessagePack.
        redial_seconds: between two calls while nobody answers; None for the link's own.
        spool: folder where frames are kept.
        spool_limit_bytes: what may wait there.
    """

    rate: float
    keep: bool
    batch: int
    text: bool
    redial_seconds: float | None
    spool: Path
    spool_limit_bytes: int


def stream(
    pairing: Pairing,
    source_of: Callable[[], Source],
    settings: Settings,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None = None,
) -> ExitCode:
    """Stream what `source_of` gives, until it ends or `stop` is set; how it ended.

    Raises SettingsError where a source or the spool cannot be used, and Stopped as `watched_session` does.
    """
    try:
        with Spool(settings.spool, settings.spool_limit_bytes) as spool:
            spool.bind_signature(SIGNATURE)
            source = source_of()
            try:
                return _stream(pairing, source, spool, settings, stop, look_up)
            finally:
                source.close()
    except UNUSABLE as error:
        raise SettingsError(str(error), exit_code_of(error)) from error


def _stream(
    pairing: Pairing,
    source: Source,
    spool: Spool,
    settings: Settings,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None,
) -> ExitCode:
    introduction = Introduction(
        None, True, 1, software(), track_text(source.track), Role.STREAM, batch_of, text=settings.text
    )
    pause = settings.redial_seconds
    redial = None if pause is None else (pause, 1.2 * pause)
    newest = None if settings.keep else Newest()
    link = Link(pairing, spool, introduction, look_up, newest, redial)
    sink: Sink = newest or Keeper(spool, settings.batch, link.notify)
    told = "kept: what cannot be sent waits in the spool, none is lost"
    if newest is not None:
        told = "not kept: what cannot be sent at once is dropped, the newest wins"
    _log.info(f"frames are {told}", extra=fields(rate=settings.rate, spool=settings.spool if settings.keep else None))
    link.start()
    count, failure, began = 0, None, time.monotonic()
    try:
        count, failure = _send(source, sink, link, stop)
    finally:
        sink.close()
        if source.ends and failure is None:
            while not (stop.is_set() or link.refusal or link.all_stored):
                stop.wait(_LOOK_SECONDS)
        link.close(LAST_SEND_SECONDS)
    counts = {"frames": count, "lost" if settings.keep else "dropped": sink.lost, "waiting": link.unsent_steps}
    _log.info(f"the stream has ended; frames were {told}", extra=fields(**counts, seconds=time.monotonic() - began))
    if link.refusal is not None:
        _log.error(link.refusal.text)
        return link.refusal.exit_code
    if failure is not None:
        _log.error(str(failure))
        return ExitCode.FAILED
    return ExitCode.OK


def _send(source: Source, sink: Sink, link: Link, stop: threading.Event) -> tuple[int, GameError | None]:
    """Put frames into `sink` until the end; how many, and what the game has become, where that was the end."""
    maker, count = FrameMaker(source.track), 0
    try:
        for state in source.states:
            if state is None:
                maker.interrupt()
            elif (frame := maker.frame(state)) is not None:
                sink.put(frame)
                # Nobody is told that steps were driven: a frame is none, and none is experience.
                count += 1
            if stop.is_set() or link.refusal is not None:
                break
    except GameError as error:
        return count, error
    return count, None
