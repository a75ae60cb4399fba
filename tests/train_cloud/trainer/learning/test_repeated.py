"""Updates that are recorded once and replayed without Python, as a GPU's graphs are, are those of plain calls.

No test here has a GPU: what is left to it are the few lines of CudaGraphs.
"""

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.learners import off_policy_learner, xqc_learner
from tests.support.recorded import Kernels, StandIn
from tests.support.runs import run_config
from tests.train_cloud.trainer.learning.test_fast_sac import learner, parameters
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning import fast_sac
from train_cloud.trainer.learning import xqc_learner as xqc_module
from train_cloud.trainer.learning.fast_sac import FastSAC
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.repeated import WARM_UP, Repeated, recorder_for
from train_cloud.trainer.learning.xqc_learner import XqcLearner

Made = OffPolicyLearner | XqcLearner


def test_plain_and_replayed_calls_are_one_update_each() -> None:
    for recorder in (None, StandIn()):
        count = torch.zeros(())
        repeated = Repeated(lambda count=count: count.add_(1.0), recorder)  # type: ignore[misc]  # of a default
        for calls in range(1, 9):
            repeated()
            assert float(count) == calls
    assert isinstance(recorder, StandIn)
    assert (recorder.plain, recorder.recordings, recorder.replays) == (WARM_UP, 1, 8 - WARM_UP)
    assert recorder_for(torch.device("cpu")) is None


def test_the_stand_in_refuses_what_a_graph_cannot_hold() -> None:
    numbers = torch.arange(4.0)
    for waits in (lambda: numbers.sum().item(), lambda: numbers[numbers > 1.0], lambda: bool(numbers[0] > 0)):
        with Kernels(), pytest.raises(AssertionError):
            waits()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """What records from now on; plain learners are made by what calls `plain` first."""
    made = StandIn()
    for module in (fast_sac, xqc_module):
        monkeypatch.setattr(module, "recorder_for", lambda _: made)
    return made


def made(method: str, precision: str) -> Made:
    config = run_config(
        method=method,
        precision=precision,
        network=[16, 16],
        batch_size=32,
        buffer_size=200,
        mirrored=0.5,
        xqc={"bins": 21, "policy_delay": 2},
    )
    return off_policy_learner(config, racing()) if method == "sac" else xqc_learner(config, racing())


def weights(of: Made) -> torch.Tensor:
    module = of.networks if isinstance(of, XqcLearner) else of.algorithm.policy
    return torch.cat([tensor.flatten() for tensor in module.state_dict().values()])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["sac", "xqc"])
def test_a_recorded_learner_learns_as_a_plain_one_whatever_comes_in_between(
    method: str, precision: str, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn
) -> None:
    recorded = made(method, precision)
    with monkeypatch.context() as plain_calls:
        for module in (fast_sac, xqc_module):
            plain_calls.setattr(module, "recorder_for", lambda _: None)
        plain = made(method, precision)
        began = weights(plain)
        for one in (plain, recorded):
            torch.manual_seed(1)
            # More and more rows, then new ones in the places of old ones.
            for number in range(1, 16):
                one.take(made_up_batch(number))
                one.update(3)
            plain_calls.undo()
    assert (weights(plain) - began).abs().max() > 1e-4
    assert torch.equal(weights(plain), weights(recorded))
    assert plain.figures() == recorded.figures()
    # With a delay of 2, updates that act and updates that do not are two recordings.
    assert (stand_in.recordings, stand_in.plain) == ((1, 3) if method == "sac" else (2, 6))
    assert stand_in.plain + stand_in.replays == 45
    counters = Counters(updates=45)
    state = recorded.state(counters)
    for one in (plain, recorded):
        one.restore(state, counters)
        torch.manual_seed(2)
        one.update(20)
    assert torch.equal(weights(plain), weights(recorded)), "what was restored learns, not what was recorded before"


def test_sizes_of_batches_and_rates_may_change(stand_in: StandIn) -> None:
    theirs, ours = learner(SAC), learner(FastSAC)
    for size, rate in ((64, 1e-3), (32, 1e-3), (64, 1e-4)):
        for model in (theirs, ours):
            model.lr_schedule = lambda _, rate=rate: rate  # type: ignore[misc]  # of a default
            torch.manual_seed(size)
            model.train(gradient_steps=6, batch_size=size)
    assert stand_in.recordings == 2
    assert (parameters(theirs) - parameters(ours)).abs().max() < 1e-4


@pytest.mark.parametrize("method", ["sac", "xqc"])
def test_bfloat16_learns_about_the_same_and_keeps_float32(method: str) -> None:
    exact, rounded = made(method, "float32"), made(method, "bfloat16")
    began = weights(exact)
    for one in (exact, rounded):
        one.take(made_up_batch(1))
        torch.manual_seed(1)
        one.update(10)
    apart = (weights(exact) - weights(rounded)).abs().mean()
    assert 0.0 < apart < 0.5 * (weights(exact) - began).abs().mean()
    module = rounded.networks if isinstance(rounded, XqcLearner) else rounded.algorithm.policy
    assert torch.bfloat16 not in {tensor.dtype for tensor in module.state_dict().values()}
    assert np.isfinite([*rounded.figures().losses.values()]).all()
