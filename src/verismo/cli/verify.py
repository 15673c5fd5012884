"""`verismo verify`: verify answers offline, from files, or one live.

Works with the core dependencies alone; offline it loads no HTTP client.
"""

import base64
import sys
import time
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import (
    VERSION,
    Exchange,
    ExchangeRefused,
    SavedRequest,
    SavedResponse,
    expectation,
    read_exchange,
    verify_exchange,
)
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.statement import Statement
from verismo.attest.verify import Check, Expectation, Report, Verifier, refused_keys
from verismo.cli.vectors import differs, read_vectors, run_vector
from verismo.model.errors import OperatorError


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of `verismo verify`; see its `--help`."""

    exchanges: tuple[str, ...]
    request: str | None
    response_headers: str | None
    response_body: str | None
    method: str
    path: str | None
    jwks: str | None
    graph: str | None
    issuer: str | None
    audience: str | None
    nonce: str | None
    max_age: float | None
    url: str | None
    key: str | None
    model: str | None
    prompt: str
    stream: bool
    save: str | None
    vectors: str | None
    trust_embedded_keys: bool
    as_json: bool

    @property
    def trusts(self) -> bool:
        """Whether the keys are ones that the caller chose, and not those of a file's author."""
        return self.jwks is not None or self.url is not None or self.trust_embedded_keys


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One verified answer as `--json` prints it.

    Args:
        source: file or address.
        trusted: whether the caller chose the keys; if not, the verdict says nothing of who signed.
        verdict, prov_id, checks, events, statement: see `Report`.
        expected_by_file: which expectations were taken from the exchange itself.
    """

    source: str
    trusted: bool
    verdict: str
    prov_id: str
    checks: tuple[Check, ...]
    events: int | None = None
    statement: Statement | None = None
    expected_by_file: tuple[str, ...] = ()


_FILE = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("exchanges", nargs=-1, metavar="[EXCHANGE]...", type=_FILE)
@click.option("--request", type=_FILE, help="The request's body, with --response-headers.")
@click.option("--response-headers", type=_FILE, help="As `curl -D FILE` writes them.")
@click.option("--response-body", type=_FILE, help="As `curl -o FILE` writes it.")
@click.option("--method", default="POST", show_default=True, help="The request's method.")
@click.option("--path", help="The request's path, with its query if it had one.")
@click.option("--jwks", metavar="FILE|URL", help="The key set to trust.")
@click.option("--graph", type=_FILE, help="The provenance graph, as /v1/prov/ID serves it.")
@click.option("--issuer", help="The gateway that must have signed.")
@click.option("--audience", help="The tenant handle that must stand in the statement.")
@click.option("--nonce", help="The Attest-Nonce that was sent.")
@click.option("--max-age", type=float, metavar="SECONDS", help="How old the answer may be.")
@click.option("--url", help="A gateway: make one live call and verify its answer.")
@click.option("--key", metavar="vk_...", help="The API key, with --url.")
@click.option("--model", metavar="OP", help="The operation to call, with --url.")
@click.option("--prompt", default="Say hello.", show_default=True, help="What to ask, with --url.")
@click.option("--stream", is_flag=True, help="Ask for a stream, with --url.")
@click.option("--save", type=click.Path(dir_okay=False), help="Keep the exchange, with --url.")
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

    Whoever wrote EXCHANGE chose the keys in it, so they prove nothing: name your own by --jwks.

    Exit codes: 0 all verified by trusted keys, 1 something is not, 2 wrong usage.
    """
    options = msgspec.convert(given, Options)
    parts = (options.response_headers, options.response_body)
    ways = (bool(options.exchanges), any(parts), bool(options.url), bool(options.vectors))
    if sum(ways) != 1:
        raise click.UsageError("give one of: EXCHANGE..., --response-headers, --url, --vectors")
    if options.vectors is not None:
        sys.exit(_run_vectors(Path(options.vectors), options.as_json))
    if options.url is not None:
        sources = [(options.url, _live(options))]
    elif options.exchanges:
        sources = [(name, _read(name)) for name in options.exchanges]
    else:
        sources = [(str(options.response_body), _from_parts(options))]
    published = _published(options.jwks)
    results = [
        _result(name, _verify(exchange, published, options), exchange, options)
        for name, exchange in sources
    ]
    if options.as_json:
        click.echo(msgspec.json.encode(results))
    else:
        for result in results:
            click.echo(_human(result))
    sys.exit(0 if all(r.trusted and r.verdict == "VERIFIED" for r in results) else 1)


def _verify(exchange: Exchange, published: bytes | None, options: Options) -> Report:
    """Verify with the keys that were given, else with those that came along."""
    document = bytes(exchange.jwks) if published is None else published
    if not document:
        raise OperatorError(
            "there is no key set to verify with",
            next_step="Give --jwks FILE or --jwks https://HOST/.well-known/attest/jwks.json.",
        )
    try:
        verifier = Verifier(read_jwks(document))
    except KeyRefused as error:
        return refused_keys(error)
    if options.graph is not None:
        exchange = msgspec.structs.replace(exchange, graph=_graph(Path(options.graph)))
    return verify_exchange(verifier, exchange, _expected(exchange, options))


def _expected(exchange: Exchange, options: Options) -> Expectation:
    """Options overrule what the exchange says of itself."""
    saved = expectation(exchange)
    now_ms, age_ms_max = saved.now_ms, saved.age_ms_max
    if options.max_age is not None or options.url is not None:
        now_ms = time.time_ns() // 1_000_000
    if options.max_age is not None:
        age_ms_max = round(options.max_age * 1_000)
    return Expectation(
        issuer=options.issuer if options.issuer is not None else saved.issuer,
        audience=options.audience if options.audience is not None else saved.audience,
        nonce=options.nonce if options.nonce is not None else saved.nonce,
        now_ms=now_ms,
        age_ms_max=age_ms_max,
    )


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
    status, headers = _curl_headers(Path(options.response_headers))
    request = None
    if options.path is not None and options.request is not None:
        path, _, query = options.path.partition("?")
        body = _base64(Path(options.request).read_bytes())
        request = SavedRequest(options.method.upper(), path, query, body)
    body = _base64(Path(options.response_body).read_bytes())
    return Exchange(
        v=VERSION, request=request, response=SavedResponse(status, headers, body_base64=body)
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _curl_headers(path: Path) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Read what `curl -D` wrote: the last block counts, those before are interim answers."""
    text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
    blocks = [block for block in text.split("\n\n") if block.startswith("HTTP/")]
    if not blocks:
        raise OperatorError(
            f"{path} holds no response headers", next_step="Write it with `curl -D FILE`."
        )
    first, *lines = blocks[-1].strip("\n").split("\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not (words[1].isascii() and words[1].isdigit()):
        raise OperatorError(f"{path} has no status line", next_step="Write it with `curl -D FILE`.")
    pairs = [line.partition(":") for line in lines]
    return int(words[1]), tuple((name, value.strip(" \t")) for name, _, value in pairs)


class _Record(msgspec.Struct, frozen=True):
    """The part of a provenance record that is verified here."""

    graph: msgspec.Raw


def _graph(path: Path) -> str:
    """Return the graph's exact text, out of the record that holds it or on its own."""
    document = path.read_bytes()
    try:
        document = bytes(msgspec.json.decode(document, type=_Record).graph)
    except (msgspec.MsgspecError, UnicodeError):
        return document.decode("utf-8", "replace")
    return document.decode("utf-8")


def _published(jwks: str | None) -> bytes | None:
    if jwks is None:
        return None
    if jwks.startswith(("https://", "http://")):
        from verismo.cli.live import fetch  # noqa: PLC0415 - offline use loads no HTTP client

        return fetch(jwks)
    try:
        return Path(jwks).read_bytes()
    except OSError as error:
        raise OperatorError(
            f"{jwks} cannot be read: {error.strerror}", next_step="Name a key set file or URL."
        ) from error


def _live(options: Options) -> Exchange:
    from verismo.cli.live import Call, call  # noqa: PLC0415 - offline use loads no HTTP client

    if options.key is None or options.model is None or options.url is None:
        raise click.UsageError("--url needs --key and --model")
    exchange = call(
        Call(
            url=options.url,
            key=options.key,
            model=options.model,
            prompt=options.prompt,
            stream=options.stream,
            nonce=options.nonce or "",
        )
    )
    if options.save is not None:
        Path(options.save).write_bytes(msgspec.json.format(msgspec.json.encode(exchange)))
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
