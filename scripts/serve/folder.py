"""The folder of a served run: its settings, its token, its data and what its processes keep, all in one place.

It is laid out as an instance's folder (train_cloud/run_folder/files.py), with the bucket, the logs and the token beside
it. Promises that it belongs to one run, that one process at a time serves it, and that a secret in it is its owner's
alone. The settings in it are those that count: what a run.json of one's own says, and by which address it is reached.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.files import create_private, locked, write_private
from scripts.processes.folder import UnusableFolder, refuse_full_disk, unusable_in_words
from scripts.serve.address import check_host, lan_address
from train_cloud.run_config import RunConfig, load_run_config, parse_run_config
from train_cloud.run_folder import files
from wire.pairing import is_loopback, new_token

FOLDER: Final = Path("served")
"""Where a run is served unless another folder is named."""
BUCKET: Final = "bucket"
"""The run's data, where no run.json says something else."""
LOGS: Final = "logs"
LOCK: Final = "serve.lock"
"""Held by who serves the folder."""
STOP: Final = "serve.stop"
"""Whoever makes it asks who serves the folder for an orderly end."""
RUN_ID: Final = "served"
ENDED: Final = "serve.ended"
"""The exit code with which the run was last served to its end; whoever was killed leaves none."""
LEAST_FREE_MIB: Final = 1_000
"""Some hours of one car and their checkpoints; `max_store_bytes` is what they may become."""
NAME_ANOTHER: Final = "Name another folder with FOLDER= (--folder)"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, and keep others from serving it while the context is open. Raises UnusableFolder."""
    with unusable_in_words(f"The run cannot be kept in {folder}", NAME_ANOTHER):
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(LOCK)}
        if names and not names & {files.RUN_CONFIG, files.STORE}:
            raise UnusableFolder(
                f"The folder {folder} holds something, and no run. {NAME_ANOTHER}: an empty one, or one that is not "
                "there."
            )
        lock = locked(folder / LOCK)
    if lock is None:
        raise UnusableFolder(
            f"The run in {folder} is served already. `make stop FOLDER={folder}` ends that. {NAME_ANOTHER} for another "
            "run."
        )
    with closing(lock):
        for name in (STOP, ENDED):
            (folder / name).unlink(missing_ok=True)
        try:
            yield
        finally:
            # What was true while it was served.
            for name in (STOP, files.PAIRING, files.DASHBOARD_URL):
                (folder / name).unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether somebody serves the folder now. Raises sqlite3.OperationalError."""
    if not (folder / LOCK).exists():
        return False
    if (lock := locked(folder / LOCK)) is None:
        return True
    lock.close()
    return False


def moved(folder: Path, config: RunConfig) -> str | None:
    """That the run's data lie in the folder, but its settings name another place, as a sentence; None where not."""
    here, named = folder / BUCKET, config.bucket.folder
    if named is None or not here.is_dir() or here.resolve() == Path(named).resolve():
        return None
    return (
        f"The folder {folder} was moved or copied: data of a run are in {here}, but bucket.folder in "
        f"{folder / files.RUN_CONFIG} is {named}, which may be another run's. If those in {here} are meant, write "
        f"{json.dumps(str(here.resolve()))} there; if the others are, give {here} another name."
    )


def prepare(
    folder: Path,
    run: Path | None,
    host: str | None,
    port: int | None,
    check: Callable[[RunConfig], None] = lambda _config: None,
) -> RunConfig:
    """The settings of the run in `folder`, which are written there, with tokens and room beside them.

    They are those of the file `run`, else those of the last time, else a run of racing with every default; `host` and
    `port` go before what they say of `public_host` and `listen_port`. Nothing is written before `check` has returned.
    Raises UnusableFolder, ConfigError, and what `check` raises.
    """
    last = folder / files.RUN_CONFIG
    source = run or (last if last.exists() else None)
    said: dict[str, Any] = {"run_id": RUN_ID, "bucket": {"folder": str((folder / BUCKET).resolve())}}
    if source is not None:
        load_run_config(source)
        said = json.loads(source.read_bytes())
    if last.exists() and (known := load_run_config(last).run_id) != said["run_id"]:
        raise UnusableFolder(
            f"The folder {folder} belongs to the run {known!r}, not to {said['run_id']!r}. {NAME_ANOTHER}."
        )
    if host is not None:
        check_host(host)
        said["public_host"] = host
    elif "public_host" not in said:
        alone = is_loopback(said.get("listen_host", ""))
        said["public_host"] = (None if alone else lan_address()) or "127.0.0.1"
    if ":" in said["public_host"]:
        # Of IPv6; the usual 0.0.0.0 has addresses of IPv4 alone.
        said.setdefault("listen_host", "::")
    if port is not None:
        said["listen_port"] = port
    text = msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"
    config = parse_run_config(text, str(source or last))
    if problem := moved(folder, config):
        raise UnusableFolder(problem)
    check(config)
    with unusable_in_words(f"The run cannot be kept in {folder}", NAME_ANOTHER):
        refuse_full_disk(folder, LEAST_FREE_MIB, "a run", NAME_ANOTHER)
        write_private(last, text, mode=0o640)
        for token in (files.TOKEN, files.DASHBOARD_TOKEN):
            create_private(folder / token, f"{new_token()}\n".encode())
    return config


def fresh_logs(folder: Path) -> Path:
    """The folder of the processes' logs; those of the last time are kept under another name, older ones are not."""
    logs = folder / LOGS
    for log in logs.glob("*.log"):
        log.replace(log.with_name(f"{log.name}.1"))
    return logs
