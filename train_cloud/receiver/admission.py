"""Whether a bridge that has said its Hello is for this run; says what is wrong where it is not."""

from collections.abc import Iterable

from experience.environment import Environment, racing
from experience.spaces import Spaces, SpacesError
from train_cloud.environment import bridge_options, task_config
from train_cloud.receiver.connection import PeerError, decode_message
from train_cloud.run_config import RunConfig
from wire.messages import CloseCode, ErrorCode, Hello, Role


def hello_in(frame: bytes | str, roles: Iterable[str]) -> Hello:
    """The Hello in a connection's first frame; PeerError when it is none, or of a role that is not among `roles`."""
    hello = decode_message(frame)
    if not isinstance(hello, Hello):
        raise PeerError(ErrorCode.BAD_MESSAGE, "The first message must be a Hello.", CloseCode.POLICY_VIOLATION)
    if hello.role not in roles:
        raise PeerError(
            ErrorCode.UNKNOWN_ROLE,
            f"This receiver serves the roles {', '.join(roles)}, not {hello.role!r}; bring both sides to the same "
            "version of the software.",
            CloseCode.REFUSED,
        )
    return hello


def check_source(config: RunConfig, hello: Hello) -> None:
    """PeerError when it is not by this bridge's role that the run gets its experience.

    A run that a driver in the cloud drives for takes what other bridges collect, too, above all what they demonstrate.
    """
    chosen, text = config.environment, ""
    if chosen.source == "remote" and hello.role == Role.COLLECT:
        text = (
            f"This run steps {chosen.id} by itself, on a PC that serves it: start `ac-bridge serve-env --env "
            f'{chosen.id}` there, or give the run the `environment.source` "bridge" for bridges that drive.'
        )
    elif chosen.source != "remote" and hello.role == Role.SERVE_ENV:
        command = "cloud-drive" if chosen.source == "driver" else "drive"
        text = (
            "This run steps no environment of a PC: bridges that drive send it experience. Start `ac-bridge "
            f'{command}`, or give the run an `environment` with the id of yours and the `source` "remote".'
        )
    if text:
        raise PeerError(ErrorCode.UNKNOWN_ROLE, text, CloseCode.REFUSED)


def check_driven(config: RunConfig, hello: Hello) -> None:
    """PeerError when a bridge that streams is to be driven from here, and cannot be."""
    if not hello.signature:
        return
    if config.environment.source != "driver":
        raise PeerError(
            ErrorCode.UNKNOWN_ROLE,
            "This run has no driver in the cloud: start `ac-bridge drive`, which drives by weights that it is sent, or "
            'give the run the `environment.source` "driver".',
            CloseCode.REFUSED,
        )
    task = racing(task_config(config))
    if hello.signature != task.signature:
        raise PeerError(
            ErrorCode.WRONG_SIGNATURE,
            f"This run's task is another one than the bridge's. Start the bridge with `{bridge_options(config)}` "
            f"(without --link) and the same version of the software. The run's task is {task.signature!r}; the bridge "
            f"drives {hello.signature[:800]!r}.",
            CloseCode.REFUSED,
        )
    _check_track(config, hello)


def agreed(config: RunConfig, known: Environment | None, hello: Hello) -> Environment:
    """The environment that the bridge and the run share; PeerError when they do not.

    `known` is the run's; None while a bridge may still say what its spaces are.
    """
    try:
        run = known or Environment(config.environment.id or "", Spaces.parse(hello.spaces))
        same_spaces = hello.spaces == run.spaces.text and bool(run.spaces.layout)
        if not same_spaces:
            # Only to say what is wrong with them: a short text can make it long work.
            Spaces.parse(hello.spaces)
    except SpacesError as error:
        raise PeerError(ErrorCode.BAD_MESSAGE, str(error), CloseCode.REFUSED) from None
    if hello.signature != run.signature or not same_spaces:
        raise PeerError(
            ErrorCode.WRONG_SIGNATURE,
            f"This run's task is another one than the bridge's. {_mend(config)} and the same version of the software. "
            f"The run's task is {run.signature!r}; the bridge drives {hello.signature[:800]!r}"
            f"{'' if same_spaces else ' with other observations or actions'}.",
            CloseCode.REFUSED,
        )
    _check_track(config, hello)
    return run


def _check_track(config: RunConfig, hello: Hello) -> None:
    if config.environment.track not in (None, hello.track):
        raise PeerError(
            ErrorCode.WRONG_SIGNATURE,
            f"This run is for the track with the hash {config.environment.track}, but the bridge drives on "
            f"{hello.track or 'one that it does not name'}. Drive on that track, or take `environment.track` out of "
            "the run's configuration.",
            CloseCode.REFUSED,
        )


def _mend(config: RunConfig) -> str:
    if config.environment.id is None:
        return f"Start the bridge with `{bridge_options(config)}`"
    name = config.environment.id
    return f"Start the bridge with `--env {name}`, on {name} with the spaces of the run's first bridge"


def check_alone(hello: Hello, others: Iterable[Hello]) -> None:
    """PeerError when the same bridge is connected already with another spool."""
    if any(other.bridge == hello.bridge and other.stream != hello.stream for other in others):
        raise PeerError(
            ErrorCode.DUPLICATE_BRIDGE,
            f"The bridge {hello.bridge!r} is connected already with another spool. End that one, or give this one a "
            "name of its own.",
            CloseCode.TRY_AGAIN_LATER,
        )
