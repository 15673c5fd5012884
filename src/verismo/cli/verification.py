"""What `verismo verify` was told, and what verifies an exchange by it.

Loads no HTTP client unless an address was given.
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import (
    Exchange,
    expectation,
    verify_exchange,
)
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keyring import KeyRing
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.merkle import ProofRefused
from verismo.attest.tlogproof import read_proof
from verismo.attest.verify import Expectation, Report, Verifier, refused_keys
from verismo.attest.verify_ledger import (
    LedgerTrust,
    Proof,
    refused_ring,
    ring_keys,
    verify_ledger,
)
from verismo.cli.tiles import proof_from
from verismo.cli.trust import believe_ring, read_log_key, read_witness_policy
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
    proof: str | None
    tiles: str | None
    index: int | None
    log_key: tuple[str, ...]
    witness_policy: str | None
    keyring: str | None
    remember: str | None
    with_proof: bool
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
        named = (self.jwks, self.keyring, self.url)
        return any(one is not None for one in named) or self.trust_embedded_keys

    @property
    def knows_log(self) -> bool:
        """Whether there may be a key to verify a proof with."""
        return bool(self.log_key or self.witness_policy or self.keyring)


def judge_by(options: Options) -> Callable[[Exchange], Report]:
    """Read what is trusted, once, and return what verifies by it."""
    published = _published(options.jwks)
    policy = options.witness_policy
    try:
        trust = LedgerTrust(
            log_keys=tuple(read_log_key(text) for text in options.log_key),
            policy=None if policy is None else read_witness_policy(Path(policy)),
            ring=_ring(options),
        )
    except KeyRingRefused as error:
        refused = refused_ring(error)
        return lambda _: refused
    return lambda exchange: _verify(exchange, published, trust, options)


def _ring(options: Options) -> KeyRing | None:
    document = _published(options.keyring)
    if document is None:
        return None
    return believe_ring(document, None if options.remember is None else Path(options.remember))


def _verify(
    exchange: Exchange, published: bytes | None, trust: LedgerTrust, options: Options
) -> Report:
    """Make checks 1 to 14, and those of the ledger on their report."""
    try:
        verifier = _verifier(exchange, published, trust)
    except KeyRefused as error:
        return refused_keys(error)
    if options.graph is not None:
        exchange = msgspec.structs.replace(exchange, graph=_graph(Path(options.graph)))
    plain = msgspec.structs.replace(exchange, proof=None)
    report = verify_exchange(verifier, plain, _expected(exchange, options))
    return verify_ledger(report, _proof(exchange, report, options), trust)


def _verifier(exchange: Exchange, published: bytes | None, trust: LedgerTrust) -> Verifier:
    """Verify with the keys that were given, else with those that came along."""
    if published is None and trust.ring is not None:
        return Verifier(ring_keys(trust.ring))
    document = bytes(exchange.jwks) if published is None else published
    if not document:
        raise OperatorError(
            "there is no key set to verify with",
            next_step="Give --jwks FILE or --jwks https://HOST/.well-known/attest/jwks.json.",
        )
    return Verifier(read_jwks(document))


def _proof(exchange: Exchange, report: Report, options: Options) -> Proof:
    """Return the proof file that was given, or came along, or follows from the tiles."""
    given = None if exchange.proof is None else exchange.proof.encode("utf-8")
    if options.proof is not None:
        given = Path(options.proof).read_bytes()
    if options.tiles is None:
        return given
    try:
        index = options.index
        if index is None and given is not None:
            index = read_proof(given).index
        return proof_from(options.tiles, index, report)
    except ProofRefused as error:
        return error


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


def check_ledger_options(options: Options) -> None:
    """Refuse options of the ledger that would do nothing."""
    if (options.proof or options.tiles) and not options.knows_log:
        raise click.UsageError("a proof says nothing without --log-key (or --keyring)")
    if options.index is not None and (options.tiles is None or options.proof is not None):
        raise click.UsageError("--index belongs to --tiles; a --proof has its own")
    if options.remember is not None and options.keyring is None:
        raise click.UsageError("--remember belongs to --keyring")
    if options.with_proof and options.url is None:
        raise click.UsageError("--with-proof belongs to --url; --proof takes a file")
    single = options.proof is not None or options.index is not None
    if single and len(options.exchanges) > 1:
        raise click.UsageError("--proof and --index belong to one EXCHANGE")


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
            f"{jwks} cannot be read: {error.strerror}", next_step="Name a file or a URL."
        ) from error
