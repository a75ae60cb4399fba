"""What lets into a run on this machine, the page's link and the pairing string: shown on a terminal, nowhere else."""

import sys
from pathlib import Path

from scripts.processes.telling import print_link
from train_cloud.run_folder.files import PAIRING


def print_link_here(folder: Path) -> None:
    """Print a link to the page, which lets in once; not into a file or a pipe. Raises OSError."""
    if sys.stdout.isatty():
        print_link(folder)
    else:
        print(f"`make dashboard-link FOLDER={folder}` prints a link to the page, which is not shown here either.")


def print_pairing(folder: Path) -> None:
    """Print the string, the last line, with what to do with it; not into a file or a pipe, which may be a log's."""
    if not sys.stdout.isatty():
        print(f"The pairing string is not shown here, as this may be a log. `make pair FOLDER={folder}` prints it.")
    else:
        print(
            "On the gaming PC: `make bridge` (or `ac-bridge pair`, then `ac-bridge drive`). It asks once for the next "
            "line, a secret:\n" + (folder / PAIRING).read_text(encoding="utf-8").strip()
        )
    sys.stdout.flush()
