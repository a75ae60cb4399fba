"""The rivals of `make bench-learner` make the updates that they are named for."""

import numpy as np
import pytest
import torch

from scripts.bench.learner import ours, plain, stock


@pytest.mark.slow
def test_the_plain_rival_makes_the_updates_of_stable_baselines3() -> None:
    theirs, mine = stock([16, 16], "cpu"), stock([16, 16], "cpu")
    began = torch.cat([weight.detach().flatten() for weight in theirs.policy.parameters()])
    for train in (theirs.train, plain(mine)):
        np.random.seed(1)
        torch.manual_seed(1)
        train(5, 32)
    moved, same = (torch.cat([weight.flatten() for weight in of.policy.parameters()]) for of in (theirs, mine))
    assert (moved - began).abs().max() > 1e-3
    assert (moved - same).abs().max() < 1e-5


def test_both_methods_learn_in_it() -> None:
    for method in ("sac", "xqc"):
        assert ours(method, [8, 8], 16, "cpu")(3, 16) == 3
