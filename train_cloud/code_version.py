"""Which code this is: what an instance was given, or the commit of a git checkout."""

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

from train_cloud.object_store import INSTANCE_FILE
from train_cloud.run_folder.files import OPT
from train_cloud.run_folder.keys import CODE, CODE_MANIFEST

_ROOT = Path(__file__).resolve().parents[1]
_HASH_LETTERS = 16
"""Of the manifest's SHA-256, as terraform/storage.tf names the code's folder by it."""
_GIT_SECONDS = 5.0


@cache
def code_version() -> str | None:
    """`code/HASH/` in the bucket, on an instance; else `commit HASH` of a checkout; None where neither is known.

    It never fails, and takes no longer than a few seconds.
    """
    if INSTANCE_FILE.exists():
        try:
            manifest = Path(OPT, CODE_MANIFEST).read_bytes()
        except OSError:
            return None
        return f"{CODE}{hashlib.sha256(manifest).hexdigest()[:_HASH_LETTERS]}/"
    if not (_ROOT / ".git").exists():
        return None
    # The person's own settings of git must not run programs of theirs here.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(_ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    command += ["--exclude", "*"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    commit, dirty, _ = done.stdout.decode("ascii", "replace").strip().partition("-dirty")
    return f"commit {commit}" + (", with changes that are not committed" if dirty else "")
