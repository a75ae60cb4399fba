"""`make report`: the run's report as a page, with pictures and the best lap's files, out of the run's folder alone.

It reads the bucket and changes nothing; neither torch nor a running instance is needed. A run that is done has put its
report into the bucket by itself; this makes it anew, at any time, of a run that goes on, too.
"""

from pathlib import Path
from typing import Annotated

import typer

from runtime.logs import configure_logging
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note_other_run
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import OwnRun, RunFile, ServiceFolder, run_of
from train_cloud.run_config import BucketConfig, ConfigError, RunConfig, parse_run_config
from train_cloud.run_folder.keys import RUN_CONFIG

REPORTS = Path("reports")


def report(
    output: Annotated[
        Path | None, typer.Option("--output", envvar="AC_OUTPUT", help="Folder to write; default: reports/<run_id>.")
    ] = None,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Make the run's report. Example: ac-train report --run run.json --output reports/monza-1."""
    # The simulator, which drives the reference lap, takes its time to load: the other commands need not wait for it.
    from train_cloud.report.making import PAGE, make_report

    configure_logging("report")
    found = run_of(run, folder, deployment)
    if isinstance(found, Cloud):
        note_other_run(found)
    target = output or REPORTS / found.run_id
    try:
        files = [file.name for file in make_report(_run_config(found), found.objects, target)]
    except OSError as error:
        raise OperatorError(
            f"The report cannot be written into {target} ({error.strerror or error}). Name another with OUTPUT=..."
        ) from error
    print(f"{target / PAGE}: the report of {found.run_id}; beside it {', '.join(files[1:])}.")


def _run_config(found: Cloud | OwnRun) -> RunConfig:
    """The run's configuration; of a deployment what its bucket holds, else what Terraform says of it."""
    if isinstance(found, OwnRun):
        return found.config
    settings, text = found.deployment, found.objects.find(RUN_CONFIG)
    if text is not None:
        try:
            return parse_run_config(text, f"{found.objects.prefix}{RUN_CONFIG}")
        except ConfigError as error:
            raise OperatorError(f"{error} It was written by another version of this project: use that one.") from error
    return RunConfig(
        run_id=settings.run_id,
        bucket=BucketConfig(name=settings.bucket, region=settings.region),
        total_timesteps=settings.total_timesteps,
    )
