"""A vector of environments that hand out the same arrays each time steps as gymnasium's own of those that do not."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.experience.test_values import same
from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.reusing_env import Reusing
from tests.train_cloud.remote.test_vec_env import as_lists
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vec_env import RemoteVecEnv
from train_cloud.remote.vector import RemoteVectorEnv

NAME = "tests.support.reusing_env:Reusing"
COUNT = 3
FRESH: list[Callable[[], Reusing]] = [partial(Reusing, fresh=True)] * COUNT


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([NAME], tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.mark.parametrize("mode", AutoresetMode)
def test_each_value_is_that_of_gymnasiums_own(pc: RemotePc, mode: AutoresetMode) -> None:
    remote = RemoteVectorEnv(pc.calls, NAME, COUNT, autoreset_mode=mode)
    own = SyncVectorEnv(FRESH, autoreset_mode=mode)
    assert remote.metadata["autoreset_mode"] is mode
    options = {"far": True}
    seeds: list[Any] = [[4, 9, 6], 4]
    for seed in seeds:
        assert same(list(remote.reset(seed=seed, options=options)), list(own.reset(seed=seed, options=options)))
    own.action_space.seed(1)
    ends = np.zeros(3, int)
    for _ in range(120):
        actions = own.action_space.sample()
        step, own_step = remote.step(actions), own.step(actions)
        assert same(step, own_step)
        terminated, truncated = step[2], step[3]
        over = terminated | truncated
        ends += [(terminated & ~truncated).sum(), (truncated & ~terminated).sum(), (terminated & truncated).sum()]
        if mode is AutoresetMode.SAME_STEP:
            assert ("final_obs" in step[4]) == ("final_info" in step[4]) == bool(over.any())
            if over.any():
                assert step[4]["_final_obs"].tolist() == step[4]["_final_info"].tolist() == over.tolist()
        if mode is AutoresetMode.DISABLED and over.any():
            some: dict[str, Any] = {"reset_mask": over, "far": False}
            begun, own_begun = remote.reset(options=dict(some)), own.reset(options=dict(some))
            assert same(list(begun), list(own_begun))
            assert begun[1]["_options"].tolist() == over.tolist(), "only they were begun anew"
    assert ends.min() > 2
    remote.close()


def test_without_autoreset_what_is_over_is_not_stepped(pc: RemotePc) -> None:
    remote = RemoteVectorEnv(pc.calls, NAME, COUNT, autoreset_mode=AutoresetMode.DISABLED)
    remote.reset(seed=1)
    while True:
        *_, terminated, truncated, _ = remote.step(np.zeros(COUNT, np.int64))
        if (terminated | truncated).any():
            break
    with pytest.raises(RemoteEnvError, match="AssertionError"):
        remote.step(np.zeros(COUNT, np.int64))
    with pytest.raises(RemoteEnvError, match=r"at least one True value"):
        remote.reset(options={"reset_mask": np.zeros(COUNT, bool)})
    remote.close()


def test_a_single_one_hands_out_copies(pc: RemotePc) -> None:
    remote, own = RemoteEnv(pc.calls, NAME), Reusing(fresh=True)
    kept, own_kept = [remote.reset(seed=2)], [own.reset(seed=2)]
    for _ in range(20):
        kept.append(remote.step(0))  # type: ignore[arg-type]  # of any type
        own_kept.append(own.step(0))  # type: ignore[arg-type]  # of any type
    assert same(kept, own_kept)
    remote.close()


def test_each_value_is_that_of_sb3s_own(pc: RemotePc) -> None:
    remote, own = RemoteVecEnv(pc.calls, NAME, COUNT), DummyVecEnv(FRESH)  # type: ignore[arg-type]  # of any type
    for env in (remote, own):
        env.seed(3)
    begun, own_begun = remote.reset(), own.reset()
    assert isinstance(own_begun, dict)
    assert same(begun, dict(own_begun))
    ends = cuts = 0
    for number in range(120):
        actions = np.full(COUNT, number % 3 - 1)
        (seen, rewards, over, infos), (own_seen, own_rewards, own_over, own_infos) = (
            remote.step(actions),
            own.step(actions),
        )
        assert isinstance(own_seen, dict)
        assert same(seen, dict(own_seen))
        assert same((rewards, over), (own_rewards, own_over))
        assert as_lists(infos) == as_lists(own_infos)
        assert [info["TimeLimit.truncated"] for info in infos] == [i["TimeLimit.truncated"] for i in own_infos]
        for index in np.flatnonzero(over):
            assert same(infos[index]["terminal_observation"], own_infos[index]["terminal_observation"])
        ends, cuts = ends + int(over.sum()), cuts + sum(info["TimeLimit.truncated"] for info in infos)
    assert 2 < cuts < ends - 2
    remote.close()
