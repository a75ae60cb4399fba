"""The driver process: `python -m train_cloud.driver --config run.json --folder DIR`.

DIR is the folder of the receiver and the trainer on this machine. It drives the cars of PCs that run
`ac-bridge cloud-drive`, where the run's `environment.source` is "driver"; of another run it ends at once. SIGTERM ends
it in order; of two with one folder, the second one ends. The exit codes are runtime.exit_codes.ExitCode.
"""

import argparse
import asyncio
import logging
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.files import locked
from runtime.logs import FORMATS, configure_logging
from runtime.signals import stop_on_signals
from train_cloud import notify
from train_cloud.driver.serving import Driver
from train_cloud.log_shipping import ship_log
from train_cloud.run_config import ConfigError, RunConfig, load_run_config
from train_cloud.run_folder.files import DRIVER_LOCK
from train_cloud.store import StoreError

_log = logging.getLogger(__name__)


def main() -> int:
    """Drive until a signal; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train_cloud.driver",
        description=__doc__.split("\n")[0],
        epilog="Example: python -m train_cloud.driver --config run.json --folder work",
    )
    parser.add_argument("--config", type=Path, required=True, help="the run's run.json")
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the receiver and the trainer")
    parser.add_argument("--reference", action="store_true", help="let the reference driver drive, no policy")
    parser.add_argument("--log-format", choices=FORMATS, help="how the log speaks; default: words on a terminal only")
    arguments = parser.parse_args()
    configure_logging("driver", format=arguments.log_format)
    stop = stop_on_signals()
    try:
        config = load_run_config(arguments.config)
        notify.ready(f"driver of the run {config.run_id}")
        if config.environment.source != "driver":
            _log.info('this run has no driver in the cloud: its `environment.source` is not "driver"')
            return ExitCode.OK
        arguments.folder.mkdir(parents=True, exist_ok=True)
        lock = locked(arguments.folder / DRIVER_LOCK)
        if lock is None:
            _log.error(
                f"Another driver works in {arguments.folder} already, and two would take each other's place for ever. "
                "End that one first, or name the folder of another run."
            )
            return ExitCode.REFUSED
        with closing(lock):
            ship_log(config, "driver")
            asyncio.run(_drive(config, arguments.folder, arguments.reference, stop))
    except ConfigError as error:
        _log.error(str(error))
        return ExitCode.USAGE
    except (StoreError, OSError, sqlite3.OperationalError) as error:
        _log.error(str(error))
        return ExitCode.FAILED
    _log.info("ended in order")
    return ExitCode.OK


async def _drive(config: RunConfig, folder: Path, reference: bool, stop: threading.Event) -> None:
    await Driver(config, folder, reference).run(stop)


if __name__ == "__main__":
    sys.exit(main())
