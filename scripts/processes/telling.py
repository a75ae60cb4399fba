"""What whoever starts processes tells the person at the terminal: where the page is, and that they are ending."""

import sys
import threading
from pathlib import Path

from train_cloud.dashboard_link import LINK_SECONDS, link_of


def print_link(folder: Path) -> None:
    """Print where the page about the run in `folder` is, as a link that lets in once. Raises OSError.

    The demo's goes into pipes, too, where scripts.screenshot takes it: it leads to this machine alone, and the page
    ends with the demo.
    """
    link = link_of(folder)
    print(
        f"Watch it learn: {link}\n"
        f"This link lets in once, within {LINK_SECONDS / 60:.0f} minutes. Another one: "
        f"make dashboard-link FOLDER={folder}",
        flush=True,
    )
    if link.startswith("https:"):
        print("Your browser will say that it does not know the certificate, which is the receiver's own.", flush=True)


def say_that_it_ends(stop: threading.Event) -> None:
    """When `stop` is set, say at once that the processes may take a while to save what they have."""

    def wait() -> None:
        stop.wait()
        print("Ending: each process saves what it has. Another Ctrl-C ends them at once.", file=sys.stderr, flush=True)

    threading.Thread(target=wait, name="end", daemon=True).start()
