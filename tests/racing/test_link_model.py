"""A simulated link is one reliable stream: in order, repeatable, and stopped as a whole by what is lost."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from racing.link_model import LinkError, LinkModel, SimulatedLink, link_text, read_link, recorded_link


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


def test_a_recorded_link_is_like_the_one_it_was_recorded_over() -> None:
    link = LinkModel((0.04, 0.045, 0.06), stalls_per_second=0.2, stall_seconds=0.5)
    sent = 0.05 * np.arange(12_000)
    simulated = SimulatedLink(link, 1)
    found = recorded_link([simulated.arrival(at) - at for at in sent.tolist()], 0.05)
    assert found.delays[0] >= 0.04
    assert abs(found.median - link.median) < 0.003
    # Short stalls cannot be told from a late message, so that fewer are counted, and longer ones.
    assert 0.1 < found.stalls_per_second < 0.25
    assert 0.4 < found.stall_seconds < 0.8


def test_a_link_is_read_as_it_was_written(tmp_path: Path) -> None:
    link = LinkModel((0.04, 0.045, 0.06), stalls_per_second=0.2, stall_seconds=0.5)
    (tmp_path / "link.json").write_text(link_text(link), encoding="utf-8")
    assert read_link(tmp_path / "link.json") == link


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no json", "holds no recorded link"),
        ("[1]", "holds no recorded link"),
        ('{"delays": [0.1, 0.2]}', "has the version None: expected 1"),
        ('{"version": 2, "delays": [0.1, 0.2]}', "has the version 2: expected 1"),
        ('{"version": 1, "delays": [0.1, 0.2], "speed": 1}', "unknown field `speed`"),
        ('{"version": 1}', "lacks `delays`"),
        ('{"version": 1, "delays": ["x", 0.2]}', "`delays` holds what is no number"),
        ('{"version": 1, "delays": 0.2}', "`delays`"),
        ('{"version": 1, "delays": [0.2, 0.1]}', "0.2 before 0.1"),
        ('{"version": 1, "delays": [0.1, NaN]}', "nan"),
        (" " * 70_000, "holds no recorded link"),
    ],
)
def test_a_file_that_is_no_link_is_refused_in_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "link.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LinkError, match="doctor --record-link") as refused:
        read_link(file)
    assert says in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"no\.json cannot be read"):
        read_link(tmp_path / "no.json")
