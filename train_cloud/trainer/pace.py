"""How many updates the steps of a run ask for, over lives with different settings, and how many may be owed.

What was asked for under earlier settings is settled when they change: new ones count from where the run stands then,
so that no burst of updates on old experience is owed, and no long time without any.
"""

import math

import msgspec

from train_cloud.run_config import RunConfig


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Updates asked for by the steps beyond `from_steps`, where `from_updates` were made.

    `updates_per_step` and `learning_starts` are the settings of the run that it was made from. Steps are those that
    policies drove. Demonstrations ask for no updates; they stand in for as many of the steps that are collected before
    the first update, so that with enough of them learning begins at once.
    """

    updates_per_step: float
    learning_starts: int
    from_steps: int
    from_updates: int = 0

    def asked(self, steps: int, demonstrations: int = 0) -> int:
        """Updates that a run of so many steps should have made."""
        beyond = steps + min(demonstrations, self.learning_starts) - self.from_steps
        return self.from_updates + int(self.updates_per_step * max(0, beyond))

    def trained(self, updates: int, demonstrations: int = 0) -> int:
        """Steps that so many updates have kept up with."""
        begun = self.from_steps - min(demonstrations, self.learning_starts)
        return int(begun + (updates - self.from_updates) / self.updates_per_step)

    def forgiving(self, updates: int) -> "Pace":
        """The same pace, which asks for so many updates less from now on; their steps count as kept up with."""
        return msgspec.structs.replace(self, from_updates=self.from_updates - updates)


def most_owed(config: RunConfig, pace: Pace) -> int:
    """Updates that may be owed at this pace before more are forgiven.

    Never so few that a simulated car, which waits for the trainer, would lead by what is forgiven.
    """
    return max(config.max_updates_owed, math.ceil(2 * pace.updates_per_step * config.max_lead_steps))


def asked_by(config: RunConfig, demonstrations: int = 0) -> tuple[float, int]:
    """Updates for each step beyond the first so many; PPO's follow from its passes over each rollout."""
    if config.method == "ppo":
        return config.ppo.epochs / config.batch_size, 0
    times = config.updates_with_demonstrations if demonstrations else 1.0
    return config.updates_per_step * times, config.learning_starts


def pace_of(config: RunConfig, known: Pace | None, steps: int, updates: int, demonstrations: int = 0) -> Pace:
    """The pace at which a run goes on by `config` that has `steps` and `updates`, until now at `known`.

    None: a new run, or a checkpoint of an earlier version, whose settings are taken for today's if they can be.
    """
    ratio, begin = asked_by(config, demonstrations)
    if known is not None and (known.updates_per_step, known.learning_starts) == (ratio, begin):
        return known
    whole = Pace(updates_per_step=ratio, learning_starts=begin, from_steps=begin)
    owed = whole.asked(min(steps, config.total_timesteps), demonstrations) - updates
    if known is None and 0 <= owed <= ratio * config.max_lead_steps:
        return whole
    # Before its first update a run still collects as much as it is told to.
    return Pace(
        updates_per_step=ratio,
        learning_starts=begin,
        from_steps=steps + min(demonstrations, begin) if updates else max(steps, begin),
        from_updates=updates,
    )
