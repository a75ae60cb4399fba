"""Where an export goes: into a draft beside its place, which takes that place when it is whole; and its words."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train_cloud.export.errors import ExportError


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A path that does not exist, for a file or a folder that becomes `path` when the block ends without an error.

    Raises ExportError where something is at `path` already, or the file system refuses.
    """
    if path.exists():
        raise ExportError(f"{path} exists already. Remove it, or name another place with --output.")
    draft = path.with_name(f"{path.name}.part")
    try:
        _remove(draft)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise ExportError(
            f"The export cannot be written to {path} ({error.strerror or error}). Name another place with --output."
        ) from error
    finally:
        _remove(draft)


def counted(count: int, what: str) -> str:
    """So many of them, in words: 1 step, 2,000 steps, 2 damaged batches."""
    more = "es" if what.endswith("ch") else "s"
    return f"{count:,} {what}{'' if count == 1 else more}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
