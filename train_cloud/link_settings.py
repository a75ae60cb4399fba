"""The `link` of a run: how late its simulated cars obey, from what `ac-bridge doctor --record-link` recorded."""

from typing import Annotated

import msgspec
from msgspec import Meta

from racing.link_model import MOST_DELAY, MOST_STALL, MOST_STALLS, LinkError, LinkModel


class LinkSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The link that a policy is to drive over: the content of what `ac-bridge doctor --record-link` wrote."""

    version: Annotated[int, Meta(ge=1, le=1)] = 1
    """Of the recording's form."""
    delays: list[Annotated[float, Meta(extra_json_schema={"unit": "s"}, ge=0, le=MOST_DELAY)]]
    """Quantiles of the round trips without stalls, in even steps from the least to the greatest."""
    stalls_per_second: Annotated[float, Meta(extra_json_schema={"unit": "1/s"}, ge=0, le=MOST_STALLS)] = 0.0
    """How often everything on the link stops."""
    stall_seconds: Annotated[float, Meta(extra_json_schema={"unit": "s"}, ge=0, le=MOST_STALL)] = 0.0
    """How long it does, in the mean."""

    @property
    def problem(self) -> str:
        """Why these figures are of no link, in a sentence; empty where they are."""
        try:
            self.model()
        except LinkError as error:
            return f"the field `link` holds no link. {error}"
        return ""

    def model(self) -> LinkModel:
        """The link that simulated cars are driven over. Raises LinkError."""
        return LinkModel(tuple(self.delays), self.stalls_per_second, self.stall_seconds)
