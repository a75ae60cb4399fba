"""A signature names an environment: equal for what may be mixed, different for what may not."""

import numpy as np
from gymnasium.spaces import Box

from experience.environment import Environment, racing
from experience.spaces import Channel, Spaces, SpaceSpec
from racing.task import ACTION_SIZE, CHANNELS, OBSERVATION_SIZE, TaskConfig
from tests.support.runs import boxes


def test_the_signature_changes_with_whatever_changes_the_experience() -> None:
    base = racing(TaskConfig()).signature
    assert racing().signature == base
    assert racing(TaskConfig(control_hz=25.0)).signature != base
    assert racing(TaskConfig(progress_scale=0.2)).signature != base
    assert racing(TaskConfig(max_episode_seconds=60.0)).signature == base


def test_a_whole_number_is_the_same_setting_as_a_float() -> None:
    assert racing(TaskConfig(control_hz=25)).signature == racing(TaskConfig(control_hz=25.0)).signature


def test_the_signature_changes_with_name_bounds_dtype_grid_channels_and_agents() -> None:
    spaces = boxes(3, 2)
    base = Environment("toy", spaces)
    one = SpaceSpec(Box(-8.0, np.nextafter(np.float32(8.0), np.float32(9.0)), (3,)))
    others = [
        Environment("other", spaces),
        Environment("toy", boxes(4, 2)),
        Environment("toy", Spaces(one, spaces.action)),
        Environment("toy", Spaces(SpaceSpec(Box(-8.0, 8.0, (3,), np.float64)), spaces.action)),
        Environment("toy", Spaces(SpaceSpec(spaces.observation.space, 2.0**-12), spaces.action)),
        Environment("toy", Spaces(SpaceSpec(spaces.observation.space, None, (Channel("x"),)), spaces.action)),
        Environment("toy", Spaces(spaces.observation, spaces.action, agents=2)),
        Environment("toy", spaces, {"kind": "hard"}),
    ]
    assert len({environment.signature for environment in (base, *others)}) == 1 + len(others)
    assert Environment("toy", boxes(3, 2)).signature == base.signature


def test_racing_names_every_column_and_lies_on_its_grids() -> None:
    spaces = racing().spaces
    assert [channel.name for channel in spaces.observation.channels] == [channel.name for channel in CHANNELS]
    assert len(spaces.action.channels) == ACTION_SIZE
    assert (spaces.layout.observation.size, spaces.layout.observation.step) == (OBSERVATION_SIZE, 2.0**-12)
    assert Spaces.parse(spaces.text) == spaces
