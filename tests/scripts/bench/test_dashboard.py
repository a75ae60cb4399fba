"""The benchmark of the page under load measures what it says, in a real browser."""

from pathlib import Path

import pytest

from scripts.bench import dashboard
from tests.support.browser import need_chromium


@pytest.mark.slow
def test_ten_bridges_are_watched_and_what_that_takes_is_seen(tmp_path: Path) -> None:
    """The hour of `make bench-dashboard` in ten seconds; that nothing grows is looked at beside the page's tests."""
    need_chromium()
    empty, samples = dashboard.measure(10.0, tmp_path / "run", every=5.0)
    assert len(samples) >= 2
    assert empty >= 0.0
    for sample in samples:
        assert 0.0 < sample.dashboard_cpu < 4.0
        assert 0.0 < sample.browser_cpu < 8.0
        assert sample.dashboard_memory > 10e6
        assert sample.browser_memory > 50e6
        assert sample.heap > 1e6
        assert sample.nodes > 500
    dashboard.draw(samples, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
