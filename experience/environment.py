"""What a run is trained in: an environment's name, its spaces, and what else must match before anything is mixed.

Racing is one environment; any of Gymnasium's is another. A signature names one: a policy, a spool and a bridge that
carry the same belong together.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from experience.spaces import Channel, Spaces, SpaceSpec, canonical
from racing.link_model import LinkModel, link_text
from racing.policy import Policy
from racing.task import ACTION_SPACE, ACTION_STEP, CHANNELS, OBSERVATION_SPACE, OBSERVATION_STEP, TaskConfig

RACING = "racing"


@dataclass(frozen=True, eq=False)
class Environment:
    """An environment as far as both sides must agree on it.

    Attributes:
        name: "racing", or a Gymnasium id.
        spaces: what an observation and an action hold.
        settings: whatever else changes what a policy or experience means, as JSON values.
    """

    name: str
    spaces: Spaces
    settings: Mapping[str, float | str] = field(default_factory=dict)

    @cached_property
    def signature(self) -> str:
        """The name, and a hash of everything; equal signatures may be mixed."""
        content = canonical({"name": self.name, "settings": dict(self.settings), "spaces": self.spaces.text})
        return f"{self.name} {hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def policy(self, data: bytes) -> Policy:
        """The policy in a file, which can drive here. Raises PolicyError for any other."""
        return Policy.from_bytes(data, self.signature, (self.spaces.observation.space, self.spaces.action.space))


_RACING_SPACES = Spaces(
    SpaceSpec(OBSERVATION_SPACE, OBSERVATION_STEP, CHANNELS),
    SpaceSpec(ACTION_SPACE, ACTION_STEP, (Channel("steer", "of full lock"), Channel("pedals", "throttle less brake"))),
)


def racing(config: TaskConfig | None = None, link: LinkModel | None = None) -> Environment:
    """Racing with these settings of its task; where an episode is cut off by time may differ.

    With cars that obey as late as over `link`: what was learned with one is good over one like it, and nowhere else.
    """
    settings: dict[str, float | str] = {name: float(value) for name, value in asdict(config or TaskConfig()).items()}
    if link is not None:
        settings["link"] = link_text(link)
    del settings["max_episode_seconds"]
    return Environment(RACING, _RACING_SPACES, settings)
