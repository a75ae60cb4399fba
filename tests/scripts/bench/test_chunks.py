"""The bench's drives over a link are repeatable, clean over a short one, and told in one line of the table."""

from racing.evaluation import reference_actions
from racing.reference_driver import ReferenceDriver
from racing.track import Track
from scripts.bench.chunks import cells, there_and_back
from scripts.bench.chunks_drive import drive, link_of

TRACK = Track.generate(7, 1200.0)


def test_five_seconds_over_fifty_milliseconds_are_clean_and_repeatable() -> None:
    one, again = (drive(TRACK, reference_actions(ReferenceDriver(TRACK)), 5.0, 2, 0.05, 5) for _ in range(2))
    assert one == again
    assert not one.ends
    assert one.metres > 150.0
    assert one.played["fresh"] > 150
    assert cells(one)[2:4] == ("0 of 0", "0.0")


def test_a_link_without_delay_has_no_jitter_and_both_ways_are_twice_one() -> None:
    assert link_of(0.0, 20.0).stalls_per_second == 0.0
    way, both = link_of(0.05, 20.0), there_and_back(0.05)
    assert 0.05 <= way.median < 0.06
    assert both.median == 2.0 * way.median
    assert both.stalls_per_second == 2.0 * way.stalls_per_second > 0.0
