"""Who may see the page: a token of its own, sessions in signed cookies, and links that let in once.

The key that signs sessions is made at each start and kept in memory alone: a restart logs everybody out, and no
session that was ended ever opens anything again. So it is with links: one that was made before this start may have
been used, and lets nobody in.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Final

from runtime.files import create_private
from train_cloud.dashboard_link import LINK_SECONDS, valid_until
from train_cloud.run_folder.files import DASHBOARD_TOKEN, DASHBOARD_TOKEN_VARIABLE
from train_cloud.settings import ConfigError
from train_cloud.throttle import Throttle
from wire.pairing import new_token, tokens_equal

SESSION_SECONDS: Final = 7 * 24 * 3600
"""Age at which a session ends."""
LEAST_TOKEN: Final = 16
_MOST_REMEMBERED: Final = 10_000


class Refused(Exception):
    """Somebody is not let in; the text is a sentence, `wait` how many seconds to wait, where that is asked for."""

    def __init__(self, text: str, wait: int = 0) -> None:
        super().__init__(text)
        self.wait = wait


def dashboard_token(folder: Path) -> str:
    """The token in the file that AC_DASHBOARD_TOKEN_FILE names, else in `folder`, where it is made if it is missing.

    Raises ConfigError, OSError.
    """
    named = os.environ.get(DASHBOARD_TOKEN_VARIABLE)
    file = Path(named) if named else folder / DASHBOARD_TOKEN
    if not named:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            create_private(file, f"{new_token()}\n".encode())
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"The dashboard's token in {file} cannot be read ({why}).") from None
    if len(token) < LEAST_TOKEN:
        raise ConfigError(
            f"The dashboard's token in {file} has fewer than {LEAST_TOKEN} characters, so that nobody would be safe "
            "from guessing. Delete the file, and the dashboard makes a new one."
        )
    return token


class Sessions:
    """Lets in who shows the token or a link's code, and knows by their cookies who was let in.

    `cookie` is the cookie's name.
    """

    def __init__(
        self,
        token: str,
        cookie: str,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cookie = cookie
        self._token, self._throttle, self._clock = token, throttle or Throttle(), clock
        self._key = secrets.token_bytes(32)
        self._started = clock()
        self._used: dict[str, float] = {}
        """Codes that have let somebody in, and until when they would."""
        self._ended: dict[str, float] = {}
        """Sessions that were ended, and until when they would have lasted."""

    def open_by_token(self, address: str, token: str) -> str:
        """The value of a new session's cookie. Raises Refused."""
        self._judge(address, tokens_equal(token, self._token), "The token is wrong")
        return self._new_session()

    def open_by_link(self, address: str, code: str) -> str:
        """The same for a link's code, which never opens anything again. Raises Refused."""
        now = self._clock()
        until = valid_until(self._token, code, now)
        early = until is not None and until + 1 - LINK_SECONDS < self._started
        if until is not None and (early or code in self._used):
            raise Refused(
                "This link has been used, or was made before the dashboard started. Make a new one: make dashboard-link"
            )
        self._judge(address, until is not None, "This link is not valid, or not any more")
        assert until is not None
        _remember(self._used, code, until, now)
        return self._new_session()

    def knows(self, value: str | None) -> bool:
        """Whether this is the value of the cookie of a session that still lasts."""
        return value is not None and self._expiry(value) is not None

    def end(self, value: str | None) -> None:
        """End the session with this cookie; nothing else happens for one that is none."""
        expiry = None if value is None else self._expiry(value)
        if value is not None and expiry is not None:
            _remember(self._ended, value, expiry, self._clock())

    def _judge(self, address: str, right: bool, what: str) -> None:
        """Raise Refused unless it is right; who keeps guessing must wait before anything else is said."""
        if right:
            return
        if closed := self._throttle.seconds_closed(address):
            wait = ceil(closed)
            raise Refused(f"{what}, and too many were wrong from this address. Try again in {wait} s.", wait)
        self._throttle.failed(address)
        raise Refused(f"{what}.")

    def _new_session(self) -> str:
        said = f"{int(self._clock()) + SESSION_SECONDS}.{secrets.token_hex(16)}"
        return f"{said}.{self._signature(said)}"

    def _expiry(self, value: str) -> float | None:
        """Until when the session lasts; None for what is none, has ended or is over."""
        said, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(said).encode()):
            return None
        until = float(said.partition(".")[0])
        return None if until < self._clock() or value in self._ended else until

    def _signature(self, said: str) -> str:
        return hmac.new(self._key, said.encode(errors="replace"), hashlib.sha256).hexdigest()


def set_cookie(name: str, value: str, secure: bool) -> str:
    """The Set-Cookie header that begins a session; an empty value ends one."""
    age = SESSION_SECONDS if value else 0
    return f"{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


def cookie_name(port: int, secure: bool) -> str:
    """A browser gives cookies of one host to all its ports: so that two dashboards do not end each other's sessions."""
    return f"{'__Host-' if secure else ''}ac_session_{port}"


def _remember(kept: dict[str, float], what: str, until: float, now: float) -> None:
    """Add to what is kept until its time is over; of too many, none is forgotten before that: then nobody gets in."""
    for old in [name for name, end in kept.items() if end < now]:
        del kept[old]
    if len(kept) >= _MOST_REMEMBERED:
        raise Refused("Too many sessions have ended lately. Start the dashboard anew.")
    kept[what] = until
