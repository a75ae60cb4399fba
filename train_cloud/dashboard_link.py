"""Links that let in once, without showing the dashboard's token: whoever has the token makes one, on any machine.

A code is `<Unix time until when>.<random>.<HMAC-SHA256 of both>` under the token. That it lets in only once is kept by
the dashboard, which remembers the codes that were used until their time is over.
"""

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Final

from train_cloud.run_folder.files import DASHBOARD_TOKEN, DASHBOARD_URL

LINK_SECONDS: Final = 900.0
LINK_PATH: Final = "/link/"
_PURPOSE: Final = b"ac-training dashboard link\n"
_LONGEST: Final = 200


def link_code(token: str, now: float | None = None) -> str:
    """A code that lets in until LINK_SECONDS after `now` (Unix time, s; None for this moment)."""
    until = int((time.time() if now is None else now) + LINK_SECONDS)
    said = f"{until}.{secrets.token_hex(16)}"
    return f"{said}.{_signature(token, said)}"


def link_of(folder: Path) -> str:
    """A link to the page about the run in `folder`, which must be served now. Raises OSError."""
    url = (folder / DASHBOARD_URL).read_text(encoding="utf-8").strip()
    return url.rstrip("/") + LINK_PATH + link_code((folder / DASHBOARD_TOKEN).read_text(encoding="utf-8").strip())


def valid_until(token: str, code: str, now: float) -> float | None:
    """Until when (Unix time, s) a code lets in; None for one that does not, or not any more, at `now`."""
    said, dot, signature = code[:_LONGEST].rpartition(".")
    # As bytes: a peer's signs need not be ASCII.
    if not dot or not hmac.compare_digest(signature.encode(), _signature(token, said).encode()):
        return None
    until = float(said.partition(".")[0])
    return until if now <= until else None


def _signature(token: str, said: str) -> str:
    return hmac.new(token.encode(), _PURPOSE + said.encode(), hashlib.sha256).hexdigest()
