"""`verismo verify`: verify answers offline, from files, or one live.

Works with the core dependencies alone; offline it loads no HTTP client.
"""

import sys
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import (
    Exchange,
    ExchangeRefused,
    read_exchange,
)
from verismo.attest.statement import Statement
from verismo.attest.verify import Check, Report
from verismo.cli.curl import Kept, read_kept
from verismo.cli.vectors import differs, read_vectors, run_vector
from verismo.cli.verification import Options, check_ledger_options, judge_by
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One verified answer as `--json` prints it.

    Args:
        source: file or address.
        trusted: whether the caller chose the keys; if not, the verdict says nothing of who signed.
        verdict, prov_id, checks, events, statement: see `Report`.
        status: of the HTTP response.
        expected_by_file: which expectations were taken from the exchange itself.
    """

    source: str
    trusted: bool
    verdict: str
    prov_id: str
    checks: tuple[Check, ...]
    status: int
    events: int | None = None
    statement: Statement | None = None
    expected_by_file: tuple[str, ...] = ()


_FILE = click.Path(exists=True, dir_okay=False)
_PATH = click.Path(dir_okay=False)


@click.command()
@click.argument("exchanges", nargs=-1, metavar="[EXCHANGE]...", type=_FILE)
@click.option("--request", type=_FILE, help="The request's body, with --response-headers.")
@click.option("--response-headers", type=_FILE, help="As `curl -D FILE` writes them.")
@click.option("--response-body", type=_FILE, help="As `curl -o FILE` writes it.")
@click.option("--method", default="POST", show_default=True, help="The request's method.")
@click.option("--path", help="The request's path, with its query if it had one.")
@click.option("--jwks", metavar="FILE|URL", help="The key set to trust.")
@click.option("--graph", type=_FILE, help="The provenance graph, as /v1/prov/ID serves it.")
@click.option("--proof", type=_FILE, help="The ledger's proof, as /v1/attest/ID/proof serves it.")
@click.option("--tiles", metavar="DIR|URL", help="Make the proof from a log's published tiles.")
@click.option("--index", type=click.IntRange(0), help="The entry's index, with --tiles.")
@click.option("--log-key", multiple=True, metavar="VKEY", help="The key of a log; demands a proof.")
@click.option("--witness-policy", type=_FILE, help="Who has to have cosigned; demands a proof.")
@click.option("--keyring", metavar="FILE|URL", help="The key ring to trust.")
@click.option("--remember", type=_PATH, help="Refuse older rings than were seen, with --keyring.")
@click.option("--issuer", help="The gateway that must have signed.")
@click.option("--audience", help="The tenant handle that must stand in the statement.")
@click.option("--nonce", help="The Attest-Nonce that was sent.")
@click.option("--max-age", type=float, metavar="SECONDS", help="How old the answer may be.")
@click.option("--url", help="A gateway: make one live call and verify its answer.")
@click.option("--key", metavar="vk_...", help="The API key, with --url.")
@click.option("--model", metavar="OP", help="The operation to call, with --url.")
@click.option("--prompt", default="Say hello.", show_default=True, help="What to ask, with --url.")
@click.option("--stream", is_flag=True, help="Ask for a stream, with --url.")
@click.option("--with-proof", is_flag=True, help="Wait for the ledger's proof, with --url.")
@click.option("--save", type=_PATH, help="Keep the exchange, with --url.")
@click.option("--vectors", type=click.Path(exists=True, file_okay=False), help="Run test vectors.")
@click.option(
    "--trust-embedded-keys",
    is_flag=True,
    help="Trust the keys in EXCHANGE: only if you wrote it yourself.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def verify(**given: object) -> None:
    """Verify answers, offline or live.

    EXCHANGE is a saved HTTP exchange (docs/attestation-format.md). Instead of it give the parts:
    --request, --response-headers and --response-body; or --url for one live call.

    Whoever wrote EXCHANGE chose the keys in it, so they prove nothing: name your own by --jwks or
    --keyring. A proof of the ledger, in EXCHANGE or by --proof, is verified by --log-key or by the
    log keys of the key ring.

    Exit codes: 0 all verified by trusted keys, 1 something is not, 2 wrong usage.
    """
    options = msgspec.convert(given, Options)
    parts = (options.response_headers, options.response_body)
    ways = (bool(options.exchanges), any(parts), bool(options.url), bool(options.vectors))
    if sum(ways) != 1:
        raise click.UsageError("give one of: EXCHANGE..., --response-headers, --url, --vectors")
    check_ledger_options(options)
    if options.vectors is not None:
        sys.exit(_run_vectors(Path(options.vectors), options.as_json))
    if options.url is not None:
        sources = [(options.url, _live(options))]
    elif options.exchanges:
        sources = [(name, _read(name)) for name in options.exchanges]
    else:
        sources = [(str(options.response_body), _from_parts(options))]
    judge = judge_by(options)
    results = [_result(name, judge(exchange), exchange, options) for name, exchange in sources]
    if options.as_json:
        click.echo(msgspec.json.encode(results))
    else:
        for result in results:
            click.echo(_human(result))
    sys.exit(0 if all(r.trusted and r.verdict == "VERIFIED" for r in results) else 1)


def _read(name: str) -> Exchange:
    try:
        return read_exchange(Path(name).read_bytes())
    except ExchangeRefused as error:
        raise OperatorError(
            f"{name}: {error}", next_step="`verismo verify --url ... --save FILE` writes one."
        ) from error


def _from_parts(options: Options) -> Exchange:
    if options.response_headers is None or options.response_body is None:
        raise click.UsageError("--response-headers and --response-body belong together")
    if (options.request is None) != (options.path is None):
        raise click.UsageError("--request and --path belong together")
    return read_kept(
        Kept(
            headers=Path(options.response_headers),
            body=Path(options.response_body),
            request=None if options.request is None else Path(options.request),
            method=options.method,
            path=options.path or "",
        )
    )


def _live(options: Options) -> Exchange:
    from verismo.cli.live import Call, call, with_proof  # noqa: PLC0415 - offline use loads no HTTP client

    if options.key is None or options.model is None or options.url is None:
        raise click.UsageError("--url needs --key and --model")
    asked = Call(
        url=options.url,
        key=options.key,
        model=options.model,
        prompt=options.prompt,
        stream=options.stream,
        nonce=options.nonce or "",
    )
    exchange = call(asked)
    if options.with_proof:
        exchange = with_proof(asked, exchange)
    if options.save is not None:
        write_whole(Path(options.save), msgspec.json.format(msgspec.json.encode(exchange)))
    return exchange


def _run_vectors(folder: Path, as_json: bool) -> int:
    vectors = [(vector, run_vector(vector)) for vector in read_vectors(folder)]
    wrong = [vector.name for vector, report in vectors if differs(vector, report)]
    if as_json:
        verdicts = {vector.name: report.verdict for vector, report in vectors}
        click.echo(msgspec.json.encode(verdicts))
    else:
        for vector, report in vectors:
            mark = "DIFFERS" if vector.name in wrong else "ok"
            click.echo(f"{mark:8}{report.verdict:16} {vector.name}")
        click.echo(f"{len(vectors) - len(wrong)} of {len(vectors)} vectors as expected")
    return 1 if wrong else 0


def _result(name: str, report: Report, exchange: Exchange, options: Options) -> Result:
    return Result(
        source=name,
        trusted=options.trusts,
        verdict=report.verdict,
        prov_id=report.prov_id,
        checks=report.checks,
        status=exchange.response.status,
        events=report.events,
        statement=report.statement,
        expected_by_file=_expected_by_file(exchange, options),
    )


def _expected_by_file(exchange: Exchange, options: Options) -> tuple[str, ...]:
    """Name what was expected only because the file says so; of a live call nothing is."""
    if options.url is not None:
        return ()
    saved = {
        "issuer": (exchange.issuer, options.issuer),
        "audience": (exchange.audience, options.audience),
        "nonce": (exchange.nonce, options.nonce),
        "now_ms": (exchange.now_ms, options.max_age),
        "age_ms_max": (exchange.age_ms_max, options.max_age),
    }
    return tuple(
        name for name, (told, given) in saved.items() if told is not None and given is None
    )


def _human(result: Result) -> str:
    """Lay a result out; what cannot be printed becomes `?`."""
    lines = [f"{result.source}: {result.prov_id or 'no proof'}"]
    lines += [f"{c.number:3} {c.name:15} {c.outcome:5} {c.detail}" for c in result.checks]
    if result.expected_by_file:
        lines.append(
            f"note: expected as the file itself says: {', '.join(result.expected_by_file)}"
        )
    if result.verdict == "UNSIGNED" and result.status >= 400:
        lines.append(
            f"note: the answer is a refusal with HTTP status {result.status}; such a one is not "
            "signed if the caller is not known or nothing can be signed"
        )
    count = "" if result.events is None else f" ({result.events} events)"
    verdict = f"{result.verdict}{count}"
    if not result.trusted:
        lines.append(
            f"note: {verdict} by keys that came in the file, which whoever wrote it chose; "
            "--jwks names yours"
        )
        verdict = "NOT TRUSTED"
    lines.append(verdict)
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
