"""`python -m train_cloud.report --config run.json --output FOLDER`: the report of a run, from its bucket alone.

Writes report.html, pictures and the best lap's files into FOLDER; with --upload also into the run's folder of the
bucket, each once it is whole. Exit code 0 when the page is made, 2 for what cannot be used, 5 when the bucket cannot be
read or written.
"""

import argparse
import logging
import os
import sys
import threading
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging, fields
from train_cloud.object_store import ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError, load_run_config
from train_cloud.run_folder.keys import REPORT, run_prefix

NICE = 10
REFERENCE_SHARE = 0.4
"""Of --seconds: the reference driver's lap takes longest, and the page waits for it."""
_log = logging.getLogger("train_cloud.report")


def main(arguments: list[str] | None = None) -> ExitCode:
    """Parse the command line, make the report, and say where it is."""
    parser = argparse.ArgumentParser(
        prog="train_cloud.report",
        description=__doc__.splitlines()[0],
        epilog="example: python -m train_cloud.report --config run.json --output reports/monza-1",
    )
    parser.add_argument("--config", type=Path, required=True, help="the run's run.json")
    parser.add_argument("--output", type=Path, required=True, help="folder for the report; it is made")
    parser.add_argument("--upload", action="store_true", help="put it into the run's folder of the bucket, too")
    parser.add_argument("--seconds", type=float, help="give up what is not made by then")
    options = parser.parse_args(arguments)
    configure_logging("report")
    try:
        config = load_run_config(options.config)
    except ConfigError as error:
        _log.error(str(error))
        return ExitCode.USAGE
    if options.seconds is not None:
        end = threading.Timer(options.seconds, os._exit, (int(ExitCode.FAILED),))
        end.daemon = True
        end.start()
    # What takes its time to load is loaded with low priority.
    from train_cloud.report.making import PAGE, make_report

    try:
        objects = open_store(config.bucket, run_prefix(config.run_id))
        within = float("inf") if options.seconds is None else REFERENCE_SHARE * options.seconds
        for file in make_report(config, objects, options.output, within):
            if options.upload:
                objects.put(REPORT + file.name, file.read_bytes())
                _log.info("uploaded", extra=fields(file=file.name, bytes=file.stat().st_size))
    except ObjectStoreError as error:
        _log.error(str(error))
        return ExitCode.STORAGE
    except OSError as error:
        _log.error(
            f"The report cannot be written into {options.output} ({error.strerror or error}). Name another folder."
        )
        return ExitCode.USAGE
    print(options.output / PAGE)
    return ExitCode.OK


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(NICE)
    sys.exit(main())
