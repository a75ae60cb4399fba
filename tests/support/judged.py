"""Checkpoints whose policies lap or fail, for tests of judging: of no learner, around a policy that is made by hand."""

import hashlib
from functools import cache

import msgspec
import numpy as np

from experience.environment import racing
from racing.evaluation import Judgement
from racing.track import Track
from racing.track_text import track_hash, track_text
from tests.support.policies import following_policy, policy_file
from train_cloud.bridge_table import BridgeStanding, put_standings
from train_cloud.run_folder.keys import CHECKPOINTS, COUNTERS, MODEL, POLICY
from train_cloud.store import Store
from train_cloud.track_table import put_track
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.saving.manifest import Checkpoint, FileEntry, Manifest
from train_cloud.trainer.verdict import JudgedBy, Verdict

_ANGLES = np.linspace(0.0, 2.0 * np.pi, 80, endpoint=False)
TRACK = Track(25.0 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1), np.full(80, 8.0), np.full(80, 8.0), "ring")
"""Short, so that its laps are soon judged."""
SIGNATURE = racing().signature


@cache
def checkpoint(steps: int, laps: bool, model: bytes = b"model") -> Checkpoint:
    """One whose policy laps cleanly, or stands."""
    policy = following_policy(SIGNATURE, 1, hidden=8) if laps else policy_file(SIGNATURE, 1)
    files = {MODEL: model, POLICY: policy, COUNTERS: msgspec.json.encode(Counters(steps=steps))}
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    folder = f"{CHECKPOINTS}{steps:012d}-{'1' if laps else '0'}/"
    return Checkpoint(Manifest(folder=folder, steps=steps, updates=steps, files=entries), files)


def lapped(steps: int, best: float = 30.0) -> Verdict:
    """A judgement that nobody can have collapsed after, of three clean laps from each of three starts."""
    judgement = Judgement((3, 3, 3), ("", "", ""), best, (3_600.0,) * 3)
    return Verdict(steps=steps, version=1, by=JudgedBy.SIMULATOR, judgement=judgement)


def announce(store: Store, real_time: bool = False, track: Track = TRACK) -> None:
    """A bridge is connected, and has told where it drives."""
    text = track_text(track)
    put_track(store, track_hash(text), text)
    put_standings(store, [BridgeStanding("c" * 32, "pc", "collect", "test", True, 1.0, real_time=real_time)])
