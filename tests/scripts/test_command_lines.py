"""What the command lines tell a person: an example in each help that holds, completion, no colour if asked."""

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from bridge import cli as bridge_cli
from scripts.cloud import cli as cloud_cli

COMMANDS = {"ac-bridge": bridge_cli, "ac-train": cloud_cli}
MODULES = {"ac-bridge": "bridge", "ac-train": "scripts.cloud"}
EXAMPLES = [(name, example) for name, cli in COMMANDS.items() for example in cli.EXAMPLES.values()]


def shown(name: str, *arguments: str, **environment: str) -> str:
    inherited = {variable: value for variable, value in os.environ.items() if variable != "NO_COLOR"}
    done = subprocess.run(
        [sys.executable, "-m", MODULES[name], *arguments],
        env=inherited | {"COLUMNS": "120"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_each_example_is_understood_by_its_command(name: str, example: str) -> None:
    program, command, *arguments = shlex.split(example)
    assert program == name
    group: Any = typer.main.get_command(COMMANDS[name].app)
    found = group.commands[command]
    assert example in found.epilog
    # Parsed as it would be typed; nothing of it is run.
    found.make_context(command, arguments)


def test_every_command_has_an_example() -> None:
    for cli in COMMANDS.values():
        group: Any = typer.main.get_command(cli.app)
        assert all("Example: " in command.epilog for command in group.commands.values())
        assert len(group.commands) == len(cli.EXAMPLES)


def test_the_help_shows_the_example() -> None:
    assert "Example: ac-bridge demonstrate --laps 3" in shown("ac-bridge", "demonstrate", "--help", NO_COLOR="1")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_shell_can_complete_the_commands(name: str) -> None:
    said = shown(name, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1", SHELL="/bin/bash")
    assert "--install-completion" in said
    assert "--show-completion" in said


@pytest.mark.slow
def test_no_colour_where_none_is_wanted() -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    colour = re.compile(r"\x1b\[(?:\d+;)*3\d")
    assert colour.search(shown("ac-bridge", "--help", **terminal))
    assert not colour.search(shown("ac-bridge", "--help", NO_COLOR="1", **terminal))
