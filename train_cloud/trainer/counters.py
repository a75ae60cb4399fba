"""What a run has done so far, as plain numbers that a checkpoint carries and a resumed run goes on from.

Counting is separate from learning: a step counts once in the life of a run, however often its batch is read.
"""

import msgspec

from experience.batches import DEMONSTRATION, Batch, BoolArray
from train_cloud.trainer.laps import DrivenLap, LapTimes
from train_cloud.trainer.pace import Pace
from train_cloud.trainer.verdict import Judged

RECENT_EPISODES = 100
CRASHED = "crash"
OFF_TRACK = "off_track"


def demonstrated(batch: Batch) -> BoolArray:
    """Which steps (T,) no policy drove: what a human did, or another driver."""
    shown: BoolArray = batch.policy_versions == DEMONSTRATION
    return shown


class Counters(msgspec.Struct, kw_only=True):
    """Counts since the beginning of the run.

    Attributes:
        steps: environment steps taken in, those off the period included.
        demonstrations: those of the steps that no policy drove; their laps and episodes are in none of these figures.
        off_period_steps: steps that took another time than a control period; they are not learned from.
        episodes, ends: ended episodes, in all and by reason.
        laps, clean_laps: completed laps; clean ones never had more than two wheels out.
        best_lap: shortest clean lap, s; None before the first.
        recent_rewards: summed rewards of the newest RECENT_EPISODES episodes, oldest first.
        recent_metres: metres driven in the newest RECENT_EPISODES episodes of racing, oldest first.
        lap_times: by sectors, of the human and of the policy; racing's.
        seconds: wall-clock time that trainers have spent on the run, s.
        consumed: newest batch number counted of each stream.
        weights_version, seen_version: newest version published, and newest believed one that experience came from.
        replay_digest: PackedReplayBuffer.digest() when the checkpoint was made; a resumed run rebuilds the same.
        forgiven_updates: how many the steps asked for that will never be made, because too many were owed.
        pace: how many updates the steps ask for; None in checkpoints of earlier versions.
        made_by: the method and networks, in words; empty in checkpoints of earlier versions.
        signature: of the environment; empty in checkpoints of earlier versions.
        judged: how the policies of checkpoints did without exploration.
    """

    steps: int = 0
    demonstrations: int = 0
    off_period_steps: int = 0
    updates: int = 0
    episodes: int = 0
    ends: dict[str, int] = msgspec.field(default_factory=dict)
    laps: int = 0
    clean_laps: int = 0
    best_lap: float | None = None
    recent_rewards: list[float] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    consumed: dict[str, int] = msgspec.field(default_factory=dict)
    weights_version: int = 0
    seen_version: int = 0
    resumes: int = 0
    replay_digest: str = ""
    pace: Pace | None = None
    made_by: str = ""
    signature: str = ""
    recent_metres: list[float] = msgspec.field(default_factory=list)
    forgiven_updates: int = 0
    lap_times: LapTimes = msgspec.field(default_factory=LapTimes)
    judged: Judged = msgspec.field(default_factory=Judged)

    @property
    def driven(self) -> int:
        """Steps that policies drove."""
        return self.steps - self.demonstrations

    def count(self, stream: str, number: int, batch: Batch) -> bool:
        """Count batch `number` of `stream`; False, changing nothing, when it was counted before."""
        if number <= self.consumed.get(stream, 0):
            return False
        self.consumed[stream] = number
        shown = demonstrated(batch)
        self.steps += batch.steps
        self.demonstrations += int(shown.sum())
        self.off_period_steps += int(batch.off_period.sum())
        for lap in batch.laps:
            if shown[lap.row]:
                continue
            self.laps += 1
            if lap.clean:
                self.clean_laps += 1
                self.best_lap = lap.time if self.best_lap is None else min(self.best_lap, lap.time)
        for episode in batch.episodes:
            if shown[episode.row]:
                continue
            self.episodes += 1
            self.ends[episode.reason] = self.ends.get(episode.reason, 0) + 1
            self.recent_rewards.append(episode.total_reward)
        del self.recent_rewards[:-RECENT_EPISODES]
        return True

    def share_of_episodes(self, reason: str) -> float | None:
        """Share of ended episodes that ended for `reason`; None before the first end."""
        return self.ends.get(reason, 0) / self.episodes if self.episodes else None

    def drove(self, metres: list[float], laps: list[DrivenLap]) -> None:
        """Note how far the episodes of a batch that counted got, and its laps."""
        self.recent_metres = (self.recent_metres + metres)[-RECENT_EPISODES:]
        self.lap_times.add(laps)


def mean(recent: list[float]) -> float | None:
    """Mean of what recent episodes brought; None before the first."""
    return sum(recent) / len(recent) if recent else None


def trend(recent: list[float]) -> float | None:
    """Mean of the newer half of recent episodes, less that of the older half; None before there are two."""
    half = len(recent) // 2
    return (sum(recent[-half:]) - sum(recent[:half])) / half if half else None
