"""What a run has left in its folder of the bucket, typed: endings, the ledger's totals, metrics.

Promises to read what instances of this version write, to pass over a record that cannot be read (a table with a gap is
better than none), and to write only what `make start` and `make stop` are for.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from train_cloud.instance.ledger import Life, Totals, add_up, read_lives, read_started
from train_cloud.object_store import ObjectStore
from train_cloud.run_folder.done import is_done
from train_cloud.run_folder.keys import DONE, ENDINGS, LATEST, LAUNCHES, METRICS, STARTED
from train_cloud.trainer.saving.manifest import Manifest

Moment = Annotated[datetime, Meta(tz=True)]
_T = TypeVar("_T")


class Ending(msgspec.Struct, kw_only=True, frozen=True):
    """Why an instance, or the run, ended. `seconds`: from a spot notice until everything was saved."""

    reason: str
    text: str
    at: Moment
    instance_id: str
    run_id: str
    desired_capacity: int | None = None
    seconds: float | None = None


class RunRecord:
    """The run's folder."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def is_done(self, total_timesteps: int) -> bool:
        """Whether the run has finished, when so many steps are asked for."""
        return is_done(self.objects.find(DONE), total_timesteps)

    def last_ending(self) -> Ending | None:
        """The newest ending; None when nothing has ended yet."""
        keys = self.objects.list(ENDINGS)
        return self._decoded(keys[-1], Ending) if keys else None

    def totals(self, running: str | None) -> Totals:
        """What all lives cost, and the hours since the last start; those of the instance `running` always count."""
        lives = read_lives(self.objects)
        nobody = Life(instance_id="", hours=0.0, spend_usd=0.0)
        return add_up(lives.get(running or "", nobody), lives, read_started(self.objects))

    def started(self) -> datetime | None:
        """When `make start` was last called; None when it never was."""
        try:
            moment = datetime.fromisoformat(read_started(self.objects) or "")
        except ValueError:
            return None
        return moment if moment.tzinfo else None

    def launches(self) -> int:
        """Launches since the last `make start`."""
        text = (self.objects.find(LAUNCHES) or b"0").strip()
        return int(text) if text.isdigit() else 0

    def metrics(self) -> dict[str, Any]:
        """The trainer's metrics.json; empty before the first."""
        return self._decoded(METRICS, dict[str, Any]) or {}

    def newest_checkpoint(self) -> Manifest | None:
        """The manifest that LATEST holds; None before the first checkpoint. The files are not looked at."""
        return self._decoded(LATEST, Manifest)

    def begin_anew(self, moment: datetime) -> None:
        """Let hours and launches count from `moment` on."""
        self.objects.put(LAUNCHES, b"0")
        self.objects.put(STARTED, moment.isoformat(timespec="seconds").encode())

    def put_ending(self, ending: Ending) -> None:
        """Add it to the record."""
        name = f"{ending.at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{ending.instance_id}.json"
        self.objects.put(ENDINGS + name, msgspec.json.format(msgspec.json.encode(ending), indent=2))

    def _decoded(self, key: str, kind: type[_T]) -> _T | None:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(self.objects.find(key) or b"", type=kind)
        return None
