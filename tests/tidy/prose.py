"""Reads what the documents promise: commands, links, paths and tests that they name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

import click
from tests.tidy.source import ROOT, tracked

from verismo.cli.main import cli

_FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"(?m)^#{1,6} +(.+?) *$")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[\s\S]*\Z")
_ENDS = {"|", ";", "&", "&&", "||", ">", ">>", "<", "2>", ")"}
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
SHELLS = {"sh", "bash", "console", "shell"}


def documents() -> list[PurePosixPath]:
    """Return every Markdown file of the repository."""
    return [path for path in tracked() if path.suffix == ".md"]


def read(path: PurePosixPath) -> str:
    """Return a document's text."""
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    return _FENCE.findall(text)


def shell_lines(text: str) -> Iterator[str]:
    """Yield the commands of the shell blocks, whole where they are continued."""
    for language, block in blocks(text):
        if language not in SHELLS:
            continue
        lines = block.replace("\\\n", " ").splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        for line in lines:
            if prompted and not line.startswith("$ "):
                continue
            yield line.removeprefix("$ ").strip()


def spans(text: str) -> Iterator[str]:
    """Yield the code spans outside blocks."""
    yield from _SPAN.findall(_FENCE.sub("", text))


def calls(line: str) -> Iterator[list[str]]:
    """Yield the `verismo` and `make` calls of a line, as words."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in prose
        words = line.split()
    call: list[str] = []
    for word in [*words, ";"]:
        if word in _ENDS:
            yield from _call(call)
            call = []
        else:
            call.append(word.rstrip(";"))


def _call(words: list[str]) -> Iterator[list[str]]:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("exec", "time", "sudo")):
        words = words[1:]
    if words[1:3] == ["-m", "verismo"]:
        words = words[2:]
    if words and words[0].rsplit("/", 1)[-1] in ("verismo", "make"):
        yield [words[0].rsplit("/", 1)[-1], *words[1:]]


def call_faults(text: str) -> list[str]:
    """Return what is wrong with the commands that a text names."""
    lines = [*shell_lines(text)]
    lines += [span for span in spans(text) if re.match(r"(?:verismo|make) [a-z]", span)]
    return line_faults(lines)


def line_faults(lines: list[str]) -> list[str]:
    """Return what is wrong with the calls of some shell lines."""
    faults = (call_fault(words) for line in lines for words in calls(line))
    return [fault for fault in faults if fault]


def call_fault(words: list[str]) -> str:
    """Say what is wrong with a call, nothing if it would be understood.

    Args:
        words: from `calls`.
    """
    if words[0] == "make":
        named = [word for word in words[1:] if not _ASSIGNMENT.match(word) and word[0] not in "-$"]
        wrong = [word for word in named if word not in TARGETS]
        return f"make has no {wrong[0]}" if wrong else ""
    return _walk(cli, words[1:], "verismo")


def _walk(command: click.Command, words: list[str], path: str) -> str:
    """Follow a call through groups to its command, as click would."""
    for index, word in enumerate(words):
        if isinstance(command, click.Group) and re.match(r"[a-z]", word):
            context = click.Context(command, info_name=path)
            for name in word.split("|"):
                below = command.get_command(context, name)
                if below is None:
                    return f"{path} has no {name}"
                if fault := _walk(below, words[index + 1 :], f"{path} {name}"):
                    return fault
            return ""
        if isinstance(command, click.Group) and not _option(command, word):
            return f"{path} has no {word}"
    return "" if isinstance(command, click.Group) else _leaf(command, words, path)


def _leaf(command: click.Command, words: list[str], path: str) -> str:
    """Say which option or argument a command does not take."""
    places = sum(
        len(words) if one.nargs < 0 else one.nargs
        for one in command.params
        if isinstance(one, click.Argument)
    )
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word.startswith("-") and len(word) > 1:
            option = _option(command, word.split("=")[0])
            if option is None:
                return f"{path} has no {word}"
            if "=" not in word and not option.is_flag:
                del waiting[: option.nargs]
        elif word != "...":
            places -= 1
            if places < 0:
                return f"{path} takes no argument {word}"
    return ""


def _option(command: click.Command, word: str) -> click.Option | None:
    context = click.Context(command, help_option_names=["-h", "--help"])
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and word in (
            *parameter.opts,
            *parameter.secondary_opts,
        ):
            return parameter
    return None


def links(text: str) -> Iterator[str]:
    """Yield the targets of links within the repository."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def link_fault(path: PurePosixPath, target: str) -> str:
    """Say what is wrong with a link, nothing if it leads somewhere."""
    name, _, anchor = target.partition("#")
    linked = (ROOT / path).parent / name if name else ROOT / path
    if not linked.exists():
        return f"{path}: {target} leads nowhere"
    if anchor and linked.suffix == ".md" and anchor not in anchors(linked.read_text("utf-8")):
        return f"{path}: no heading for #{anchor}"
    return ""


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as they are made from their words."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}
