"""Builds a drive of environments of one's own from its settings, as garage.py does one of cars.

Whatever does not fit, and an environment that no policy here can act in, is told in a sentence before anything is
dialled.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium

from bridge.driving.drive import Drive
from bridge.driving.environment_driver import EnvironmentDriver, close_environments
from bridge.driving.environments import NotDrivable, declared, driven_environment
from bridge.driving.garage import SettingsError, exit_code_of, software
from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.serve_env.checked import Checked
from bridge.serve_env.offers import OfferError, offers_of
from bridge.spool import Spool, SpoolError
from experience.batches import MAX_NUMBERS
from experience.recorder import Recorder
from racing.clock import Clock, RealTimeClock
from runtime.exit_codes import ExitCode
from wire.pairing import Pairing

_FLUSH_STEPS = 1024


@dataclass(frozen=True, slots=True)
class EnvironmentSettings:
    """What the user chose.

    Attributes:
        name: an id that Gymnasium knows, or module:attribute.
        count: environments at once.
        rate: steps a second by our clock, Hz; None where time is simulated or the environment paces itself.
        outside: what becomes of values outside their space, as `bridge.serve_env.checked` says.
        spool, spool_limit_bytes, steps, seed: as in `bridge.driving.garage.Settings`.
    """

    name: str
    count: int
    rate: float | None
    outside: str
    spool: Path
    spool_limit_bytes: int
    steps: int | None
    seed: int | None


@contextmanager
def assembled_environment_drive(
    pairing: Pairing,
    settings: EnvironmentSettings,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None = None,
) -> Iterator[Drive]:
    """A drive that is ready to run; its spool is closed at the end. Raises SettingsError; `look_up` is the Link's."""
    with ExitStack() as closing:
        envs: list[gymnasium.Env[Any, Any]] = []
        let_go = partial(close_environments, envs)
        closing.callback(let_go)
        try:
            envs += (_made(settings) for _ in range(settings.count))
            environment, self_paced = driven_environment(settings.name, envs[0]), declared(envs[0]).self_paced
            spool = closing.enter_context(Spool(settings.spool, settings.spool_limit_bytes))
            spool.bind_signature(environment.signature)
        except NotDrivable as error:
            raise SettingsError(f"{settings.name} cannot be driven from this PC. {error}") from error
        except SpoolError as error:
            raise SettingsError(str(error), exit_code_of(error)) from error
        if self_paced and settings.rate is not None:
            raise SettingsError(f"{settings.name} paces itself, as its metadata say; leave --real-time and --rate out.")
        layout, real_time = environment.spaces.layout, self_paced or settings.rate is not None
        most = MAX_NUMBERS // (2 * (layout.observation.words + layout.action.words))
        if settings.count > most:
            raise SettingsError(f"At most {most} environments of so large observations fit a batch; lower --num-envs.")
        link = Link(pairing, spool, Introduction(environment, real_time, settings.count, software()), look_up=look_up)
        flush = min(_FLUSH_STEPS, most)
        recorder = Recorder(spool, layout, settings.count, on_commit=link.notify, flush_steps=flush)
        clock = Clock() if settings.rate is None else RealTimeClock(1.0 / settings.rate)
        driver = EnvironmentDriver(envs, environment, clock, link, recorder, real_time, settings.seed)
        link.start()
        closing.enter_context(driver.watch.watching(stop))
        yield Drive(driver, let_go, link, recorder, stop, settings.steps, real_time=real_time, laps=False)


def _made(settings: EnvironmentSettings) -> gymnasium.Env[Any, Any]:
    try:
        env = offers_of([settings.name], Path.cwd())[settings.name]()
        if not isinstance(env, gymnasium.Env):
            raise TypeError(f"it made a {type(env).__name__}, which is no gymnasium.Env")
    except OfferError as error:
        raise SettingsError(str(error)) from error
    except Exception as error:
        raise SettingsError(f"{settings.name} could not be made: {error!r}.", ExitCode.FAILED) from error
    return Checked(env, settings.name, settings.outside)
