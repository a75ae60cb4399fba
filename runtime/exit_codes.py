"""How processes of the house end: one meaning of each exit code."""

import enum


class ExitCode(enum.IntEnum):
    """How a process of the house ends; docs/troubleshooting.md has this enum in words."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    """The peer, or another writer of the same run, refused us; a retry would be refused again."""
    DISK_FULL = 4
    STORAGE = 5
    """The S3 API was out of reach or denied us for good."""
    INTERRUPTED = 130
