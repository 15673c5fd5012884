"""Where `verismo prov show` finds a graph: a data folder, a gateway, or a file that was saved."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from verismo.attest.exchange import ExchangeRefused, fold, octets, read_exchange
from verismo.attest.headers import HeadersRefused, read_proof_headers
from verismo.attest.provdocument import DocumentRefused
from verismo.attest.provenance import GraphRefused
from verismo.attest.provfaults import read_claim
from verismo.attest.provjson import read_prov_claim, read_prov_json
from verismo.attest.statement import StatementRefused, read_statement
from verismo.attest.stream import (
    BlockSplitter,
    SignedComment,
    StreamRefused,
    parse_signed_comment,
)
from verismo.model import base64url, canonical
from verismo.model.errors import OperatorError
from verismo.model.ids import ProvId
from verismo.wiring.provenance import KeptAnswers

KEYRING_PATH = "/.well-known/attest/keyring.json"
_FILES = "Give an answer of /v1/prov/, a saved exchange, PROV-JSON, or a graph."


class Signed(msgspec.Struct, frozen=True):
    """A graph with what signs it.

    Args:
        graph: canonical JSON; empty if it was spelt otherwise and could not be read.
        statement: the signed bytes; empty if they are not known.
        jws: the detached signature; empty if it is not known.
        claimed: the answer that it says it is, where the graph itself does not.
        failed: number of the check that reading it has failed already, and what is wrong; 0 if
            none has.
    """

    graph: bytes
    statement: bytes = b""
    jws: str = ""
    claimed: str = ""
    failed: tuple[int, str] = (0, "")


class Place(msgspec.Struct, frozen=True):
    """A place where graphs are found.

    Args:
        name: of the place, for people.
        find: returns the graph of an answer, None if there is none.
        keyring: the key ring of the gateway that signed; empty if the place has none.
        keys: whose keys these are, for people.
    """

    name: str
    find: Callable[[str], Signed | None]
    keyring: bytes
    keys: str


class _Served(msgspec.Struct, frozen=True):
    """A record as `/v1/prov/` serves it."""

    prov_id: str
    statement: str
    signature: str
    graph: msgspec.Raw


class _Members(msgspec.Struct, frozen=True):
    """By which members a saved file is told from others."""

    statement: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    prefix: msgspec.Raw = msgspec.Raw()


@contextmanager
def folder(data: Path) -> Iterator[Place]:
    """Open a data folder as a place."""
    with closing(KeptAnswers(data)) as answers:

        def find(prov_id: str) -> Signed | None:
            record = answers.find(ProvId(prov_id))
            if record is None:
                return None
            return Signed(record.graph, record.statement, record.jws.decode("ascii"))

        yield Place(f"data folder {data}", find, answers.keyring(), "its key ring")


@contextmanager
def gateway(url: str, key: str) -> Iterator[Place]:
    """Open a gateway as a place.

    Args:
        url: its address without a path.
        key: an API key of the answer's tenant, or an auditor's.
    """
    from verismo.cli.live import fetch, fetch_with_key  # noqa: PLC0415 - files need no HTTP client

    base = url.rstrip("/")

    def find(prov_id: str) -> Signed | None:
        document = fetch_with_key(f"{base}/v1/prov/{prov_id}", key)
        return None if document is None else _served(document, f"{base}/v1/prov/{prov_id}")

    yield Place(f"gateway {base}", find, fetch(base + KEYRING_PATH), "the key ring that it serves")


def read_saved(path: Path) -> Signed:
    """Read a file: a record as served, an exchange, PROV-JSON, or the graph alone.

    Raises:
        OperatorError: it is none of these, or an exchange without its graph.
    """
    document = path.read_bytes()
    try:
        members = msgspec.json.decode(document, type=_Members)
        if bytes(members.response):
            return _exchanged(document, path)
        if bytes(members.prefix):
            return _spelled(document)
        if bytes(members.statement):
            return _served(document, str(path))
    except (
        msgspec.MsgspecError,
        UnicodeError,
        DocumentRefused,
        base64url.NotBase64,
    ) as error:
        raise OperatorError(
            f"{path} holds no graph: {error}",
            next_step=_FILES,
        ) from error
    if read_claim(document) is None:
        raise OperatorError(f"{path} holds no graph", next_step=_FILES)
    return Signed(document.strip())


def _spelled(document: bytes) -> Signed:
    """Read PROV-JSON; hops that are not what they were are for the verdict to tell.

    Raises:
        DocumentRefused: it is none of our mapping.
    """
    try:
        record = read_prov_json(document)
        statement = base64url.decode(record.statement)
        return Signed(canonical.encode(record.graph), statement, record.signature)
    except (DocumentRefused, GraphRefused, base64url.NotBase64) as error:
        claim = read_prov_claim(document)
        if claim is None:
            raise
        return Signed(
            b"", _decoded(claim.statement), claim.signature, claim.answer, (13, str(error))
        )


def _decoded(text: str) -> bytes:
    try:
        return base64url.decode(text)
    except base64url.NotBase64:
        return b""


def _served(document: bytes, name: str) -> Signed:
    try:
        served = msgspec.json.decode(document, type=_Served)
        statement = base64url.decode(served.statement)
    except (msgspec.MsgspecError, UnicodeError, base64url.NotBase64) as error:
        raise OperatorError(
            f"{name} is no record of a Verismo gateway: {error}", next_step="Check the address."
        ) from error
    return Signed(bytes(served.graph), statement, served.signature)


def _exchanged(document: bytes, path: Path) -> Signed:
    try:
        exchange = read_exchange(document)
    except ExchangeRefused as error:
        raise OperatorError(
            f"{path}: {error}", next_step="`verismo verify --url ... --save FILE` writes one."
        ) from error
    if exchange.graph is None:
        raise OperatorError(
            f"{path} was saved without its graph",
            next_step="Ask the gateway for it: `verismo prov show PROV_ID --url ...`.",
        )
    graph = exchange.graph.encode("utf-8")
    try:
        proof = read_proof_headers(fold(exchange.response.headers))
    except HeadersRefused as error:
        return Signed(graph, failed=(1, str(error)))
    if proof is None or proof.statement:
        return Signed(graph) if proof is None else Signed(graph, proof.statement, proof.jws)
    ended = _final_statement(octets(exchange.response))
    return Signed(graph) if ended is None else Signed(graph, ended.payload, ended.jws)


def _final_statement(body: bytes) -> SignedComment | None:
    """Return what the last comment of a stream carries; None if that is no statement."""
    try:
        comments = [parse_signed_comment(block) for block in BlockSplitter().blocks(body)]
        signed = [comment for comment in comments if comment is not None]
        if signed:
            read_statement(signed[-1].payload)
            return signed[-1]
    except (StreamRefused, StatementRefused):
        return None  # it was cut before its end, or there are heads alone
    return None
