"""The command `ac-train`: what an owner does with the run in AWS, from any PC with credentials; `make` calls it, too.

Each command has its module beside this one; options, exit codes and errors are those of scripts/cloud/command.py.
"""

import sys
from collections.abc import Callable

import typer

from scripts.cloud.command import run
from scripts.cloud.cost import cost
from scripts.cloud.dashboard_link import dashboard_link
from scripts.cloud.fetch import fetch
from scripts.cloud.leftovers import leftovers
from scripts.cloud.logs import logs
from scripts.cloud.pair import pair
from scripts.cloud.report import report
from scripts.cloud.rotate_token import rotate_token
from scripts.cloud.start import start
from scripts.cloud.status import status
from scripts.cloud.stop import stop

# A traceback with local variables, which typer would print, could show the token.
app = typer.Typer(
    name="ac-train",
    help="Starts, watches and ends the training run in the cloud.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EXAMPLES: dict[Callable[..., None], str] = {
    pair: "ac-train pair --wait-minutes 30",
    dashboard_link: "ac-train dashboard-link --tunnel",
    status: "ac-train status --json",
    logs: "ac-train logs --tail 50 --follow",
    start: "ac-train start",
    stop: "ac-train stop",
    fetch: "ac-train fetch --newest --to models",
    report: "ac-train report --output reports/my-run",
    cost: "ac-train cost --budget 20",
    rotate_token: "ac-train rotate-token --wait-minutes 10",
    leftovers: "ac-train leftovers --project ac-training",
}
"""The commands in the order of the help, each with a line that one may type."""
for command, example in EXAMPLES.items():
    app.command(epilog=f"Example: {example}")(command)


def main() -> None:
    """The command's entry point."""
    sys.exit(run(app))
