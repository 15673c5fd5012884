"""Writes docs/cli.md from the commands' own help: make cli-reference."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from verismo.cli.main import LazyGroup, cli

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
WIDTH = 88

_HEAD = """# Commands

Every command and option, as `--help` prints them. This page is written by `make cli-reference`;
a test compares it with the commands.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or configuration.
"""


def commands(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[click.Context, click.Command]]:
    """Yield a command and all public commands below it, each with a context of fixed width."""
    context = click.Context(
        command,
        parent=parent,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield context, command
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from commands(found, context, below)


def reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    for context, command in commands(cli, None, "verismo"):
        level = "##" if isinstance(context.command, LazyGroup) or _is_top(context) else "###"
        parts.append(
            f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        )
    return "\n".join(parts)


def _is_top(context: click.Context) -> bool:
    return context.parent is not None and context.parent.parent is None


def main() -> int:
    """Write the page; with `--check` only compare, exit code 1 if it is out of date."""
    page = reference()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
