"""A policy that is sent to be judged is the same policy under another version, which nobody drives by mistake."""

import numpy as np
import pytest

from racing.policy import Policy
from racing.policy_file import POLICY_FORMAT, TO_JUDGE_FORMAT, PolicyError, is_to_judge, to_judge
from tests.support.policies import following_policy

FILE = following_policy("signature", 3, hidden=8)


def test_it_acts_the_same_and_says_what_it_is_for() -> None:
    plain, marked = Policy.from_bytes(FILE, "signature"), Policy.from_bytes(to_judge(FILE, 4), "signature")
    observations = np.random.default_rng(1).uniform(-1.0, 1.0, (50, plain.observation_size)).astype(np.float32)
    assert np.array_equal(plain.act(observations), marked.act(observations))
    assert (plain.version, plain.to_judge) == (3, False)
    assert (marked.version, marked.to_judge) == (4, True)
    assert not is_to_judge(FILE)
    assert is_to_judge(to_judge(FILE, 4))


def test_who_does_not_know_what_it_is_for_refuses_it() -> None:
    # A reader of an earlier version takes POLICY_FORMAT alone, and goes on with what it has.
    assert TO_JUDGE_FORMAT != POLICY_FORMAT
    unknown = to_judge(FILE, 4).replace(TO_JUDGE_FORMAT.encode(), b"ac-training.policy.v1.to-other")
    with pytest.raises(PolicyError, match="update the older of the two sides"):
        Policy.from_bytes(unknown, "signature")
