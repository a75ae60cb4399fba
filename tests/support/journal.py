"""A stand-in for journalctl that gives the entries of a file, where there is no journal to read; box tests use the real
one. It knows the options that lifeline.sh uses to ship the log, and refuses every other.
"""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.support.instance import put_program

_PROGRAM = """#!{python} -S
import json, signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if sys.argv[1:] == ["--sync"]:
    sys.exit()
options = dict(option.partition("=")[::2] for option in sys.argv[1:])
output, file = options.get("--output"), options.get("--cursor-file")
expected = ["--quiet", "--no-pager", "--all", "--utc", "--output", "--output-fields", "--cursor-file"]
if output == "short-iso-precise":
    expected.remove("--output-fields")
if list(options) != expected or output not in ("short-iso-precise", "json"):
    sys.exit("unknown options: " + " ".join(sys.argv[1:]))
try:
    cursor = open(file).read().strip()
except FileNotFoundError:
    cursor = ""
entries = [json.loads(line) for line in open({file!r})]
cursors = [entry["__CURSOR"] for entry in entries]
if cursor:
    if not cursor.startswith("s="):
        sys.exit("Failed to seek to cursor: Invalid argument")
    entries = entries[cursors.index(cursor) + 1 :]
out = sys.stdout.buffer
for entry in entries:
    if output == "json":
        out.write(json.dumps(entry, separators=(",", ":")).encode() + b"\\n")
        continue
    seconds, us = divmod(int(entry["__REALTIME_TIMESTAMP"]), 10**6)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%06d+0000" % us
    begin = "%s %s %s[%s]: " % (moment, entry["_HOSTNAME"], entry["SYSLOG_IDENTIFIER"], entry["_PID"])
    message = entry["MESSAGE"]
    message = bytes(message) if isinstance(message, list) else message.encode()
    out.write(begin.encode() + message.replace(b"\\n", b"\\n" + b" " * len(begin)) + b"\\n")
out.flush()
if entries:
    open(file, "w").write(entries[-1]["__CURSOR"])
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

    def add(self, *messages: str | list[int]) -> None:
        """Log these messages of ac-training, one second after another from `began_us` on; bytes that are no text as a
        list of numbers.
        """
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
