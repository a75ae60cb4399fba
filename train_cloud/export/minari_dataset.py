"""A run's experience as a Minari dataset, an episode at a time: values of the environment's own spaces, nothing lossy.

Each episode's metadata say where it is from and whether its beginning and its end are known; the infos of its steps say
which policy acted (version 0 and `demonstration` where somebody showed how it is done). An episode without a known end
is marked as truncated at its last step, as Minari's own collector does, because there the data break off.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from experience.environment import Environment
from experience.rows import from_rows
from train_cloud.export.episodes import Episode
from train_cloud.export.errors import ExportError

VERSION = 0
"""Of the dataset in its id: an export of the same run is the same dataset, or a longer one."""


def dataset_id(run_id: str) -> str:
    """The dataset's id, by which `minari.load_dataset` finds it; Minari allows no dots."""
    return f"{re.sub(r'[^-_A-Za-z0-9]', '-', run_id)}-v{VERSION}"


def write_minari(folder: Path, run_id: str, environment: Environment, method: str, episodes: Iterable[Episode]) -> Path:
    """Write the dataset into `folder`, as MINARI_DATASETS_PATH names one; the dataset's own folder in it.

    Raises ExportError where Minari has no form for the environment's spaces, OSError.
    """
    data = folder / dataset_id(run_id) / "data"
    data.mkdir(parents=True)
    observation, action = environment.spaces.observation, environment.spaces.action
    try:
        storage = MinariStorage.new(data, observation.space, action.space, data_format="arrow", jpeg_encoding=False)
    except NotImplementedError as error:
        raise ExportError(f"Minari cannot describe the spaces of {environment.name} ({error}).") from error
    storage.update_metadata(
        {
            "dataset_id": dataset_id(run_id),
            "minari_version": minari.__version__,
            "algorithm_name": method,
            "description": f"What the run {run_id} of ac-training drove in {environment.name}.",
            "signature": environment.signature,
            "channels": {
                side: [[channel.name, channel.unit, channel.scale] for channel in spec.channels]
                for side, spec in (("observation", observation), ("action", action))
            },
        }
    )
    measured = storage.get_size
    # Minari measures the whole folder twice for each episode: a run has thousands.
    storage.get_size = lambda: 0.0
    for number, episode in enumerate(episodes):
        storage.update_episodes([_buffer(number, environment, episode)])
        storage.update_episode_metadata([_about(episode)], [number])
    storage.update_metadata({"dataset_size": float(measured())})
    return data.parent


def _buffer(number: int, environment: Environment, episode: Episode) -> Any:
    truncated = episode.truncated.copy()
    truncated[-1] |= not episode.ended
    infos = {
        "policy_version": episode.policy_versions,
        "demonstration": episode.demonstrated,
        "action_age": episode.action_ages,
        "off_period": episode.off_period,
    }
    return EpisodeBuffer(
        id=number,
        observations=from_rows(environment.spaces.observation.space, episode.observations),
        actions=from_rows(environment.spaces.action.space, episode.actions),
        rewards=episode.rewards,
        terminations=episode.terminated,
        truncations=truncated,
        # Minari has one more for what a reset tells, which is nothing here: the first step's stands there, too.
        infos={name: [values[0].item(), *values.tolist()] for name, values in infos.items()},
    )


def _about(episode: Episode) -> dict[str, Any]:
    """The episode's metadata."""
    shown = episode.demonstrated
    return {
        "stream": episode.stream,
        "bridge": episode.bridge,
        "car": episode.car,
        "first_step": episode.first_step,
        "begun": episode.begun,
        "ended": episode.ended,
        "reason": episode.reason,
        "demonstration": "whole" if shown.all() else "part" if shown.any() else "none",
        "total_reward": float(np.sum(episode.rewards, dtype=np.float64)),
    }
