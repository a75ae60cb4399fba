"""The report at the end of a run: made and uploaded by a child of low priority, while the trainer waits for it a while.

What it costs the run's end is bounded by REPORT_SECONDS, and a signal ends it at once; a report that fails is a
warning, and `make report` makes it later.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from runtime.logs import fields
from train_cloud import notify
from train_cloud.run_config import RunConfig

REPORT_SECONDS: Final = 60.0
"""How long the trainer, and so an instance's end, may wait for it."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LATER = "the run is done and saved, and `make report` makes it at any time"

_log = logging.getLogger(__name__)


def report_run(config: RunConfig, stop: threading.Event) -> bool:
    """Have the report of a run that is done made and uploaded; whether it is. Never raises for what goes wrong."""
    try:
        with tempfile.TemporaryDirectory(prefix="ac-report-") as folder:
            return _made(config, Path(folder), stop)
    except OSError as error:
        _log.warning(f"the report could not be made: {_LATER}", extra=fields(reason=str(error)))
        return False


def _made(config: RunConfig, folder: Path, stop: threading.Event) -> bool:
    run_file = folder / "config.json"
    run_file.write_bytes(msgspec.json.encode(config))
    command = [
        sys.executable,
        "-m",
        "train_cloud.report",
        "--config",
        str(run_file),
        "--output",
        str(folder / "report"),
    ]
    # The child has an end of its own, should this process be killed.
    command += ["--upload", "--seconds", f"{REPORT_SECONDS:g}"]
    began = time.monotonic()
    # A session of its own: a signal to the trainer's group is the trainer's to answer.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | _ONE_THREAD,
        start_new_session=os.name != "nt",
    )
    try:
        while child.poll() is None:
            notify.alive()
            if stop.wait(0.2) or time.monotonic() - began > REPORT_SECONDS:
                break
    finally:
        if child.poll() is None:
            child.kill()
        code = child.wait()
    if code == 0:
        _log.info("the report is in the bucket", extra=fields(seconds=round(time.monotonic() - began, 1)))
        return True
    why = "it was told to stop" if stop.is_set() else f"its process ended with {code}"
    _log.warning(f"the report is not whole: {_LATER}", extra=fields(reason=why))
    return False
