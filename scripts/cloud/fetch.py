"""`make fetch`: brings the run's best checkpoint home, or its newest: model, policy, counters, every hash verified.

The best is the one whose policy lapped best without exploration; until one has lapped cleanly, it is the newest.

Beside them: the run's metrics.json, and a run.json with which the receiver and the trainer go on with the run on any
machine. Nothing half-fetched passes for a checkpoint: the folder appears when it is whole. The bucket is only read.
"""

import shutil
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from runtime.logs import configure_logging
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note, note_other_run
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import OwnRun, RunFile, ServiceFolder, run_of
from train_cloud.run_config import BucketConfig, ConfigError, RunConfig, parse_run_config
from train_cloud.run_folder.keys import MANIFEST, METRICS, POLICY, RUN_CONFIG
from train_cloud.trainer.saving.manifest import Checkpoint, CheckpointError, FoundBest, find_best, find_newest

MODELS = Path("models")


def fetch(
    to: Annotated[
        Path | None, typer.Option(envvar="AC_TO", help="Folder to make; default: models/<run_id>/<steps>.")
    ] = None,
    newest: Annotated[
        bool,
        typer.Option("--newest", envvar="AC_NEWEST", help="The newest checkpoint, also where a better one is kept."),
    ] = False,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Fetch the best checkpoint of the run, or the newest sound one where none was judged."""
    configure_logging("fetch")  # a damaged checkpoint is told in the log
    found = run_of(run, folder, deployment)
    if isinstance(found, Cloud):
        note_other_run(found)
    try:
        best = FoundBest(None, None, None) if newest else find_best(found.objects)
        checkpoint = best.checkpoint or find_newest(found.objects).checkpoint
    except CheckpointError as error:
        raise OperatorError(str(error)) from error
    if checkpoint is None:
        raise OperatorError(
            f"The run {found.run_id} has no checkpoint yet. The first comes after save_frequency steps, or "
            "when the trainer is stopped; `make status` shows how far it is."
        )
    steps = checkpoint.manifest.steps
    target = to or MODELS / found.run_id / str(steps)
    beside = {RUN_CONFIG: _run_config(found)}
    if (metrics := found.objects.find(METRICS)) is not None:
        beside[METRICS] = metrics
    try:
        _write(target, checkpoint, beside)
    except OSError as error:
        raise OperatorError(
            f"The model cannot go into {target} ({error.strerror or error}). Name another with TO=..."
        ) from error
    size = sum(entry.bytes for entry in checkpoint.manifest.files.values())
    which = "" if best.checkpoint is None else "best "
    told = f"{steps:,} steps, {len(checkpoint.files)} files, {size / 1e6:.1f} MB, verified"
    print(f"{target}: the {which}checkpoint at {told}.")
    if best.verdict is not None:
        note(f"{best.verdict.told()} NEWEST=1 (--newest) fetches the newest instead.")
    if parse_run_config(beside[RUN_CONFIG]).environment.kind == "racing":
        note(f"Let it drive a lap: python -m scripts.lap TRACK --policy {target / POLICY} --picture lap.png")
    if isinstance(found, Cloud):
        note(
            "To go on with the run by hand, `make stop` first; docs/cloud.md says how (public_host in run.json is then "
            "that machine's)."
        )


def _run_config(found: Cloud | OwnRun) -> bytes:
    """The run's configuration for a machine of one's own: of an instance's, without its address and GPU."""
    if isinstance(found, OwnRun):
        return msgspec.json.format(msgspec.json.encode(found.config), indent=2)
    cloud = found
    settings, text = cloud.deployment, cloud.objects.find(RUN_CONFIG)
    if text is None:
        note(
            f"The bucket has no {RUN_CONFIG} of this run; the one that is written here has the defaults. Before you go "
            "on with the run by hand, put in what `training` in terraform.tfvars says (method, network, task)."
        )
        config = RunConfig(
            run_id=settings.run_id,
            bucket=BucketConfig(name=settings.bucket, region=settings.region),
            total_timesteps=settings.total_timesteps,
            listen_port=settings.listen_port,
        )
    else:
        try:
            config = parse_run_config(text, f"{cloud.objects.prefix}{RUN_CONFIG}")
        except ConfigError as error:
            raise OperatorError(f"{error} It was written by another version of this project: use that one.") from error
    here = msgspec.structs.replace(config, public_host="127.0.0.1", tls_certificate=None, tls_key=None, device="auto")
    return msgspec.json.format(msgspec.json.encode(here), indent=2)


def _write(folder: Path, checkpoint: Checkpoint, beside: dict[str, bytes]) -> None:
    """The files into `folder`, made in one step; one that an earlier fetch made is replaced. Raises OSError."""
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise OperatorError(f"The folder {folder} holds something that no fetch wrote. Name another one with TO=...")
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, data in (checkpoint.files | {MANIFEST: checkpoint.manifest_bytes} | beside).items():
        # A manifest's names come from the bucket: none may lead out of the folder.
        (draft / Path(name).name).write_bytes(data)
    if folder.exists():
        shutil.rmtree(folder)
    draft.replace(folder)
