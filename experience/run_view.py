"""What whoever makes experience knows of the run that learns from it: by a link, a store or a test."""

from typing import Protocol

from racing.policy import Policy


class RunView(Protocol):
    """A run as it stands now. What is read here is at hand: nothing waits."""

    @property
    def policy(self) -> Policy | None:
        """The newest policy; None before the first. Take it once a step."""

    @property
    def done(self) -> bool:
        """Whether the run has all its training, so that nobody learns from further experience."""

    @property
    def lead_steps(self) -> int:
        """By how many steps the run's experience, with what is on its way to it, leads its training."""

    @property
    def max_lead_steps(self) -> int | None:
        """How far it may lead; None while that is not known."""
