"""The quick tests can be collected where there are no POSIX modules, as on the Windows machines of the workflow."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
_COLLECT = """
import builtins, sys, pytest
missing = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
project, imported = sys.argv[1], builtins.__import__

def windows_import(name, *scopes, **named):
    scope = scopes[0] if scopes else named.get("globals")
    importer = (scope or {}).get("__file__") or ""
    if name in missing and importer.startswith(project) and "site-packages" not in importer:
        raise ModuleNotFoundError(f"{importer} imports {name}, which Windows does not have")
    return imported(name, *scopes, **named)

builtins.__import__ = windows_import
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_no_quick_test_needs_a_module_that_windows_lacks() -> None:
    # What tests/conftest.py leaves out there; here it looks at the system by itself.
    left_out = [f"--ignore=tests/{name}" for name in ("box", "terraform", "wine", "train_cloud/instance")]
    command = [sys.executable, "-c", _COLLECT, str(PROJECT), *left_out]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
