"""The command `ac-train`: what an owner does with the run in AWS, from any PC with credentials; `make` calls it, too.

Each command has its module beside this one; options, exit codes and errors are those of scripts/cloud/command.py.
"""

import sys

import typer

from scripts.cloud.command import run
from scripts.cloud.cost import cost
from scripts.cloud.fetch import fetch
from scripts.cloud.leftovers import leftovers
from scripts.cloud.logs import logs
from scripts.cloud.pair import pair
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
    add_completion=False,
)
for command in (pair, status, logs, start, stop, fetch, cost, rotate_token, leftovers):
    app.command()(command)


def main() -> None:
    """The command's entry point."""
    sys.exit(run(app))
