"""Takes out of a text what a bug report must not show: the pairing, addresses, the user, and where their files lie.

Promises that to err is to take out too much: what only looks like an address, or like a name with a password, goes too.
"""

import getpass
import ipaddress
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LOGIN = re.compile(r"(\w+://)?[^\s'\"/]*:[^\s'\"]*@")
_FINGERPRINT = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{16,}(?![0-9A-Za-z])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)")
_IPV6 = re.compile(r"(?<![\w:])[0-9a-fA-F:]*:[0-9a-fA-F:.]*[0-9a-fA-F:](?:%\w+)?(?!\w)")
_SOMEBODYS_HOME = re.compile(r"(?:[a-z]:)?[\\/]+(?:users|home)[\\/]+[^\\/\s'\":,;]+", re.IGNORECASE)
_SHORTEST_NAME = 2
_NOBODYS_NAMES = {"root", "user", "admin", "administrator", "localhost"}
"""Accounts that say nothing of who it is, and words of what the doctor says."""


def redacted(text: str, pairing_text: str) -> str:
    """The text without secrets; `pairing_text` is the pairing string that was used, readable or not, or empty."""
    # First, since the user's name is a part of it.
    for home in _homes():
        if parts := [re.escape(part) for part in re.split(r"[\\/]+", home) if part]:
            text = re.sub(r"[\\/]*" + r"[\\/]+".join(parts) + r"(?!\w)", "~", text, flags=re.IGNORECASE)
    for secret, name in _secrets(pairing_text):
        # Not within a word: a host called `a` is no reason to lose each a.
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", name, text, flags=re.IGNORECASE)
    text = _SOMEBODYS_HOME.sub("~", text)
    text = _LOGIN.sub(r"\1USER:PASSWORD@", text)
    text = _IPV6.sub(lambda match: _without_address(match[0]), text)
    text = _IPV4.sub("ADDRESS", text)
    return _FINGERPRINT.sub("HEX", text)


def _secrets(pairing_text: str) -> Iterator[tuple[str, str]]:
    """What the pairing string holds, read leniently: the doctor is also for one that cannot be used."""
    login, _, address = pairing_text.strip().split("://", 1)[-1].rpartition("@")
    host, *path = re.split(r"[/?#]", address)
    bare = host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]
    found = [(part, "TOKEN") for part in login.split(":")[1:]]
    found += [(part.removeprefix("pin-"), "PIN") for part in path]
    yield from ((secret, name) for secret, name in [*found, (bare, "HOST")] if secret)
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = ""
    for name in (user, platform.node()):
        if len(name) >= _SHORTEST_NAME and name.casefold() not in _NOBODYS_NAMES:
            yield name, "NAME"


def _homes() -> Iterator[str]:
    """The home folder under each of its names, the longest path first."""
    names = {os.environ.get(variable, "") for variable in ("USERPROFILE", "HOME")}
    # A user without a home has none to be taken out.
    with suppress(OSError, RuntimeError):
        names |= {str(Path.home()), str(Path.home().resolve())}
    yield from sorted(names - {""}, key=len, reverse=True)


def _without_address(text: str) -> str:
    # A sentence's own colon or full stop may stand at its end.
    bare = text.rstrip(".:") if not text.endswith("::") else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return text
    return "ADDRESS" + text[len(bare) :]
