"""A stand-in for journalctl that gives the entries of a file, where there is no journal to read; box tests use the real
one. It knows the options that train_cloud.instance.journal uses and refuses every other.
"""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.support.instance import put_program

_PROGRAM = """#!{python} -S
import json, sys
options = sys.argv[1:]
expected = ["--quiet", "--no-pager", "--all", "--output=json"]
if options[:4] != expected or not options[4].startswith("--output-fields="):
    sys.exit("unknown options: " + " ".join(options))
entries = [json.loads(line) for line in open({file!r})]
cursors = [entry["__CURSOR"] for entry in entries]
if options[5:]:
    name, cursor = options[5:]
    if name != "--after-cursor" or not cursor.startswith("s="):
        sys.exit("Failed to seek to cursor: Invalid argument")
    entries = entries[cursors.index(cursor) + 1 :]
for entry in entries:
    print(json.dumps(entry))
"""


class Journal:
    """Entries that the journalctl on the PATH gives, oldest first."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self._file = folder / "entries"
        self._file.touch()
        self._count = 0
        self.began_us = time.time_ns() // 1000
        put_program(
            folder / "bin", "journalctl", _PROGRAM.format(python=sys.executable, file=str(self._file)), monkeypatch
        )

    def add(self, *messages: object) -> None:
        """Log these messages of ac-training, one second after another from `began_us` on."""
        with self._file.open("a") as out:
            for message in messages:
                self._count += 1
                moment = self.began_us + self._count * 1_000_000
                entry = {
                    "__CURSOR": f"s=5e0c;i={self._count:x}",
                    "__REALTIME_TIMESTAMP": str(moment),
                    "__MONOTONIC_TIMESTAMP": str(self._count),
                    "_BOOT_ID": "0" * 32,
                    "_HOSTNAME": "ip-10-0-0-10",
                    "SYSLOG_IDENTIFIER": "ac-training",
                    "_PID": "321",
                    "MESSAGE": message,
                }
                out.write(json.dumps(entry) + "\n")
