"""The replay buffer: stable-baselines3's, with each transition as one packed float32 row of a torch tensor.

Images and dictionaries are kept in stable-baselines3's own buffers, which hold them as they come. Of vectors a whole
batch of experience is inserted with a few array copies and a sample is one index_select, on the device that learns.
Both keep the newest `buffer_size` transitions in the order of insertion. They do not read the store.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from experience.batches import AnyArray, Batch
from train_cloud.trainer.counters import demonstrated
from train_cloud.trainer.learning.returns import returns_of
from train_cloud.trainer.learning.views import View

DIGEST_ROWS: Final = 20_000
"""A digest tells of this many rows at most: hashing all of a large buffer would hold learning up."""

DIGEST_IMAGES: Final = 200
"""The same where rows are large."""

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class PackedReplayBuffer(ReplayBuffer):
    """Rows of (observation D | action A | reward | next observation D | done), float32; see returns.py for `done`.

    A transition that was only truncated counts as going on: its value bootstraps from the next observation. While
    `beside` holds any, `share_beside` of each sample is drawn from there.
    """

    beside: "PackedReplayBuffer | None" = None
    share_beside = 0.5

    def __init__(
        self, buffer_size: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], **options: Any
    ) -> None:
        if options.pop("optimize_memory_usage", False) or not options.pop("handle_timeout_termination", True):
            raise ValueError("a packed buffer keeps next observations and always tells truncated from terminated")
        # Not ReplayBuffer's own: it would allocate the arrays that the packed rows stand for.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, **options)
        size = int(np.prod(self.obs_shape))
        self._action = slice(size, size + self.action_dim)
        self._reward = size + self.action_dim
        self._next = slice(self._reward + 1, self._reward + 1 + size)
        self._done = self._reward + 1 + size
        self._mirror: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self._held = torch.zeros((), dtype=torch.float64, device=self.device)
        """`size()` where samples are drawn, so that drawing one neither waits for the host nor bakes a number in."""
        # Never read before it is written; untouched pages of an empty tensor cost no memory.
        self.rows = torch.empty((buffer_size, self._done + 1), dtype=torch.float32, device=self.device)

    def insert(
        self,
        observations: Float32Array,
        actions: Float32Array,
        rewards: Float32Array,
        next_observations: Float32Array,
        done: Float32Array | BoolArray,
    ) -> None:
        """Append T transitions: (T, D), (T, A), (T,), (T, D), (T,); the oldest make room."""
        columns = observations, actions, rewards[:, None], next_observations, done[:, None]
        # One copy to the device, which then puts the rows where they belong.
        rows = torch.from_numpy(np.concatenate(columns, 1, dtype=np.float32)[-self.buffer_size :]).to(self.device)
        head = min(len(rows), self.buffer_size - self.pos)
        self.rows[self.pos : self.pos + head].copy_(rows[:head])
        self.rows[: len(rows) - head].copy_(rows[head:])
        self.full = self.full or self.pos + len(rows) >= self.buffer_size
        self.pos = (self.pos + len(rows)) % self.buffer_size
        self._held.fill_(self.size())

    def add(
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """One transition of each environment, as stable-baselines3's own collection would add it."""
        timeouts = np.array([info.get("TimeLimit.truncated", False) for info in infos], bool)
        self.insert(obs, action, reward, next_obs, done.astype(bool) & ~timeouts)

    def sample_rows(self, batch_size: int) -> torch.Tensor:
        """(batch_size, columns) packed rows, drawn uniformly with replacement by torch's generator."""
        if self.mixes:
            assert self.beside is not None
            count = round(self.share_beside * batch_size)
            return torch.cat([self._drawn(batch_size - count), self.beside.sample_rows(count)])
        return self._drawn(batch_size)

    @property
    def mixes(self) -> bool:
        """Whether samples hold rows from beside; an update recorded before the first of them would go on without."""
        return self.beside is not None and self.beside.size() > 0

    def _drawn(self, count: int) -> torch.Tensor:
        # Below the number of rows, as float64 has finer steps than any buffer has rows.
        index = (torch.rand(count, dtype=torch.float64, device=self.device) * self._held).long()
        rows = self.rows.index_select(0, index)
        if self._mirror is not None:
            places, signs, share = self._mirror
            seen = slice(round(share * count))
            rows[seen] = rows[seen, places] * signs
        return rows

    def mirror(self, places: IntArray, signs: Float32Array, share: float) -> None:
        """From now on this share of each sample is as a mirror shows it, and of what is beside.

        For each column of observation and action (D + A): which one the mirror shows in its place, with which sign.
        """
        size = self._action.start
        place, sign = (np.zeros(self._done + 1, kind) for kind in (np.int64, np.float32))
        place[: self._reward], sign[: self._reward] = places, signs
        place[self._reward], sign[self._reward] = self._reward, 1.0
        place[self._next], sign[self._next] = places[:size] + self._next.start, signs[:size]
        place[self._done], sign[self._done] = self._done, 1.0
        self._mirror = torch.from_numpy(place).to(self.device), torch.from_numpy(sign).to(self.device), share
        if self.beside is not None:
            self.beside.mirror(places, signs, share)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """A sample in stable-baselines3's form; views of one packed tensor. `env` must be None: nothing normalises."""
        if env is not None:
            raise ValueError("observations are normalised at their source: VecNormalize has no place here")
        return self.unpack(self.sample_rows(batch_size))

    def unpack(self, rows: torch.Tensor) -> ReplayBufferSamples:
        """Views of packed `rows`."""
        return ReplayBufferSamples(
            observations=rows[:, : self._action.start],
            actions=rows[:, self._action],
            next_observations=rows[:, self._next],
            dones=rows[:, self._done :],
            rewards=rows[:, self._reward : self._reward + 1],
        )

    def newest(self, count: int) -> Float32Array:
        """A copy of the newest `count` rows, or of all where there are fewer, oldest first."""
        places = torch.arange(self.pos - min(self.size(), count), self.pos, device=self.device)
        rows: Float32Array = self.rows.index_select(0, places % self.buffer_size).cpu().numpy()
        return rows

    def digest(self) -> str:
        """SHA-256 (hex) of how many rows there are and of the newest DIGEST_ROWS of them, in order, here and beside."""
        told = self.size().to_bytes(8, "little") + self.newest(DIGEST_ROWS).tobytes()
        if self.beside is not None and self.beside.size():
            told += self.beside.digest().encode()
        return hashlib.sha256(told).hexdigest()


def insert_batch(
    buffer: ReplayBuffer,
    batch: Batch,
    view: View,
    scaled: Callable[[AnyArray], AnyArray],
    n_step: int,
    gamma: float,
    new: bool = True,
) -> int:
    """Append the steps of `batch`, except those off the control period, each with what `n_step` of them brought.

    `scaled` gives actions (N, A) as networks learn from them. Demonstrations go beside, if there is such a buffer, and
    only `new` ones. Returns how many went into `buffer` itself.
    """
    own = usable = ~batch.off_period
    found = returns_of(batch, usable, n_step, gamma)
    places: list[tuple[ReplayBuffer, BoolArray]] = []
    if isinstance(buffer, PackedReplayBuffer) and buffer.beside is not None:
        shown = demonstrated(batch)
        own = usable & ~shown
        places = [(buffer.beside, usable & shown)] if new else []
    for place, chosen in [(buffer, own), *places]:
        wanted = slice(None) if chosen.all() else np.flatnonzero(chosen)
        insert(
            place,
            view.observed_rows(batch.current_observations()[wanted]),
            scaled(view.chosen(batch.actions[wanted])),
            found.rewards[wanted],
            view.observed_rows(batch.next_observations()[found.last[wanted]]),
            found.done[wanted],
        )
    return int(own.sum())


def insert(
    buffer: ReplayBuffer,
    observations: Any,
    actions: npt.NDArray[Any],
    rewards: Float32Array,
    next_observations: Any,
    done: Float32Array,
) -> None:
    """Append T transitions to either kind of buffer: values as stable-baselines3 takes them, actions (T, A)."""
    if isinstance(buffer, PackedReplayBuffer):
        size = math.prod(observations.shape[1:])
        before, after = (values.reshape(len(rewards), size) for values in (observations, next_observations))
        buffer.insert(before, actions, rewards, after, done)
        return
    for row in range(len(rewards)):
        one = slice(row, row + 1)
        buffer.add(_part(observations, one), _part(next_observations, one), actions[one], rewards[one], done[one], [{}])


def _part(values: Any, rows: slice) -> Any:
    return {key: part[rows] for key, part in values.items()} if isinstance(values, dict) else values[rows]


def digest_of(buffer: ReplayBuffer) -> str:
    """SHA-256 (hex) of how many transitions one of stable-baselines3's own buffers holds, and of the newest of them."""
    newest = np.arange(buffer.pos - min(buffer.size(), DIGEST_IMAGES), buffer.pos) % buffer.buffer_size
    told = hashlib.sha256(buffer.size().to_bytes(8, "little"))
    for held in (buffer.observations, buffer.next_observations):
        for _, part in sorted(held.items()) if isinstance(held, dict) else [("", held)]:
            told.update(part[newest].tobytes())
    for column in (buffer.actions, buffer.rewards, buffer.dones):
        told.update(column[newest].tobytes())
    return told.hexdigest()
