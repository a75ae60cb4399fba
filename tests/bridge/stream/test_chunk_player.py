"""What the player applies never jumps and is never out of its time, whatever chunks arrive, and silence brakes."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.stream.chunk_player import (
    EASE_RATE,
    GENTLE_BRAKE,
    HOLD_SECONDS,
    MOST_BLIND,
    MOST_HELD,
    PEDAL_RATE,
    STEER_RATE,
    ChunkPlayer,
    Played,
    Playing,
    Refusal,
)
from wire.messages import ControlChunk

PERIOD = 0.05


def chunk(
    number: int,
    observed: float,
    actions: list[tuple[float, float]],
    first: float | None = None,
    held: float = 0.0,
    version: int = 3,
) -> ControlChunk:
    """A chunk whose first action is for the next control step, unless `first` says otherwise."""
    first = observed + PERIOD if first is None else first
    expires = first + len(actions) * PERIOD + held
    return ControlChunk(number, observed, first, PERIOD, tuple(actions), expires, version)


@dataclass
class Drive:
    """Asks a player for actions, step by step."""

    player: ChunkPlayer = field(default_factory=lambda: ChunkPlayer(PERIOD))
    now: float = 100.0

    def steps(self, count: int) -> list[Played]:
        """So many control steps."""
        played = []
        for _ in range(count):
            played.append(self.player.action(self.now))
            self.now += PERIOD
        return played


def test_each_action_is_played_at_its_own_time() -> None:
    drive = Drive()
    assert drive.player.take(chunk(1, 100.0, [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4)]), 100.02) is None

    _, *played = drive.steps(4)

    assert [(one.steer, one.pedal) for one in played] == [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4)]
    assert {(one.playing, one.chunk, one.version) for one in played} == {(Playing.FRESH, 1, 3)}
    assert [round(one.age or 0.0, 3) for one in played] == [0.05, 0.1, 0.15]


def test_a_chunk_that_is_late_in_part_is_used_from_where_it_is_still_true() -> None:
    drive = Drive()
    late = chunk(1, 99.8, [(0.01 * place, 0.0) for place in range(10)])
    assert late.first < 99.9
    assert drive.player.take(late, 100.0) is None

    played = drive.steps(2)

    assert [round(one.steer, 3) for one in played] == [0.03, 0.04]
    assert {one.playing for one in played} == {Playing.LATE}


def test_a_newer_chunk_waits_for_its_time_and_takes_over_without_a_jump() -> None:
    drive = Drive()
    drive.player.take(chunk(1, 100.0, [(-1.0, -1.0)] * 10), 100.0)
    drive.player.take(chunk(2, 100.05, [(1.0, 1.0)] * 20, first=100.3), 100.1)

    played = drive.steps(16)

    assert [one.chunk for one in played] == [None, *[1] * 5, *[2] * 10]
    assert played[5].steer == -1.0
    assert round(played[6].steer, 6) == round(-1.0 + STEER_RATE * PERIOD, 6)
    assert round(played[6].pedal, 6) == round(-1.0 + PEDAL_RATE * PERIOD, 6)
    assert played[-1].steer == played[-1].pedal == 1.0


def test_chunks_from_the_past_are_refused_and_counted() -> None:
    drive = Drive()
    player = drive.player
    assert player.take(chunk(5, 99.0, [(0.5, 0.5)] * 2), 100.0) is Refusal.PAST
    assert player.take(chunk(6, 99.9, [(0.1, 0.1)] * 10), 100.0) is None
    assert player.take(chunk(6, 99.9, [(0.9, 0.9)] * 10), 100.0) is Refusal.OLD
    assert player.take(chunk(4, 99.8, [(0.9, 0.9)] * 10), 100.0) is Refusal.OLD
    player.begin(100.0)
    assert player.take(chunk(7, 99.95, [(0.9, 0.9)] * 10), 100.0) is Refusal.OTHER_EPISODE

    assert drive.steps(1)[0].playing is Playing.WATCHDOG
    assert player.counts == {"past": 1, "old": 2, "other_episode": 1, "watchdog": 1}


def test_a_spent_chunk_takes_no_live_ones_place() -> None:
    drive = Drive()
    assert drive.player.take(chunk(1, 97.9, [(0.5, 0.5)] * 100), 100.0) is None
    # It says that it is good for ever; its only action was due a while ago, and is held for a second at most.
    assert drive.player.take(chunk(2, 98.0, [(0.9, 0.9)], held=1e6), 100.0) is Refusal.PAST

    assert {one.chunk for one in drive.steps(10)} == {1}


def test_times_of_another_clock_are_refused_and_measure_nothing() -> None:
    player = ChunkPlayer(PERIOD)
    for first, observed in ((200.0, 200.0), (106.0, 100.0), (99.0, 100.0)):
        assert player.take(chunk(1, observed, [(1.0, 1.0)], first=first), 100.0) is Refusal.OTHER_CLOCK
    assert player.delay is None
    assert player.take(chunk(2**53 - 1, 99.99, [(0.0, 0.0)] * 10), 100.0) is None
    # However great that number was, it locks nobody out who has seen more since.
    assert player.take(chunk(1, 100.0, [(0.0, 0.0)] * 10), 100.0) is None


def test_the_delay_of_each_chunk_that_arrives_is_measured_even_of_one_that_is_too_late() -> None:
    player = ChunkPlayer(PERIOD)
    player.take(chunk(1, 99.9, [(0.0, 0.0)] * 10), 100.0)
    assert player.delay is not None
    assert round(player.delay, 6) == 0.1
    player.take(chunk(2, 99.95, [(0.0, 0.0)]), 100.75)
    assert round(player.delay, 6) == 0.8


def test_silence_lifts_the_throttle_at_once_holds_then_straightens_and_brakes_gently() -> None:
    drive = Drive()
    drive.player.take(chunk(1, 100.0, [(0.3, 1.0)] * 4), 100.0)
    driven = drive.steps(5)
    assert driven[-1].steer == 0.3

    silent = drive.steps(60)

    assert {one.playing for one in silent} == {Playing.WATCHDOG}
    assert all(one.pedal <= 0.0 for one in silent)
    held = [one.steer for one in silent[: round(HOLD_SECONDS / PERIOD)]]
    assert held == [0.3] * len(held)
    assert silent[-1].steer == 0.0
    assert silent[-1].pedal == -GENTLE_BRAKE
    assert all(abs(after.steer - one.steer) <= EASE_RATE * PERIOD + 1e-9 for one, after in pairwise(silent))

    drive.player.take(chunk(2, drive.now, [(-0.2, 0.5)] * 10), drive.now)
    assert drive.steps(5)[-1][:3] == (-0.2, 0.5, Playing.FRESH)


def test_the_last_action_is_held_until_the_chunk_expires_and_no_longer_than_a_second() -> None:
    drive = Drive()
    drive.player.take(chunk(1, 100.0, [(0.1, 0.4)], held=1000.0), 100.0)

    played = [one.playing for one in drive.steps(40)]

    assert played[1] is Playing.FRESH
    held = played.count(Playing.HELD)
    assert round(MOST_HELD / PERIOD) - 1 <= held <= round(MOST_HELD / PERIOD) + 1
    assert played[-1] is Playing.WATCHDOG


def test_a_long_chunk_is_not_driven_by_blindly_to_its_end() -> None:
    drive = Drive()
    long = ControlChunk(1, 100.0, 100.05, 1.0, ((0.0, 1.0),) * 256, 1e9, 3)
    assert drive.player.take(long, 100.0) is None

    played = drive.steps(round(MOST_BLIND / PERIOD) + 20)

    assert played[10].pedal == 1.0
    assert {one.playing for one in played[-19:]} == {Playing.WATCHDOG}


ANYTHING = st.builds(
    ControlChunk,
    number=st.integers(1, 2**53 - 1),
    observed=st.floats(0.0, 200.0),
    first=st.floats(0.0, 200.0),
    period=st.floats(1e-3, 1.0),
    actions=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20).map(tuple),
    expires=st.floats(0.0, 1e9),
    version=st.integers(0, 9),
)
NEAR = st.builds(
    lambda number, observed, actions, ahead, held: chunk(number, observed, actions, observed + ahead, held),
    number=st.integers(1, 100),
    observed=st.floats(99.0, 103.0),
    actions=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20),
    ahead=st.floats(0.0, 0.5),
    held=st.floats(0.0, 0.5),
)
EVENTS = st.lists(
    st.one_of(ANYTHING, NEAR, NEAR, st.just(None), st.floats(0.0, 0.5)),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_nothing_that_arrives_makes_it_jump(events: list[ControlChunk | float | None]) -> None:
    drive = Drive()
    before, at = (0.0, 0.0), drive.now - PERIOD
    for event in events:
        if isinstance(event, ControlChunk):
            drive.player.take(event, drive.now)
            continue
        if event is not None:
            # A step of the game that took another time than a period.
            drive.now += event - PERIOD if event > PERIOD else 0.0
        now, (played,) = drive.now, drive.steps(1)
        past = min(now - at, 2.0 * PERIOD)
        assert max(abs(played.steer), abs(played.pedal)) <= 1.0
        assert abs(played.steer - before[0]) <= STEER_RATE * past + 1e-9
        least = before[1] if played.playing is not Playing.WATCHDOG else min(before[1], 0.0)
        assert played.pedal - before[1] <= PEDAL_RATE * past + 1e-9
        assert least - played.pedal <= PEDAL_RATE * past + 1e-9
        if played.playing is Playing.WATCHDOG:
            assert played.pedal <= 0.0
            assert played.chunk is None
        before, at = (played.steer, played.pedal), now
