"""What the instance's units call: `python -m train_cloud.instance COMMAND --config FILE --folder DIR --run-folder DIR`.

Each command does one thing and ends; the exit codes are runtime.exit_codes.ExitCode. `secrets` and `prepare`
make an instance ready, `certificate` renews that of its name, `minute` does each minute's duties and `account` is the
last look, `finished` and `checkpoint` follow events, `store-environment` serves the next instance.
"""

import argparse
import logging
import os
import sys
from contextlib import closing
from pathlib import Path

from runtime.boot_clock import boot_id, seconds_since_boot
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging, fields
from train_cloud.instance.certificate import renew_certificate
from train_cloud.instance.clients import ParameterError, aws_client
from train_cloud.instance.config import Deployment, load_deployment
from train_cloud.instance.endings import end_when_done
from train_cloud.instance.environment import store_environment
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.minute import DutyError, close_account, do_duties
from train_cloud.instance.prepare import PrepareError, prepare
from train_cloud.instance.secrets import fetch_secrets
from train_cloud.object_store import ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_folder import files
from train_cloud.settings import ConfigError
from train_cloud.store import Store, StoreError

COMMANDS = ("prepare", "secrets", "certificate", "minute", "account", "finished", "checkpoint", "store-environment")

_log = logging.getLogger(__name__)


def main() -> int:
    """Carry out one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train_cloud.instance", description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--config", type=Path, required=True, help="instance.json; run.json lies beside it")
    parser.add_argument("--folder", type=Path, required=True, help="where the store and the TLS identity live")
    parser.add_argument("--run-folder", type=Path, required=True, help="where secrets, notice and ending are")
    parser.add_argument("--environment", type=Path, help="store-environment: the installed environment")
    parser.add_argument("--key", help="store-environment: its key in the bucket")
    arguments = parser.parse_args()
    configure_logging(f"instance-{arguments.command}")
    if arguments.command == "store-environment" and not (arguments.environment and arguments.key):
        parser.error("store-environment needs --environment and --key")
    try:
        deployment = load_deployment(arguments.config, arguments.folder, arguments.run_folder)
        _carry_out(arguments, deployment, _patience())
    except (ConfigError, ObjectStoreError, DutyError, ParameterError, PrepareError, StoreError, OSError) as error:
        _log.error(str(error))
        storage = ExitCode.STORAGE if isinstance(error, ObjectStoreError) else ExitCode.FAILED
        return ExitCode.USAGE if isinstance(error, ConfigError) else storage
    return ExitCode.OK


def _carry_out(arguments: argparse.Namespace, deployment: Deployment, patience: float) -> None:
    match arguments.command:
        case "prepare":
            terraform_run = arguments.config.parent / files.RUN_CONFIG
            prepare(deployment, terraform_run, aws_client("ssm", deployment.config.region), Metadata(), patience)
        case "secrets":
            ssm = aws_client("ssm", deployment.config.region)
            fetch_secrets(deployment.config, ssm, deployment.run_folder, patience)
        case "certificate":
            renew_certificate(deployment, aws_client("ssm", deployment.config.region), patience)
        case "minute":
            do_duties(deployment, Metadata(), boot_id(), seconds_since_boot(), patience)
        case "account":
            close_account(deployment, Metadata(), boot_id(), seconds_since_boot())
        case "finished":
            end_when_done(deployment, patience)
        case "checkpoint":
            _ask_for_checkpoint(deployment)
        case "store-environment":
            everything = open_store(deployment.run.bucket, "")
            store_environment(everything, arguments.environment, arguments.key, patience)


def _patience() -> float:
    given = os.environ.get(files.PATIENCE_VARIABLE) or str(files.PATIENCE_SECONDS)
    try:
        return float(given)
    except ValueError:
        raise ConfigError(f"{files.PATIENCE_VARIABLE} has the value {given!r}: expected a number of seconds.") from None


def _ask_for_checkpoint(deployment: Deployment) -> None:
    file = deployment.folder / files.STORE
    if not file.exists():
        _log.info("no checkpoint is asked for: there is no store yet, so nothing was learned here")
        return
    with closing(Store(file)) as store:
        _log.info("asked the trainer for a checkpoint", extra=fields(request=store.request_checkpoint()))


if __name__ == "__main__":
    sys.exit(main())
