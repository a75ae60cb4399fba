"""A simulated link is one reliable stream: in order, repeatable, and stopped as a whole by what is lost."""

import itertools

import numpy as np
import pytest

from racing.link_model import LinkError, LinkModel, SimulatedLink


def arrivals(model: LinkModel, seed: int = 3, count: int = 2000) -> np.ndarray:
    link = SimulatedLink(model, seed)
    return np.array([link.arrival(0.05 * number) for number in range(count)])


def test_messages_arrive_in_order_and_alike_for_a_seed() -> None:
    model = LinkModel((0.02, 0.03, 0.3), stalls_per_second=0.3, stall_seconds=0.4)
    one = arrivals(model)
    assert (np.diff(one) >= 0.0).all()
    assert (one == arrivals(model)).all()
    assert (one != arrivals(model, seed=4)).any()


def test_without_stalls_each_delay_is_among_the_quantiles() -> None:
    delays = arrivals(LinkModel((0.02, 0.025, 0.03))) - 0.05 * np.arange(2000)
    assert delays.min() >= 0.02 - 1e-9
    assert delays.max() <= 0.03 + 1e-9
    assert abs(np.median(delays) - 0.025) < 0.001


def test_a_stall_holds_everything_behind_it() -> None:
    sent = 0.05 * np.arange(2000)
    arrived = arrivals(LinkModel((0.02, 0.02), stalls_per_second=0.2, stall_seconds=0.5))
    late = arrived - sent > 0.02 + 1e-9
    # About 20 stalls in 100 s, each with the messages of half a second.
    assert 40 < np.count_nonzero(late) < 500
    assert any(one == other for one, other in itertools.pairwise(arrived.tolist()))


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"delays": (0.1,)}, "`delays` has 1 numbers"),
        ({"delays": (0.2, 0.1)}, "0.2 before 0.1"),
        ({"delays": (-0.1, 0.1)}, "-0.1 before"),
        ({"delays": (0.1, 6.0)}, "6 before 5"),
        ({"delays": (0.1, float("nan"))}, "nan"),
        ({"delays": (0.1, 0.1), "stalls_per_second": 11.0}, "`stalls_per_second` is 11"),
        ({"delays": (0.1, 0.1), "stall_seconds": float("nan")}, "`stall_seconds` is nan"),
    ],
)
def test_absurd_figures_are_refused_by_name(figures: dict[str, object], says: str) -> None:
    with pytest.raises(LinkError, match=says):
        LinkModel(**figures)  # type: ignore[arg-type]
