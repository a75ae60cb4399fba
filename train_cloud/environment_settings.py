"""The `environment` of a run.json: what the run is trained in, and who acts there."""

import json
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86_400, extra_json_schema={"unit": "s"})]


class EnvironmentSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What the run is trained in."""

    kind: Literal["racing", "gymnasium"] = "racing"
    """racing, whose settings are `task`; or any Gymnasium environment, which only the bridge makes."""
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")] | None = None
    """Name of a Gymnasium environment, as the PC's `--env` names it; racing has none."""
    source: Literal["bridge", "remote", "driver"] = "bridge"
    """Who acts: a bridge by weights; the trainer on a served environment; a driver here for PCs that `cloud-drive`."""
    kwargs: dict[str, Any] = {}
    """Arguments with which the PC makes a remote environment, by name."""
    num_envs: Annotated[int, Meta(ge=1, le=1024, extra_json_schema={"unit": "environments"})] = 1
    """Remote environments that are stepped at once, on one PC."""
    step_seconds: Seconds = 30.0
    """Seconds in which a remote environment steps; one that takes longer hangs, and is made anew."""
    make_seconds: Seconds = 300.0
    """Seconds in which a remote environment is made, and in which it is reset."""
    track: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of racing's track as bridges announce it; left out, whichever they drive."""


_OF_REMOTE: Final = attrgetter("kwargs", "num_envs", "step_seconds", "make_seconds")


def problem_of_environment(chosen: EnvironmentSettings) -> str:
    """What of it contradicts itself, in a sentence; empty for nothing."""
    if (chosen.kind == "gymnasium") != (chosen.id is not None):
        return (
            f"the field `environment.id` has the value {json.dumps(chosen.id)}, but `environment.kind` is "
            f"{json.dumps(chosen.kind)}: expected an id for a Gymnasium environment, and none for racing."
        )
    if chosen.kind == "gymnasium" and chosen.track is not None:
        return (
            f"the field `environment.track` has the value {json.dumps(chosen.track)}, but `environment.kind` is "
            '"gymnasium": expected no track, which only racing has.'
        )
    if chosen.source == "remote" and chosen.kind == "racing":
        return (
            'the field `environment.source` has the value "remote": expected "bridge", because a car drives on its own '
            "PC by weights that it is sent. Only a Gymnasium environment is stepped from here."
        )
    if chosen.source == "driver" and chosen.kind == "gymnasium":
        return (
            'the field `environment.source` has the value "driver": expected "bridge" or "remote", because only racing '
            "tells of its car by telemetry, which a driver in the cloud needs."
        )
    if chosen.source != "remote" and _OF_REMOTE(chosen) != _OF_REMOTE(EnvironmentSettings()):
        return (
            "the fields `environment.kwargs`, `num_envs`, `step_seconds` and `make_seconds` are of an environment that "
            f'is stepped from here, but `environment.source` is "{chosen.source}": expected "remote", or none of them, '
            "because a bridge makes its environment by itself."
        )
    return ""
