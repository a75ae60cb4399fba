"""`python scripts/checkov_setup.py`: put checkov into build/checkov, a virtual environment of its own.

checkov pins other versions of boto3 than the project has, so that it may not live in .venv. A second run changes
nothing. The tests look for it as $CHECKOV, on the PATH, and at the place that this script prints.
"""

import subprocess
import sys
import venv
from pathlib import Path

VERSION = "3.3.30"
FOLDER = Path(__file__).parents[1] / "build" / "checkov"


def main() -> int:
    """Install unless this version is there; print the program's path. Returns pip's exit code."""
    stamp = FOLDER / "version"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != VERSION:
        venv.create(FOLDER, clear=True, with_pip=True)
        python = str(FOLDER / "bin" / "python")
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"checkov=={VERSION}"]
        done = subprocess.run(command, check=False)
        if done.returncode != 0:
            print("checkov could not be installed; pip says why above. Check the connection to PyPI and try again.")
            return done.returncode
        stamp.write_text(VERSION, encoding="utf-8")
    print(FOLDER / "bin" / "checkov")
    return 0


if __name__ == "__main__":
    sys.exit(main())
