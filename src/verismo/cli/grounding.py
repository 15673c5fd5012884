"""`verismo grounding`: which source supports which sentence, and how well that is told."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
import msgspec

from verismo.cli.groundinganswer import Source, as_cited, read_answer, read_text
from verismo.cli.options import Command, columns, json_option, printable
from verismo.evidence.grounding import PPM, Claim, Grader, Grounding, check_answer
from verismo.evidence.groundinggold import GoldRefused, GoldReport, measure, read_gold
from verismo.model.errors import OperatorError
from verismo.wiring.grading import open_judge

FAILED_EXIT = 1
SUFFIXES = (".md", ".txt", ".rst")
"""What is read of a folder of sources."""


class Judge(msgspec.Struct, frozen=True):
    """The options that name a grader; see `--help`."""

    judge_url: str | None
    judge_key: str | None
    judge_model: str | None


class Shown(msgspec.Struct, frozen=True):
    """What `show --json` prints.

    Args:
        answer: the file.
        sources: names of the sources, in the order that `source` and `cited` count by.
        grounding: see `Grounding`.
    """

    answer: str
    sources: tuple[str, ...]
    grounding: Grounding


@click.group()
def grounding() -> None:
    """Hold an answer's sentences against their sources (source overlap, no proof)."""


def judge_options(command: Command) -> Command:
    """Add the options that name a model that judges."""
    for option in (
        click.option("--judge-model", metavar="OP", help="The operation to judge by."),
        click.option("--judge-key", metavar="vk_...", help="Its API key."),
        click.option("--judge-url", help="Ask a model as well: an OpenAI-compatible base URL."),
    ):
        command = option(command)
    return command


@grounding.command()
@click.option(
    "--gold",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="JSON lines: id, claim, sources, label; optional: half.",
)
@judge_options
@json_option
def check(gold: Path, *, as_json: bool, **given: object) -> None:
    """Measure grounding on claims whose truth is known.

    It holds if at least 95 % of the supported claims pass, at most 20 % of those with an altered
    number, name or negation, and none that is off topic; in each part of the file by itself.

    Exit codes: 0 it holds, 1 it does not, 2 wrong usage.
    """
    try:
        claims = read_gold(gold.read_bytes())
    except GoldRefused as error:
        raise OperatorError(
            f"{gold}: {error}", next_step="docs/grounding.md has the members of a line."
        ) from error
    with _grader(given) as grader:
        report = measure(claims, grader)
    click.echo(msgspec.json.encode(report) if as_json else _measured(report))
    if report.failures:
        raise click.exceptions.Exit(FAILED_EXIT)


@grounding.command()
@click.argument("answer", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--sources",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="A source, or a folder of .md, .txt and .rst files; may be repeated. Without it: the"
    " sources that an agent's answer holds.",
)
@judge_options
@json_option
def show(answer: Path, sources: tuple[Path, ...], *, as_json: bool, **given: object) -> None:
    """Show which source supports which sentence of an answer, and why one is not supported.

    ANSWER is a text, a chat completion, what an agent answered (JSON with `text` and `sources`, or
    its events), or a saved exchange with one of these. `[1]` in it cites the first source, or the
    file that an agent's answer names first; a sentence that cites is held against that alone.

    Exit codes: 0 every sentence is supported, 1 one is not, 2 wrong usage.
    """
    answered = read_answer(answer)
    files = [file for source in sources for file in _files(source)]
    given_sources = [Source(str(file), read_text(file)) for file in files]
    held = as_cited(answered.sources, given_sources) if files else answered.sources
    if not any(source.text for source in held):
        raise click.UsageError(f"{answer} names no sources of its own: give --sources")
    with _grader(given) as grader:
        found = check_answer(answered.text, [source.text for source in held], grader)
    names = tuple(source.uri or f"source {number}" for number, source in enumerate(held, 1))
    if as_json:
        click.echo(msgspec.json.encode(Shown(str(answer), names, found)))
    else:
        for line in _lines(found, names):
            click.echo(printable(line))
    if found.supported < found.checked:
        raise click.exceptions.Exit(FAILED_EXIT)


def _grader(given: dict[str, object]) -> AbstractContextManager[Grader | None]:
    judge = msgspec.convert(given, Judge)
    if judge.judge_url is None and judge.judge_key is None and judge.judge_model is None:
        return nullcontext()
    if not (judge.judge_url and judge.judge_key and judge.judge_model):
        raise click.UsageError("--judge-url, --judge-key and --judge-model belong together")
    return open_judge(judge.judge_url, judge.judge_key, judge.judge_model)


def _measured(report: GoldReport) -> str:
    rows = [
        (
            rate.half or "all",
            rate.label,
            f"{rate.passed} of {rate.count}",
            _percent(rate.rate_ppm),
            _percent(rate.wrong_ppm_upper),
        )
        for rate in report.rates
    ]
    header = ("HALF", "CLAIMS", "PASS AS SUPPORTED", "RATE", "JUDGED WRONGLY, 95 % UPPER BOUND")
    lines = [columns(header, rows), ""]
    lines += [f"missed: {failure}" for failure in report.failures]
    return "\n".join([*lines, "FAILS" if report.failures else "HOLDS"])


def _lines(found: Grounding, names: tuple[str, ...]) -> Iterator[str]:
    for claim in found.claims:
        yield f"{_mark(claim):12} {claim.text}"
        if claim.verdict == "supported" and claim.source is not None:
            yield f"{'':12} by {names[claim.source]}, overlap {_percent(claim.overlap_ppm)}"
        elif claim.verdict == "unsupported" and claim.source is not None:
            yield f"{'':12} nearest: {names[claim.source]}, overlap {_percent(claim.overlap_ppm)}"
        for reason in claim.reasons:
            yield f"{'':12} {reason.kind}: {reason.detail}"
    yield ""
    yield f"{found.supported} of {found.checked} sentences supported by their sources"
    yield "source overlap with checks of numbers, names and negations; no proof"


def _mark(claim: Claim) -> str:
    return {"supported": "supported", "unsupported": "UNSUPPORTED", "no_claim": "-"}[claim.verdict]


def _percent(ppm: int) -> str:
    return f"{ppm * 100 / PPM:.1f} %"


def _files(source: Path) -> list[Path]:
    """Return a file, or those of a folder, sorted by name."""
    if source.is_file():
        return [source]
    files = sorted(file for file in source.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise OperatorError(
            f"{source} holds no source", next_step=f"It needs files with {', '.join(SUFFIXES)}."
        )
    return files
