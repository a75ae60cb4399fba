"""`python -m train_cloud.trainer --config run.json --folder DIR`: trains the run until it is done or told to stop.

The trainer meets the receiver only in DIR/store.db. It takes the run up from its newest sound checkpoint in S3, and
ends with exit code 0 when the run is done or after an orderly stop with everything saved.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.logs import FORMATS, configure_logging, fields
from runtime.signals import stop_on_signals
from train_cloud.log_shipping import ship_log
from train_cloud.run_config import ConfigError, load_run_config

_log = logging.getLogger("train_cloud.trainer")


def main(arguments: list[str] | None = None) -> ExitCode:
    """Parse the command line, train, and say how it ended."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="train_cloud.trainer", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the run's run.json")
    parser.add_argument("--folder", type=Path, required=True, help="folder of store.db, shared with the receiver")
    parser.add_argument("--log-format", choices=FORMATS, help="how the log speaks; default: words on a terminal only")
    options = parser.parse_args(arguments)
    configure_logging("trainer", format=options.log_format)
    stop = stop_on_signals()
    try:
        config = load_run_config(options.config)
    except ConfigError as error:
        _log.error(str(error))
        return ExitCode.USAGE
    ship_log(config, "trainer")
    # torch and stable-baselines3 take seconds to import: a wrong option is told before.
    from train_cloud.trainer.session import train_run

    _log.info("libraries loaded", extra=fields(seconds=round(time.monotonic() - began, 2)))
    return train_run(config, options.folder, stop, options.config)


if __name__ == "__main__":
    sys.exit(main())
