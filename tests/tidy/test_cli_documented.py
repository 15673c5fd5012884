"""docs/cli.md is what the commands say today, and every option of theirs has a help text."""

import subprocess
import sys

import click
import pytest
from scripts.cli_reference import commands
from tests.tidy.source import ROOT

from verismo.cli.main import cli

EVERY = list(commands(cli, None, "verismo"))
PATHS = [context.command_path for context, _ in EVERY]


@pytest.mark.slow
def test_the_page_is_what_the_commands_say():
    # In a process of its own: click keeps a command's help option as its first caller had it.
    script = ROOT / "scripts" / "cli_reference.py"
    ran = subprocess.run([sys.executable, script, "--check"], check=False)
    assert ran.returncode == 0, "run: make cli-reference"


@pytest.mark.parametrize(("context", "command"), EVERY, ids=PATHS)
def test_every_command_and_option_has_words(context, command):
    assert command.get_short_help_str(), context.command_path
    bare = [
        one.name
        for one in command.params
        if isinstance(one, click.Option) and not one.help and one.name not in PLAIN
    ]
    assert bare == []


PLAIN = {"port", "workers"}
"""Options that say all in their name, type and default."""


def test_every_command_of_the_group_is_there():
    assert {f"verismo {name}" for name in cli.list_commands(EVERY[0][0])} <= set(PATHS)
