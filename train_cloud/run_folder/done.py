"""Whether DONE, in a run's folder, speaks of all the steps that are asked for today."""

import json


def is_done(content: bytes | None, total_timesteps: int) -> bool:
    """Whether a run of `total_timesteps` steps is finished, whose DONE holds `content`; None when there is no DONE.

    A run that has finished goes on when it is asked for more steps. A DONE that names none counts for all.
    """
    if content is None:
        return False
    try:
        trained = json.loads(content)["total_timesteps"]
        return not isinstance(trained, int) or trained >= total_timesteps
    except (ValueError, TypeError, KeyError):
        return True
