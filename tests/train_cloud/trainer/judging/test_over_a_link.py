"""A policy that is trained for a link is judged over it: by the same child, with cars that obey late."""

import msgspec
import pytest

from experience.environment import racing
from racing.evaluation import judge, policy_actions
from racing.link_model import LinkModel
from racing.task import TaskConfig
from racing.track_text import track_text
from tests.support.judged import TRACK, checkpoint
from tests.support.policies import following_policy
from train_cloud.trainer.judging.simulator import Asked, SimulatorJudge

LINK = LinkModel((0.2, 0.25))


@pytest.mark.slow
def test_the_child_judges_over_the_link() -> None:
    raced = racing(link=LINK)
    policy = following_policy(raced.signature, 1, hidden=8)
    asker = SimulatorJudge(TaskConfig(), LINK)
    try:
        asker.ask(Asked(checkpoint(10, True), 1), policy, track_text(TRACK))
        assert asker.wait(100.0)
        taken = asker.take()
    finally:
        asker.close()
    assert taken is not None
    late = judge(policy_actions(raced.policy(policy)), TRACK, link=LINK)
    at_once = judge(policy_actions(raced.policy(policy)), TRACK)
    assert msgspec.json.encode(taken[1]) == msgspec.json.encode(late) != msgspec.json.encode(at_once)
