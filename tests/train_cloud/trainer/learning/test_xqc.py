"""XQC's updates beside plain references, and what its learner takes in, gives away and refuses."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from experience.environment import Environment, racing
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Policy
from racing.task import ACTION_STEP
from tests.support.batches import made_up_batch as batch_of
from tests.support.experience import made_up_batch
from tests.support.learners import REMOTE, SMALL, toy_learner, xqc_learner
from tests.support.runs import boxes, run_config
from tests.support.toys import Collector
from tests.train_cloud.trainer.learning.test_normalised import FloatArray, array, plain_projection, reference
from train_cloud.run_config import ConfigError, RunConfig, parse_run_config
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning import export
from train_cloud.trainer.learning.export import ExportError
from train_cloud.trainer.learning.normalised import NormalisedNetwork
from train_cloud.trainer.learning.return_scale import MAX_OPEN, EpisodeReturns
from train_cloud.trainer.learning.rollout import Run
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.learning.xqc import Networks, Xqc, squashed_sample

ROWS, SIZE, ACTIONS, BINS = 32, 5, 2, 21
Tensors = dict[str, torch.Tensor]


def config_of(**changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"method": "xqc", "network": [16, 16], "xqc": {"bins": BINS}, "learning_rate": 1e-2}
    return run_config(**settings | changes)


def made(**changes: Any) -> Xqc:
    torch.manual_seed(3)
    config = config_of(**changes)
    networks = Networks(config, SIZE, ACTIONS)
    networks.scale.add(np.array([0.0, 4.0], np.float32))
    return Xqc(config, networks, ACTIONS)


def windows() -> ReplayBufferSamples:
    torch.manual_seed(4)
    # Of three steps, which are discounted three times.
    done = torch.full((ROWS, 1), 1 - config_of().discount ** 2)
    done[::5] = 1.0
    spread = torch.logspace(-1, 1, SIZE)
    return ReplayBufferSamples(
        observations=torch.randn(ROWS, SIZE) * spread,
        actions=torch.rand(ROWS, ACTIONS) * 2 - 1,
        rewards=torch.randn(ROWS, 1) * 4.0,
        next_observations=torch.randn(ROWS, SIZE) * spread + 1.0,
        dones=done,
    )


def state(xqc: Xqc) -> Tensors:
    return {name: tensor.clone() for name, tensor in xqc.networks.state_dict().items()}


def moved(before: Tensors, after: Tensors) -> set[str]:
    """The parts of the networks with a parameter that is not what it was (running figures aside)."""
    names = (name for name in before if "running" not in name and "tracked" not in name)
    return {name.split(".")[0] for name in names if not torch.equal(before[name], after[name])}


def network(xqc: Xqc, kind: str, number: int) -> NormalisedNetwork:
    found = xqc.networks.get_submodule(f"{kind}.{number}")
    assert isinstance(found, NormalisedNetwork)
    return found


def softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    result: FloatArray = powers / powers.sum(-1, keepdims=True)
    return result


def plain_loss(xqc: Xqc, batch: ReplayBufferSamples, together: bool = True) -> float:
    """The critics' loss before an update, in plain numpy; `together` as it should be: both halves in one batch."""
    torch.manual_seed(5)
    actor = xqc.networks.actor.eval()
    with torch.no_grad():
        next_actions, next_log_prob = squashed_sample(actor(batch.next_observations))
    met = np.hstack([array(batch.observations), array(batch.actions)])
    following = np.hstack([array(batch.next_observations), array(next_actions)])

    def both(kind: str, number: int) -> tuple[FloatArray, FloatArray]:
        of = network(xqc, kind, number)
        if not together:
            return reference(of, met, True), reference(of, following, True)
        logits = reference(of, np.vstack([met, following]), True)
        return logits[:ROWS], logits[ROWS:]

    support = np.linspace(-5.0, 5.0, BINS)
    expected = np.stack([softmax(both("targets", number)[1]) for number in (0, 1)])
    least = (expected @ support).argmin(0)
    chosen = expected[least, np.arange(ROWS)]
    coefficient = float(xqc.networks.log_coefficient.detach().exp())
    soft = support - coefficient * array(next_log_prob)[:, None]
    # The returns 0 and 4 spread by 2 around their mean; 4 is within five times that.
    kept = config_of().discount * (1.0 - array(batch.dones))
    values = array(batch.rewards) / 2.0 + kept * soft
    target = plain_projection(values, chosen, -5.0, 5.0, BINS)
    losses = [-(target * np.log(softmax(both("critics", number)[0]))).sum(1).mean() for number in (0, 1)]
    return float(np.mean(losses))


def test_the_critics_loss_is_the_cross_entropy_to_the_projected_target_both_halves_normalised_together() -> None:
    xqc, batch = made(), windows()
    for _ in range(20):
        xqc.update(batch)
    wanted, apart = plain_loss(xqc, batch), plain_loss(xqc, batch, together=False)
    torch.manual_seed(5)
    assert float(xqc._learn_values(batch)) == pytest.approx(wanted, rel=1e-4)
    assert abs(apart - wanted) > 1e-2


def test_critics_begin_by_saying_that_all_is_worth_about_nothing() -> None:
    xqc, batch = made(xqc={"bins": 101}), windows()
    met = torch.cat([batch.observations, batch.actions], 1)
    for number in (0, 1):
        told = network(xqc, "critics", number)(met).softmax(-1)
        means = told @ xqc.networks.values
        spread = (told @ xqc.networks.values.square() - means.square()).sqrt()
        assert means.abs().max() < 1.0
        assert 0.2 < float(spread.detach().mean()) < 1.0, "uniform would be 2.9"


def test_a_terminated_window_is_worth_its_rewards_alone() -> None:
    xqc, batch = made(), windows()._replace(dones=torch.ones(ROWS, 1))
    met = torch.cat([torch.cat([batch.observations, batch.actions], 1)] * 2)
    target = xqc._target(met, batch, torch.full((ROWS,), 50.0))
    means = (target @ xqc.networks.values).tolist()
    assert means == pytest.approx((batch.rewards[:, 0] / 2.0).clamp(-5.0, 5.0).tolist(), abs=1e-5)


def test_samples_have_the_probabilities_of_a_squashed_gaussian() -> None:
    torch.manual_seed(6)
    output = torch.randn(400, 2 * ACTIONS) * torch.tensor([1.0, 1.0, 0.5, 0.5])
    actions, log_prob = squashed_sample(output)
    mean, log_std = output.chunk(2, 1)
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
    theirs = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    inside = (actions.abs() < 0.999).all(1)
    wanted = theirs.log_prob(actions.double()).sum(1)  # type: ignore[no-untyped-call]  # of torch
    assert inside.sum() > 200
    assert torch.allclose(log_prob[inside].double(), wanted[inside], atol=1e-2)
    far, its = squashed_sample(torch.tensor([[40.0, 0.0, -5.0, 9.0]]))
    assert far[0, 0] == 1.0
    _, limited = squashed_sample(torch.tensor([[0.0, 0.0, 99.0, -99.0]]))
    assert torch.isfinite(torch.cat([its, limited])).all(), "where tanh is one, and beyond the spread's limits"


def test_each_part_moves_only_itself_and_the_actor_only_when_it_acts() -> None:
    xqc, batch = made(), windows()
    for acts in (True, False):
        before = state(xqc)
        losses = xqc.update(batch, acts)
        assert moved(before, state(xqc)) == {"critics", "targets"} | ({"actor", "log_coefficient"} if acts else set())
        assert set(losses) == {"critic_loss"} | ({"actor_loss", "ent_coef_loss", "ent_coef"} if acts else set())
    before = state(xqc)
    xqc._learn_to_act(batch.observations)
    assert moved(before, state(xqc)) == {"actor", "log_coefficient"}, "its loss passes through the critics"


def test_the_actor_moves_every_few_updates_of_the_critics_after_a_restart_too() -> None:
    config = config_of(buffer_size=100, xqc={"bins": BINS, "policy_delay": 3})
    learner = xqc_learner(config, racing())
    learner.take(made_up_batch(1))
    for number in range(7):
        if number == 5:
            learner.restore(learner.state(Counters(updates=number)), Counters(updates=number))
        before = state(learner.xqc)
        learner.update(1)
        assert ("actor" in moved(before, state(learner.xqc))) == (number % 3 == 0)
    assert set(learner.figures().losses) == {"critic_loss", "actor_loss", "ent_coef_loss", "ent_coef"}


def test_targets_follow_by_tau_and_weights_keep_their_length() -> None:
    xqc, batch = made(tau=0.25), windows()
    before = state(xqc)
    xqc.update(batch)
    after = state(xqc)
    for name in (name for name in after if name.startswith("critics") and name.endswith(("weight", "bias"))):
        target = name.replace("critics", "targets")
        assert torch.allclose(after[target], 0.75 * before[target] + 0.25 * after[name], atol=1e-6)
        if after[name].ndim == 2:
            assert torch.allclose(after[name].norm(dim=1), torch.ones(len(after[name])), atol=1e-6)


@pytest.mark.parametrize(("target_entropy", "rises"), [(3.0, True), (-20.0, False)])
def test_entropy_is_worth_more_while_there_is_too_little_of_it(target_entropy: float, rises: bool) -> None:
    xqc, batch = made(target_entropy=target_entropy), windows()
    before = float(xqc.networks.log_coefficient.detach())
    xqc.update(batch)
    assert (float(xqc.networks.log_coefficient.detach()) > before) == rises
    assert np.exp(before) == pytest.approx(0.01)


@pytest.mark.slow
def test_what_is_met_again_and_again_is_learned() -> None:
    # Both actions in -1 to 1; the reward is the greater, the nearer they are to what is seen.
    xqc = made(learning_rate=3e-3)
    torch.manual_seed(8)
    for _ in range(400):
        seen, actions = torch.rand(64, SIZE) * 2 - 1, torch.rand(64, ACTIONS) * 2 - 1
        rewards = -(actions - seen[:, :ACTIONS]).square().sum(1, keepdim=True)
        xqc.update(ReplayBufferSamples(seen, actions, torch.rand(64, SIZE), torch.ones(64, 1), rewards))
    seen = torch.rand(200, SIZE) * 1.6 - 0.8
    with torch.no_grad():
        off = (xqc.networks.act(seen, explore=False) - seen[:, :ACTIONS]).abs().mean()
    assert off < 0.15, "by chance it would be 0.5"


LOW, HIGH = np.array([-2.0, 0.0], np.float32), np.array([2.0, 8.0], np.float32)
WIDE = Environment("wide", Spaces(boxes(SIZE, 1).observation, SpaceSpec(Box(LOW, HIGH))))


def test_actions_are_learned_from_in_minus_one_to_one_and_done_in_their_own_units() -> None:
    learner = xqc_learner(config_of(buffer_size=100), WIDE)
    batch = batch_of(1, (4, 2), WIDE.spaces.layout)
    learner.take(batch)
    kept = ~batch.off_period
    rows = learner.replay.newest(6)
    wanted = 2.0 * (batch.actions - LOW) / (HIGH - LOW) - 1.0
    assert np.allclose(rows[:, SIZE : SIZE + ACTIONS], wanted[kept], atol=1e-6)
    assert np.allclose(rows[:, :SIZE], batch.current_observations()[kept])
    actions = learner.act(np.zeros((200, SIZE), np.float32), explore=True)
    assert actions.shape == (200, 2)
    assert actions.dtype == np.float32
    assert ((actions >= LOW) & (actions <= HIGH)).all()
    assert (np.ptp(actions, axis=0) > [1.0, 2.0]).all()
    calm = learner.act(np.zeros((2, SIZE), np.float32), explore=False)
    assert np.array_equal(calm[0], calm[1])


def trained(environment: Environment, size: int, actions: int) -> Any:
    """A learner that has learned for a while from observations of very different spreads and offsets."""
    learner = xqc_learner(config_of(network=[64, 64], buffer_size=4_096, batch_size=128), environment)
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1_025, size)) * np.geomspace(0.01, 2.0, size) + np.linspace(-4.0, 4.0, size)
    acted = rng.uniform(-1, 1, (1_024, actions)).astype(np.float32)
    # What is best depends on what is seen, and is nowhere at a bound.
    wanted = np.stack([rows[:-1, -1] - 4.0, rows[:-1, -2] - rows[:-1, -2].mean()], 1)[:, :actions] / 6.0
    rewards = -((acted - wanted) ** 2).sum(1).astype(np.float32)
    columns = rows[:-1].astype(np.float32), acted, rewards, rows[1:].astype(np.float32), np.zeros(1_024, bool)
    learner.replay.insert(*columns)
    learner.networks.scale.add(rewards)
    learner.update(100)
    return learner, rows[:-1].astype(np.float32)


def test_the_exported_policy_is_torchs_with_plain_dense_layers() -> None:
    environment = Environment("many", boxes(12, 2))
    learner, rows = trained(environment, 12, 2)
    policy = environment.policy(learner.policy(7))
    assert isinstance(policy, Policy)
    # As many layers as a plain policy of this size has: the PC is not slower.
    assert [callable(layer) for layer in policy.layers] == [False, True, False, True, False]
    assert (policy.version, policy.log_std) == (7, None)
    theirs = learner.act(rows, explore=False)
    assert np.ptp(theirs, axis=0).min() > 0.1
    assert np.abs(policy.act(rows) - theirs).max() < 3e-3, "its matrices are float16"
    with torch.no_grad():
        output = learner.networks.actor.eval()(torch.from_numpy(rows)).numpy()
    assert np.abs(policy._forward(rows) - output).max() / np.abs(output).max() < 3e-3


def test_folding_is_exact_but_for_the_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, rows = trained(Environment("many", boxes(12, 2)), 12, 2)
    monkeypatch.setattr(export._Folded, "rounded", lambda self: (self.weight, self.bias - self.weight @ self._mean))
    layers, tensors = export._fold([*learner.networks.actor])
    x = rows.astype(np.float64)
    for layer in layers:
        x = x @ tensors[layer["weight"]].T + tensors[layer["bias"]] if layer["op"] == "linear" else np.maximum(x, 0.0)
    assert np.allclose(x, reference(learner.networks.actor, rows.astype(np.float64), by_batch=False), atol=1e-9)


def test_racing_by_xqc_is_what_a_pc_drives() -> None:
    learner = xqc_learner(config_of(buffer_size=100), racing())
    learner.take(made_up_batch(1))
    assert learner.update(5) == 5
    learner.check()
    policy = racing().policy(learner.policy(2))
    assert isinstance(policy, Policy)
    assert policy.action_step == ACTION_STEP
    assert set(learner.figures().losses) == {"critic_loss", "actor_loss", "ent_coef_loss", "ent_coef"}


def test_nothing_is_learned_from_nothing() -> None:
    learner = xqc_learner(config_of(buffer_size=100), racing())
    assert learner.update(5) == 0
    assert learner.figures().losses == {}
    before = learner.memory_digest()
    learner.take(made_up_batch(1))
    assert learner.memory_digest() != before


def test_divergence_is_noticed_and_not_exported() -> None:
    learner = xqc_learner(config_of(buffer_size=100), racing())
    learner.take(made_up_batch(1))
    learner.update(2)
    moments = learner.xqc.optimizers["critics"].state
    next(iter(moments.values()))["exp_avg_sq"].fill_(float("inf"))
    with pytest.raises(Diverged, match="moment of an optimiser"):
        learner.check()
    with torch.no_grad():
        next(learner.networks.actor.parameters())[0] = float("nan")
    with pytest.raises(Diverged, match="weight"):
        learner.check()
    with pytest.raises(ExportError, match="diverged"):
        learner.policy(2)


def test_a_resumed_learner_scales_rewards_as_before_and_counts_nothing_twice() -> None:
    lived, resumed = (xqc_learner(config_of(buffer_size=100, seed=seed), racing()) for seed in (1, 2))
    for number in range(1, 4):
        lived.take(made_up_batch(number))
    made_updates = lived.update(4)
    counters = Counters(steps=60, updates=made_updates)
    resumed.restore(lived.state(counters), counters)
    for number in range(1, 4):
        resumed.take(made_up_batch(number), False)
    assert resumed.networks.scale.moments.tolist() == lived.networks.scale.moments.tolist()
    assert resumed.memory_digest() == lived.memory_digest()
    held = torch.load(io.BytesIO(lived.state(counters)), weights_only=True)
    assert held["steps"] == 60


def test_the_returns_so_far_go_on_over_batches_and_begin_anew_with_an_episode_or_a_missing_step() -> None:
    gamma = 0.9
    rewards = np.random.default_rng(0).normal(size=12).astype(np.float32)
    rows = np.arange(26, dtype=np.float32).reshape(13, 2)

    def run(begin: int, end: int, car: int = 1, ended: bool = False) -> Run:
        steps = slice(begin, end)
        return Run(car, 100 + begin, rows[begin : end + 1], np.zeros((end - begin, 1)), rewards[steps], False, ended)

    def plain(begin: int, end: int) -> list[float]:
        return [sum(gamma ** (at - k) * float(rewards[k]) for k in range(begin, at + 1)) for at in range(begin, end)]

    returns = EpisodeReturns(gamma)
    # Two cars in turns; the first one's episode ends with its seventh step, the other one's eighth step is missing.
    told = [
        *returns.of([run(0, 3), run(0, 5, car=2)]),
        *returns.of([]),
        *returns.of([run(5, 7, car=2), run(3, 7, ended=True)]),
    ]
    assert told == pytest.approx(plain(0, 7)[:3] + plain(0, 7) + plain(0, 7)[3:], abs=1e-5)
    told = [*returns.of([run(7, 12), run(8, 12, car=2)])]
    assert told == pytest.approx(plain(7, 12) + plain(8, 12), abs=1e-5)
    # The same car and step of another bridge's stream.
    stranger = Run(1, 112, rows[:2], np.zeros((1, 1)), rewards[:1], False, False)
    assert returns.of([stranger]) == pytest.approx(rewards[:1])


def test_cars_that_never_come_back_are_forgotten() -> None:
    returns = EpisodeReturns(0.9)
    rows = np.zeros((2, 2), np.float32)
    for car in range(MAX_OPEN + 500):
        returns.of([Run(car, 0, rows, np.zeros((1, 1)), np.ones(1, np.float32), False, False)])
    assert len(returns._open) == MAX_OPEN


def test_the_state_of_another_method_or_size_is_refused() -> None:
    learner, counters = xqc_learner(config_of(buffer_size=100), racing()), Counters()
    others = [
        toy_learner("sac", Collector(), **SMALL).state(counters),
        xqc_learner(config_of(network=[8], buffer_size=100), racing()).state(counters),
        b"nothing",
    ]
    for other in others:
        with pytest.raises((KeyError, ValueError, RuntimeError)):
            learner.restore(other, counters)


@pytest.mark.parametrize(
    ("seen", "moved"), [("image", "box"), ("dict", "box"), ("cells", "box"), ("vector", "discrete")]
)
def test_what_is_no_row_of_numbers_is_refused_in_a_sentence(seen: str, moved: str) -> None:
    with pytest.raises(
        ConfigError, match=r"`method` has the value .xqc., which (learns from one row|needs continuous)"
    ):
        toy_learner("xqc", Collector(seen, moved), **SMALL, environment=REMOTE)


def test_a_batch_of_one_is_refused_because_it_has_no_spread() -> None:
    text = b'{"run_id": "a", "bucket": {"name": "bucket"}, "method": "xqc", "batch_size": 1}'
    with pytest.raises(ConfigError, match=r"`batch_size` has the value 1: expected 2 or more, as XQC normalises"):
        parse_run_config(text)
