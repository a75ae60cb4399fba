"""The template for a real-time game runs as it stands, through the real bridge and receiver."""

from pathlib import Path

import numpy as np
import pytest

from runtime.exit_codes import ExitCode
from tests.support.environment_site import environment_site
from tests.support.moto_s3 import MotoS3, s3

__all__ = ["s3"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("ByMemory", 2), ("ByScreen", 64)])
def test_the_game_is_played_in_its_own_time(name: str, size: int, tmp_path: Path, s3: MotoS3) -> None:
    with environment_site(f"own_realtime_game:{name}", tmp_path, s3) as place:
        with place.drive("--steps", "60") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches, rows = place.batches(), place.rows()
    assert len(rows) == 60
    assert batches[0].observations.shape[1] == size
    assert place.environment.spaces.action.step == 2.0**-7
    seen = np.concatenate([batch.current_observations() for batch in batches])
    assert np.ptp(seen, axis=0).max() > 0.05, "the game goes on, and what it shows is seen"
    if name == "ByScreen":
        assert 0.0 <= seen.min() < seen.max() <= 1.0
