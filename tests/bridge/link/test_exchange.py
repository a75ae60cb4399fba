"""The exchange without sockets or a spool: every message in every phase, and what is read and sent in which order."""

from collections.abc import Callable

import msgspec
import pytest

from bridge.link.exchange import MAX_UNACKNOWLEDGED_BYTES, READ_AHEAD, RESEND_SECONDS, Exchange, SessionOver
from bridge.link.phases import IllegalMove, Phase
from bridge.link.refusal import Refused
from bridge.spool import SpooledBatch, SpoolPosition
from racing.policy_file import to_judge
from tests.support.links import ENVIRONMENT, INTRODUCTION
from tests.support.policies import as_update, policy_file, weights_update
from wire.messages import Ack, DownMessage, Drain, Error, ErrorCode, FlowControl, Pong, TransitionBatch, Welcome

STEPS = 10
"""Of each batch here."""
SAFE, LAST = 2, 40
POSITION = SpoolPosition("bridge", "a" * 32, SAFE, SAFE * STEPS, LAST, LAST * STEPS)
FRESH = SpoolPosition("bridge", "b" * 32, 0, SAFE * STEPS, LAST - SAFE, LAST * STEPS)
WELCOME = Welcome("run", SAFE, SAFE, 500, 400, 1000)
FULL = Error(ErrorCode.DISK_FULL, "no room")


def spooled(number: int, size: int = 100, offset: int = 0) -> SpooledBatch:
    return SpooledBatch(number, STEPS, number.to_bytes(4, "big") * (size // 4), (offset + number) * STEPS)


def read(exchange: Exchange, most: int = 1000, size: int = 100) -> range:
    """Read what is wanted from the spool, `most` batches of it; returns what was wanted."""
    wanted = exchange.to_read()
    exchange.take(exchange.state.stream, wanted.start, [spooled(number, size) for number in wanted[:most]])
    return wanted


def sent(exchange: Exchange, now: float = 0.0) -> list[int]:
    """Send all that may be sent; returns the numbers."""
    numbers = []
    while (batch := exchange.next_batch(now)) is not None:
        assert isinstance(batch, TransitionBatch)
        assert batch.blob[:4] == batch.number.to_bytes(4, "big")
        numbers.append(batch.number)
    return numbers


def greeting() -> Exchange:
    exchange = Exchange(POSITION, INTRODUCTION)
    exchange.hello()
    return exchange


def linked() -> Exchange:
    exchange = greeting()
    exchange.hear(WELCOME, 0.0)
    return exchange


def paused() -> Exchange:
    exchange = linked()
    read(exchange)
    sent(exchange)
    exchange.hear(FULL, 0.0)
    return exchange


def outlived() -> Exchange:
    exchange = linked()
    with pytest.raises(SessionOver):
        exchange.hear(Ack(LAST + 1, SAFE), 0.0)
    return exchange


def apart_afresh() -> Exchange:
    exchange = outlived()
    exchange.disconnected()
    exchange.begin_afresh(FRESH)
    return exchange


def greeting_afresh() -> Exchange:
    exchange = apart_afresh()
    exchange.hello()
    return exchange


REACHED: dict[Phase, Callable[[], Exchange]] = {
    Phase.APART: lambda: Exchange(POSITION, INTRODUCTION),
    Phase.GREETING: greeting,
    Phase.LINKED: linked,
    Phase.PAUSED: paused,
    Phase.OUTLIVED: outlived,
    Phase.APART_AFRESH: apart_afresh,
    Phase.GREETING_AFRESH: greeting_afresh,
}
TOLD: dict[str, tuple[Callable[[Exchange], object], dict[Phase, Phase]]] = {
    "hello": (
        lambda exchange: exchange.hello(),
        {Phase.APART: Phase.GREETING, Phase.APART_AFRESH: Phase.GREETING_AFRESH},
    ),
    "begin afresh": (lambda exchange: exchange.begin_afresh(FRESH), {Phase.OUTLIVED: Phase.APART_AFRESH}),
    "disconnected": (
        lambda exchange: exchange.disconnected(),
        {
            Phase.APART: Phase.APART,
            Phase.GREETING: Phase.APART,
            Phase.LINKED: Phase.APART,
            Phase.PAUSED: Phase.APART,
            Phase.OUTLIVED: Phase.OUTLIVED,
            Phase.APART_AFRESH: Phase.APART_AFRESH,
            Phase.GREETING_AFRESH: Phase.APART_AFRESH,
        },
    ),
}
"""What whoever runs the exchange tells it, and which phases that leads to; elsewhere it is illegal."""


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_reached(phase: Phase) -> None:
    exchange = REACHED[phase]()
    assert exchange.state.phase is phase
    assert exchange.state.connected == (phase in (Phase.LINKED, Phase.PAUSED))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", TOLD)
def test_what_is_told_moves_the_link_or_is_an_error(phase: Phase, name: str) -> None:
    exchange, (tell, moves) = REACHED[phase](), TOLD[name]
    if phase in moves:
        tell(exchange)
        assert exchange.state.phase is moves[phase]
    else:
        with pytest.raises(IllegalMove, match=phase.name):
            tell(exchange)
        assert exchange.state.phase is phase


OVER, REFUSED = SessionOver, Refused
STAYS = None
Outcome = Phase | type[Exception] | None
"""Of a message: the phase that it leads to (to OUTLIVED by SessionOver), or what it raises where the phase stays."""
SPOKEN = (Phase.GREETING, Phase.GREETING_AFRESH, Phase.LINKED, Phase.PAUSED)
MESSAGES: dict[str, tuple[DownMessage, tuple[Outcome, Outcome, Outcome, Outcome]]] = {
    "welcome": (WELCOME, (Phase.LINKED, Phase.LINKED, OVER, OVER)),
    "welcome to more than was made": (
        Welcome("run", LAST + 1, SAFE, 0, 0, 0),
        (Phase.OUTLIVED, Phase.OUTLIVED, OVER, OVER),
    ),
    "welcome to less than was safe": (Welcome("run", 0, 0, 0, 0, 0), (Phase.OUTLIVED, Phase.LINKED, OVER, OVER)),
    "ack": (Ack(SAFE + 1, SAFE), (STAYS,) * 4),
    "ack of more than was made": (Ack(LAST + 1, SAFE), (Phase.OUTLIVED,) * 4),
    "ack of more safe than stored": (Ack(SAFE, SAFE + 1), (Phase.OUTLIVED,) * 4),
    "pace": (FlowControl(1, 2, 3), (STAYS,) * 4),
    "pong": (Pong(0.0), (STAYS,) * 4),
    "weights": (weights_update(ENVIRONMENT.signature, 1), (STAYS,) * 4),
    "drain": (Drain("spot notice"), (STAYS,) * 4),
    "disk full": (FULL, (OVER, OVER, Phase.PAUSED, STAYS)),
    "out of order": (Error(ErrorCode.OUT_OF_ORDER, ""), (OVER, OVER, Phase.PAUSED, STAYS)),
    "wrong signature": (Error(ErrorCode.WRONG_SIGNATURE, ""), (REFUSED,) * 4),
    "duplicate bridge": (Error(ErrorCode.DUPLICATE_BRIDGE, ""), (REFUSED, OVER, REFUSED, REFUSED)),
    "bad batch": (Error(ErrorCode.BAD_BATCH, ""), (REFUSED,) * 4),
    "too large": (Error(ErrorCode.TOO_LARGE, ""), (REFUSED,) * 4),
    "bad message": (Error(ErrorCode.BAD_MESSAGE, ""), (REFUSED,) * 4),
    "error of a newer receiver": (Error("what nobody knows", ""), (OVER,) * 4),
}


@pytest.mark.parametrize("at", range(4), ids=[phase.name for phase in SPOKEN])
@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_message_does_in_each_phase_in_which_it_can_be_heard(name: str, at: int) -> None:
    phase, (message, outcomes) = SPOKEN[at], MESSAGES[name]
    exchange, outcome = REACHED[phase](), outcomes[at]
    raised = outcome if isinstance(outcome, type) else SessionOver if outcome is Phase.OUTLIVED else None
    if raised is None:
        exchange.hear(message, 0.0)
    else:
        with pytest.raises(raised):
            exchange.hear(message, 0.0)
    assert exchange.state.phase is (outcome if isinstance(outcome, Phase) else phase)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in SPOKEN])
@pytest.mark.parametrize("name", MESSAGES)
def test_nothing_is_heard_without_a_conversation(name: str, phase: Phase) -> None:
    exchange = REACHED[phase]()
    before = exchange.state
    with pytest.raises(IllegalMove, match=phase.name):
        exchange.hear(MESSAGES[name][0], 0.0)
    assert exchange.state == before


@pytest.mark.parametrize("phase", Phase)
def test_batches_are_read_while_welcome_and_sent_while_linked(phase: Phase) -> None:
    exchange = REACHED[phase]()
    assert (len(read(exchange)) > 0) == exchange.state.connected
    assert (len(sent(exchange)) > 0) == (phase is Phase.LINKED)


def test_the_spool_is_read_ahead_in_order_and_not_further_than_needed() -> None:
    exchange = linked()
    assert read(exchange, most=3) == range(SAFE + 1, SAFE + 1 + READ_AHEAD)
    assert read(exchange) == range(SAFE + 4, SAFE + 4 + READ_AHEAD)
    assert not exchange.to_read()
    assert sent(exchange) == list(range(SAFE + 1, SAFE + 4 + READ_AHEAD))
    read(exchange)
    sent(exchange)
    read(exchange)
    assert sent(exchange)[-1] == LAST
    assert not exchange.to_read()
    exchange.appended(LAST + 1)
    assert exchange.to_read() == range(LAST + 1, LAST + 2)


def test_large_batches_are_held_and_sent_within_the_bound() -> None:
    exchange = linked()
    read(exchange, most=1, size=MAX_UNACKNOWLEDGED_BYTES)
    assert not exchange.to_read()
    assert sent(exchange) == [SAFE + 1]
    read(exchange, most=2)
    assert sent(exchange) == []
    exchange.hear(Ack(SAFE + 1, SAFE), 0.0)
    assert sent(exchange) == [SAFE + 2, SAFE + 3]


def test_what_was_read_for_another_connection_or_stream_is_dropped() -> None:
    exchange = linked()
    stream, wanted = exchange.state.stream, exchange.to_read()
    batches = [spooled(number) for number in wanted]
    exchange.disconnected()
    exchange.take(stream, wanted.start, batches)
    exchange.hello()
    exchange.hear(msgspec.structs.replace(WELCOME, stored_through=SAFE + 3), 0.0)
    exchange.take(stream, wanted.start, batches)
    assert sent(exchange) == []
    exchange.take("c" * 32, SAFE + 4, [spooled(SAFE + 4)])
    assert sent(exchange) == []
    exchange.take(stream, SAFE + 4, [spooled(SAFE + 4)])
    assert sent(exchange) == [SAFE + 4]


def test_a_batch_that_the_spool_lacks_is_an_error_only_while_it_is_wanted() -> None:
    exchange = linked()
    exchange.take(exchange.state.stream, SAFE, [])
    with pytest.raises(RuntimeError, match="batch 3 of the spool"):
        exchange.take(exchange.state.stream, SAFE + 1, [])


def test_a_pause_ends_in_its_time_and_sends_again_what_is_not_stored() -> None:
    exchange = linked()
    read(exchange, most=5)
    assert sent(exchange) == [3, 4, 5, 6, 7]
    exchange.hear(Ack(4, SAFE), 0.0)
    for refusals, seconds in enumerate([*RESEND_SECONDS, RESEND_SECONDS[-1]]):
        began = 100.0 * refusals
        exchange.hear(FULL, began)
        exchange.hear(FULL, began)  # what was under way behind it
        assert exchange.pause_left(began) == seconds
        read(exchange, most=3)
        assert sent(exchange, began + seconds - 0.01) == []
        assert sent(exchange, began + seconds) == [5, 6, 7]
        assert exchange.pause_left(began + seconds) == 0.0
    exchange.hear(FULL, 0.0)
    read(exchange)
    exchange.hear(Ack(6, SAFE), 0.0)  # what was under way before it
    assert sent(exchange, 10.0)[0] == 7
    exchange.hear(FULL, 20.0)
    assert exchange.pause_left(20.0) == RESEND_SECONDS[0]


def test_a_receiver_that_goes_on_missing_a_batch_is_dialled_anew() -> None:
    exchange = linked()
    for now in (0.0, 100.0):
        exchange.hear(Error(ErrorCode.OUT_OF_ORDER, ""), now)
        assert exchange.next_batch(now + 50.0) is None
    with pytest.raises(SessionOver, match="misses a batch"):
        exchange.hear(Error(ErrorCode.OUT_OF_ORDER, ""), 200.0)


def test_a_fresh_stream_is_announced_and_sent_from_its_first_number() -> None:
    exchange = apart_afresh()
    assert "restored from an older copy" in exchange.conflict
    hello = exchange.hello()
    assert (hello.stream, hello.last_number) == (FRESH.stream, FRESH.last_number)
    exchange.hear(Welcome("run", 0, 0, 0, 0, 0), 0.0)
    assert exchange.to_read().start == 1
    assert exchange.state.stored_total == FRESH.safe_steps


def test_what_the_spool_appends_to_an_outlived_stream_is_not_counted() -> None:
    exchange = outlived()
    exchange.appended(LAST + 5)
    exchange.begin_afresh(FRESH)
    assert exchange.hello().last_number == FRESH.last_number


def test_steps_stored_are_counted_once_and_for_the_run_too() -> None:
    exchange = linked()
    read(exchange, most=4)
    sent(exchange)
    assert (exchange.state.stored_total, exchange.state.stored_steps) == (20, 500)
    for _ in range(2):
        exchange.hear(Ack(SAFE + 3, SAFE), 0.0)
        assert (exchange.state.stored_total, exchange.state.stored_steps) == (50, 530)
    exchange.hear(FlowControl(530, 480, 1000), 0.0)
    exchange.disconnected()
    exchange.hello()
    exchange.hear(msgspec.structs.replace(WELCOME, stored_through=SAFE + 4, stored_steps=540), 0.0)
    assert (exchange.state.stored_total, exchange.state.stored_steps) == (60, 540)


def test_what_an_earlier_process_sent_is_counted_once_the_spool_was_read() -> None:
    exchange = greeting()
    exchange.hear(msgspec.structs.replace(WELCOME, stored_through=20), 0.0)
    assert (exchange.state.stored_through, exchange.state.stored_total) == (20, 20)
    read(exchange, most=1)
    assert (exchange.state.stored_total, exchange.state.stored_steps) == (200, 500)
    exchange.disconnected()
    exchange.hello()
    exchange.hear(msgspec.structs.replace(WELCOME, stored_through=LAST), 0.0)
    assert exchange.state.stored_total == 10 * LAST


def test_what_comes_to_be_judged_takes_no_place_of_the_policy_that_explores() -> None:
    exchange, signature = linked(), ENVIRONMENT.signature
    plain = policy_file(signature, 1, 3, 2)
    for blob, version in ((plain, 1), (to_judge(plain, 2), 2)):
        exchange.hear(as_update(blob, version), 0.0)
    assert exchange.policy is not None
    assert exchange.to_judge is not None
    assert (exchange.policy.version, exchange.to_judge.version) == (1, 2)
