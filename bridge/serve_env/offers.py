"""Which environments this PC may make: those that its own command line names, and no others.

A name is an id that is registered with Gymnasium (`module:id` where only importing the module registers it), or
`module:attribute` of the person's own code, whose attribute is called with the keyword arguments of whoever asks.
Nothing that arrives over the network is imported.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.error import Error as GymnasiumError

Maker = Callable[..., gymnasium.Env[Any, Any]]


class OfferError(ValueError):
    """This environment cannot be offered; the text says why, and what to do."""


def offers_of(names: list[str], folder: Path) -> Mapping[str, Maker]:
    """How each of the named environments is made; own modules are looked for in `folder`, too. Raises OfferError."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return {name: _own(name) if ":" in name and not _registered(name) else _of_gymnasium(name) for name in names}


def _registered(name: str) -> bool:
    return name in gymnasium.registry


def _of_gymnasium(name: str) -> Maker:
    if not _registered(name):
        try:
            gymnasium.spec(name)
        except GymnasiumError as error:
            raise OfferError(
                f"Gymnasium knows no environment {name!r} ({error}). Install the package that registers it, or name "
                "your own as module:attribute, such as my_game:MyEnv."
            ) from None

    def make(**kwargs: Any) -> gymnasium.Env[Any, Any]:
        return gymnasium.make(name, **kwargs)

    return make


def _own(name: str) -> Maker:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        if _registered(attribute):
            return _of_gymnasium(attribute)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise OfferError(
            f"{name!r} cannot be offered: {error}. Run this in the folder that holds the module, or install it."
        ) from None
    except AttributeError:
        raise OfferError(f"{name!r} cannot be offered: the module {module} has no {attribute}.") from None
    except Exception as error:
        raise OfferError(f"{name!r} cannot be offered: importing {module} raised {error!r}.") from error
    if not callable(found):
        raise OfferError(f"{name!r} cannot be offered: it is no class and no function that makes an environment.")
    return found  # type: ignore[no-any-return]  # of the owner's own code
