"""`verismo prov`: what produced an answer, as a tree, a picture or a document for other tools."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from verismo.attest.headers import ProofHeaders
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.provdot import write_dot
from verismo.attest.provenance import GraphRefused, read_graph
from verismo.attest.provfaults import find_faults, read_claim
from verismo.attest.provjson import ProvRecord, write_prov_json
from verismo.attest.provsvg import write_svg
from verismo.attest.provtree import draw_tree, lay_out
from verismo.attest.provview import View, view_graph
from verismo.attest.report import Findings
from verismo.attest.statement import Statement, StatementRefused, read_statement
from verismo.attest.verify import Check, Expectation, Report, Verifier
from verismo.attest.verify_claims import check_graph
from verismo.attest.verify_ledger import LedgerTrust, ring_keys, trusted_ring, verify_ledger
from verismo.cli.options import config_option, json_option, printable
from verismo.cli.provsource import Place, Signed, folder, gateway, read_saved
from verismo.config.load import load_config
from verismo.config.writing import write_whole
from verismo.model import base64url
from verismo.model.errors import OperatorError
from verismo.model.ids import is_prov_id
from verismo.model.units import moment_utc

UNCHECKED = "NOT CHECKED"
_COMPLETENESS, _GRAPH = 12, 13
_OUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of `verismo prov show`; see its `--help`."""

    prov_id: str | None
    config: Path
    data: Path | None
    url: str | None
    key: str | None
    file: Path | None
    jwks: Path | None
    keyring: Path | None
    calls: bool
    svg: Path | None
    prov_json: Path | None
    dot: Path | None
    as_json: bool

    @property
    def written(self) -> tuple[Path, ...]:
        """Where documents go to."""
        return tuple(one for one in (self.svg, self.prov_json, self.dot) if one is not None)


class CallCheck(msgspec.Struct, frozen=True):
    """Whether a joined call stands in the graph as it was signed by itself.

    Args:
        prov_id: the call's; empty if its request does not say.
        number: of its response in the graph.
        problem: why it does not, or cannot be told; empty if it does.
    """

    prov_id: str
    number: int
    problem: str


class Shown(msgspec.Struct, frozen=True):
    """What `--json` prints.

    Args:
        prov_id: the answer.
        source: where the graph was found.
        verdict: see `docs/provenance.md`.
        checks: of the verification; empty if there were no keys or no signature.
        calls: of the joined calls, if they were asked for.
        faults: where its nodes do not hang together, for people.
        graph: as it was found; null if it was spelt otherwise and could not be read.
    """

    prov_id: str
    source: str
    verdict: str
    checks: tuple[Check, ...]
    calls: tuple[CallCheck, ...]
    faults: tuple[str, ...]
    graph: msgspec.Raw


@click.group()
def prov() -> None:
    """Show what produced an answer."""


@prov.command(short_help="Show an answer's graph, and its verdict.")
@click.argument("prov_id", required=False)
@config_option
@click.option("--data", type=click.Path(path_type=Path), help="A gateway's data folder.")
@click.option("--url", help="A gateway: ask it for the graph; needs --key.")
@click.option(
    "--key", metavar="vk_...", envvar="VERISMO_API_KEY", show_envvar=True, help="With --url."
)
@click.option("--file", type=_FILE, help="A saved record, exchange, PROV-JSON or graph.")
@click.option("--jwks", type=_FILE, help="The key set to trust, with --file.")
@click.option("--keyring", type=_FILE, help="The key ring to trust, with --file.")
@click.option("--calls", is_flag=True, help="Check the proof of each joined call too.")
@click.option("--svg", type=_OUT, help="Write a picture; `-` for standard output.")
@click.option("--prov-json", type=_OUT, help="Write PROV-JSON; `-` for standard output.")
@click.option("--dot", type=_OUT, help="Write DOT for Graphviz; `-` for standard output.")
@json_option
def show(**given: object) -> None:
    """Show the provenance graph of an answer as a tree, and whether it is the one that was signed.

    Without --data, --url and --file the graph is read from the data folder of the configuration.
    The keys are those of the same folder or gateway: this checks a record against its gateway; for
    keys of your own choice use `verismo verify`.

    Exit codes: 0 shown, 1 the graph is not what was signed, 2 wrong usage, or no graph at all.
    """
    asked = msgspec.convert(given, Asked)
    _check_usage(asked)
    with _found(asked) as (place, signed):
        prov_id = _identify(asked, signed)
        report = _judge(place, signed, asked)
        view = _view(signed)
        checks = _check_calls(view, place) if asked.calls and view is not None else ()
    verdict = _verdict(report)
    faults = () if view is not None else _faults(signed)
    if asked.as_json:
        found = report.checks if report is not None else ()
        graph = msgspec.Raw(signed.graph or b"null")
        shown = Shown(prov_id, place.name, verdict, found, checks, faults, graph)
        click.echo(msgspec.json.encode(shown))
    elif asked.written:
        if view is not None:
            _write(asked, view, signed)
        click.echo(printable(f"{prov_id}: {'; '.join((verdict, *_failed(report)))}"), err=True)
    else:
        lines = [*_lines(place, signed, report, checks), *(f"{'where':9} {it}" for it in faults)]
        if view is not None:
            lines += [f"began     {moment_utc(view.nodes[0].t0)}", "", lay_out(draw_tree(view))]
        text = "\n".join(lines)
        click.echo("\n".join(printable(line) for line in text.split("\n")))
    sys.exit(1 if verdict == "INVALID" or any(one.problem for one in checks) else 0)


def _check_usage(asked: Asked) -> None:
    places = sum(one is not None for one in (asked.data, asked.url, asked.file))
    if places > 1:
        raise click.UsageError("give one of --data, --url and --file")
    if asked.prov_id is None and asked.file is None:
        raise click.UsageError("name the PROV_ID")
    if asked.prov_id is not None and not is_prov_id(asked.prov_id):
        raise OperatorError(f"{asked.prov_id!r} is not a prov_id", next_step="It is a UUIDv7.")
    if asked.url is not None and not asked.key:
        raise click.UsageError("--url needs --key, or VERISMO_API_KEY")
    if (asked.jwks or asked.keyring) and asked.file is None:
        raise click.UsageError("--jwks and --keyring belong to --file")
    if asked.jwks is not None and asked.keyring is not None:
        raise click.UsageError("give --jwks or --keyring")
    if asked.calls and asked.file is not None:
        raise click.UsageError("a file holds no proofs of joined calls; leave out --calls")
    if asked.as_json and asked.written:
        raise click.UsageError("--json goes without --svg, --prov-json and --dot")
    if asked.written.count(Path("-")) > 1:
        raise click.UsageError("only one document can go to standard output")


@contextmanager
def _found(asked: Asked) -> Iterator[tuple[Place, Signed]]:
    """Find the graph and keep its place open."""
    if asked.file is not None:
        ring = b"" if asked.keyring is None else asked.keyring.read_bytes()
        keys = str(asked.jwks or asked.keyring or "")
        yield Place(f"file {asked.file}", lambda _: None, ring, keys), read_saved(asked.file)
        return
    if asked.url is not None:
        place = gateway(asked.url, asked.key or "")
    else:
        place = folder(asked.data if asked.data is not None else load_config(asked.config).data)
    with place as opened:
        signed = opened.find(asked.prov_id or "")
        if signed is None:
            raise OperatorError(
                f"{opened.name} has no answer {asked.prov_id}",
                next_step="Check the identifier; records of other tenants are not shown.",
            )
        yield opened, signed


def _identify(asked: Asked, signed: Signed) -> str:
    """Return the answer that a graph says it is.

    Raises:
        OperatorError: it is no graph, or neither it nor its statement names the answer asked for.
    """
    claim = read_claim(signed.graph)
    if claim is None and not signed.failed[0]:
        raise OperatorError(
            "what is found there is no graph", next_step="Give a graph, or what one was saved in."
        )
    named = signed.claimed if claim is None else claim.prov_id
    stated = _stated(signed)
    known = {named} if stated is None else {named, stated.prov_id}
    if asked.prov_id is not None and asked.prov_id not in known:
        raise OperatorError(
            f"the graph is that of {printable(named)}", next_step="Name that, or another file."
        )
    return named


def _view(signed: Signed) -> View | None:
    """Return a graph to be looked at, None for one that verifiers refuse."""
    try:
        return view_graph(read_graph(signed.graph)[0])
    except GraphRefused:
        return None


def _faults(signed: Signed) -> tuple[str, ...]:
    claim = read_claim(signed.graph)
    return () if claim is None else find_faults(claim)


def _judge(place: Place, signed: Signed, asked: Asked) -> Report | None:
    """Make the checks that need no request, response or salt.

    None if nothing can be said without keys or a signature: the graph hangs together, and it is the
    one that the statement beside it names.
    """
    verify = _verification(place, asked)
    report = None if verify is None or not signed.jws else verify(signed)
    number, detail = signed.failed if signed.failed[0] else _contradiction(signed)
    if not number:
        return report
    findings = Findings()
    findings.fails(number, detail)
    broken = findings.checks()
    if report is not None:
        broken = tuple(
            one if made.outcome == "skip" else made
            for one, made in zip(broken, report.checks, strict=True)
        )
    return Report("INVALID", None, broken, "", None)


def _contradiction(signed: Signed) -> tuple[int, str]:
    """Return which check a graph and its statement fail whoever signed it; 0 if they fit."""
    stated, findings = _stated(signed), Findings()
    if stated is not None:
        check_graph(stated, signed.graph, findings)
    else:
        try:
            read_graph(signed.graph)
        except GraphRefused as error:
            findings.fails(_GRAPH, str(error))
    check = findings.checks()[_GRAPH - 1]
    return (check.number, check.detail) if check.outcome == "fail" else (0, "")


def _stated(signed: Signed) -> Statement | None:
    try:
        return read_statement(signed.statement)
    except StatementRefused:
        return None


def _verification(place: Place, asked: Asked) -> Callable[[Signed], Report] | None:
    try:
        if asked.jwks is not None:
            verifier, trust = Verifier(read_jwks(asked.jwks.read_bytes())), LedgerTrust()
        elif place.keyring:
            ring = trusted_ring(place.keyring, None)[0].ring
            verifier, trust = Verifier(ring_keys(ring)), LedgerTrust(ring=ring)
        else:
            return None
    except (KeyRefused, KeyRingRefused) as error:
        raise OperatorError(
            f"the keys of {place.name} cannot be used: {error}",
            next_step="`verismo doctor` looks at a data folder's; get a file's again.",
        ) from error

    def verify(signed: Signed) -> Report:
        proof = ProofHeaders("", b"", signed.statement, signed.jws)
        graph = signed.graph or None
        report = verifier.answer(proof, None, None, Expectation(), graph)
        return verify_ledger(report, None, trust)

    return verify


def _check_calls(view: View, place: Place) -> tuple[CallCheck, ...]:
    """Check for each joined call that its own signature covers the response in this graph."""
    ring = trusted_ring(place.keyring, None)[0].ring
    verifier = Verifier(ring_keys(ring))
    return tuple(
        CallCheck(
            call.prov_id,
            response + 1,
            _problem(verifier, place.find(call.prov_id) if call.prov_id else None, view, response),
        )
        for response, call in view.calls.items()
        if response != view.answer.response
    )


def _problem(verifier: Verifier, signed: Signed | None, view: View, response: int) -> str:
    """Say why a joined call is not proven by itself, nothing if it is."""
    if signed is None:
        return "there is no record of it"
    proof = ProofHeaders(view.calls[response].prov_id, b"", signed.statement, signed.jws)
    report = verifier.answer(proof, None, None, Expectation(), signed.graph)
    if _verdict(report) == "INVALID" or report.statement is None:
        return "its record is INVALID"
    if report.statement.dag.root != view.ids[response]:
        return "its signature covers another root"
    return ""


def _verdict(report: Report | None) -> str:
    """Return the verdict on a graph: that an answer ended early is no fault of its graph."""
    if report is None:
        return UNCHECKED
    failed = [check.number for check in report.checks if check.outcome == "fail"]
    if not failed:
        return "VERIFIED"
    return "VERIFIED, incomplete answer" if failed == [_COMPLETENESS] else "INVALID"


def _lines(
    place: Place, signed: Signed, report: Report | None, calls: tuple[CallCheck, ...]
) -> list[str]:
    """Say where the graph is from, who signed it and what was checked."""
    lines = [f"from      {place.name}", *_signer(signed)]
    if report is None:
        why = "there are no keys; name them by --jwks or --keyring"
        reason = why if signed.jws else "there is no signature with the graph"
        return [*lines, f"verdict   {UNCHECKED}: {reason}"]
    lines.append(f"verdict   {_verdict(report)}{f', by {place.keys}' if place.keys else ''}")
    for outcome, head in (("pass", "passed"), ("fail", "failed"), ("skip", "not made")):
        found = [check for check in report.checks if check.outcome == outcome]
        if outcome == "fail":
            lines += [f"{head:9} {one}" for one in _failed(report)]
        elif found:
            names = ", ".join(f"{one.number} {one.name}" for one in found)
            lines.append(f"{head:9} {names}")
    for call in calls:
        state = call.problem or "its own signature covers it"
        lines.append(f"call      {call.prov_id or '(no id)'} (hop {call.number}): {state}")
    return lines


def _failed(report: Report | None) -> list[str]:
    checks = () if report is None else report.checks
    failed = [check for check in checks if check.outcome == "fail"]
    return [f"{one.number} {one.name}: {one.detail}" for one in failed]


def _signer(signed: Signed) -> list[str]:
    stated = _stated(signed)
    if stated is None:
        return []
    where = f"{stated.seq.signer} number {stated.seq.n}, region {stated.region}"
    return [
        f"signed    {moment_utc(stated.iat)} by {stated.iss}, {where}",
        f"operation {stated.op}, policy {stated.policy.decision}, cache {stated.cache}",
    ]


def _write(asked: Asked, view: View, signed: Signed) -> None:
    graph = read_graph(signed.graph)[0]
    record = ProvRecord(graph, base64url.encode(signed.statement), signed.jws)
    documents: tuple[tuple[Path | None, Callable[[], bytes]], ...] = (
        (asked.svg, lambda: write_svg(view)),
        (asked.prov_json, lambda: write_prov_json(record)),
        (asked.dot, lambda: write_dot(view)),
    )
    for path, make in documents:
        if path == Path("-"):
            click.echo(make(), nl=False)
        elif path is not None:
            write_whole(path, make())
