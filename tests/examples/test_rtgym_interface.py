"""What was written for rtgym is driven as it stands, through the real bridge and receiver."""

from pathlib import Path

import numpy as np
import pytest

from runtime.exit_codes import ExitCode
from tests.support import rtgym_ball
from tests.support.environment_site import environment_site
from tests.support.moto_s3 import MotoS3, s3

__all__ = ["s3"]


@pytest.mark.slow
def test_an_interface_of_rtgym_is_driven_in_its_own_time(tmp_path: Path, s3: MotoS3) -> None:
    with environment_site("tests.support.rtgym_ball:Env", tmp_path, s3) as place:
        with place.drive("--steps", "60") as bridge:
            assert bridge.wait(120) == ExitCode.OK, place.log.read_text()
        batches, calls = place.batches(), place.lived.read_text().splitlines()
    seen = np.concatenate([batch.current_observations() for batch in batches])
    led_to = np.concatenate([batch.next_observations() for batch in batches])
    actions = np.concatenate([batch.actions for batch in batches])[:, 0]
    assert len(actions) == 60
    for first in (0, 25, 50):
        own = slice(first, min(first + 25, 60))
        assert seen[own, -1].tolist() == [0.0, *actions[own][:-1].tolist()], "the newest action is seen"
        assert seen[own, -2].tolist() == [0.0, 0.0, *actions[own][:-2].tolist()], "and the one before"
    assert np.array_equal(led_to[:, 1], actions), "what was applied is what is looked at"
    assert np.array_equal(led_to[:, 3], led_to[:, 0] > 0.0), "a choice is a number for each"
    moved = np.abs(led_to[:, 0] - seen[:, 0] - rtgym_ball.PERIOD * actions)
    assert np.median(moved) < rtgym_ball.PERIOD / 2, "a period at the speed that was told"
    ends = [end.steps for batch in batches for end in batch.episodes]
    assert ends == [25, 25, 10]
    assert [call for call in calls if not call.startswith("send")] == [
        "reset",
        "wait",
        "reset",
        "wait",
        "reset",
        "wait",
    ]
    assert calls[0] == calls[-2] == "send 0.0"
    sent = [float(call.split()[1]) for call in calls if call.startswith("send")]
    assert len(sent) == 60 + 3 + 1, "each action once; the idle one before each episode, and at the end"
