"""The statement: the small JSON that is signed for each answer. It holds hashes, never content.

Also the head: the smaller JSON that is signed for a prefix of a stream. Field names are short and
stable because they are signed (decisions 4); `docs/attestation-format.md` explains each.
"""

import re
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from verismo.model import canonical
from verismo.model.ids import is_prov_id

VERSION = 1
STATEMENT_BYTES_MAX = 2_048
"""It travels in a response header (decisions 4)."""
NONCE_CHARS_MAX = 86
"""64 bytes as base64url."""

Mode = Literal["body", "sse"]
CacheState = Literal["off", "miss", "hit"]
Decision = Literal["allow", "deny", "none"]
"""The policy's decision; `none` where a request was refused before the policy was asked."""

_nonce = re.compile(f"[A-Za-z0-9_-]{{1,{NONCE_CHARS_MAX}}}").fullmatch


class StatementRefused(ValueError):
    """The bytes are not a statement or head of this version, and why."""


class StatedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was asked: method and path in clear, the rest as commitments.

    Args:
        method: upper case.
        path: as sent, percent-encoding kept, without the query.
        commit: `commit("req", body)`, hex.
        len: octets of the body.
        query: `commit("query", query string)` if there was one.
        doc: for GraphQL the id of the registered document.
    """

    method: str
    path: str
    commit: str
    len: int
    query: str | UnsetType = UNSET
    doc: str | UnsetType = UNSET


class StatedResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was answered.

    Args:
        status: HTTP status.
        media: content type as sent.
        mode: `body`, or `sse` for a stream.
        commit: `commit("res", body)`, or the chain's last head for a stream; hex.
        len: octets of the body, or of all events.
        fin: true if the answer is complete; false if a stream ended early.
        events: for a stream, how many events the chain holds.
    """

    status: int
    media: str
    mode: Mode
    commit: str
    len: int
    fin: bool
    events: int | UnsetType = UNSET


class StatedGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The provenance graph's root id, hex, and its number of nodes."""

    root: str
    nodes: int


class StatedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which provider and model answered, as the provider names it."""

    provider: str
    id: str


class StatedUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens as the provider counted them."""

    input: int = msgspec.field(name="in")
    output: int = msgspec.field(name="out")


class StatedPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policy bundle decided (hex SHA-256), and what."""

    bundle: str
    decision: Decision


class Sequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signer slot and its gapless counter: a dropped record is provable."""

    signer: str
    n: int


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that one signature says about one answer.

    Args:
        v: format version, 1.
        iss: the gateway that answers for it, as its operator named it; best a URL.
        prov_id: UUIDv7.
        iat: when it was signed, Unix ms.
        aud: opaque handle of the tenant; says nothing to others, is stable for the tenant.
        region: the tenant's home region, where the record is kept.
        op: id of the operation, `-` if none was resolved.
        req, res, dag, policy, cache, seq: see their types.
        plan: hex digest of the steering in force; without any, of the configuration's plan.
        nonce: the client's `Attest-Nonce`, if it sent one.
        model, usage, cost_usd_micros: if a provider answered and said so.
    """

    v: int
    iss: str
    prov_id: str
    iat: int
    aud: str
    region: str
    op: str
    req: StatedRequest
    res: StatedResponse
    dag: StatedGraph
    policy: StatedPolicy
    cache: CacheState
    plan: str
    seq: Sequence
    nonce: str | UnsetType = UNSET
    model: StatedModel | UnsetType = UNSET
    usage: StatedUsage | UnsetType = UNSET
    cost_usd_micros: int | UnsetType = UNSET


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed for the first `n` events of a stream.

    Args:
        v, iss, prov_id, iat, aud, nonce: as in the statement.
        n: how many events the head covers; 0 before the first.
        head: the chain after those events, hex.
    """

    v: int
    iss: str
    prov_id: str
    iat: int
    aud: str
    n: int
    head: str
    nonce: str | UnsetType = UNSET


class Void(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed for a recorded gap: numbers that were given out and never served.

    Args:
        v, iss, prov_id, iat: as in the statement; the prov_id is a fresh one.
        signer: the slot.
        first, last: the numbers of the gap, both included.
    """

    v: int
    iss: str
    prov_id: str
    iat: int
    signer: str
    first: int
    last: int


def read_statement(data: bytes) -> Statement:
    """Parse received statement bytes strictly.

    Args:
        data: the signed bytes, at most 2,048.

    Raises:
        StatementRefused: too long, not canonical, another version, or a field out of its domain.
    """
    statement = _read(data, Statement)
    for name, value in (
        ("req.commit", statement.req.commit),
        ("res.commit", statement.res.commit),
        ("dag.root", statement.dag.root),
        ("plan", statement.plan),
    ):
        _require_digest(name, value)
    if statement.req.query is not UNSET:
        _require_digest("req.query", statement.req.query)
    if (statement.res.mode == "sse") != (statement.res.events is not UNSET):
        raise StatementRefused("`events` belongs to mode sse, and to no other")
    counts = (
        statement.req.len,
        statement.res.len,
        statement.dag.nodes,
        statement.seq.n,
        statement.iat,
        0 if statement.res.events is UNSET else statement.res.events,
        0 if statement.cost_usd_micros is UNSET else statement.cost_usd_micros,
        0 if statement.usage is UNSET else min(statement.usage.input, statement.usage.output),
    )
    if min(counts) < 0:
        raise StatementRefused("a count is negative")
    if not 100 <= statement.res.status <= 599:
        raise StatementRefused("the status is not one of HTTP")
    return statement


def read_head(data: bytes) -> Head:
    """Parse received head bytes strictly; raises as `read_statement` does."""
    head = _read(data, Head)
    _require_digest("head", head.head)
    if head.n < 0 or head.iat < 0:
        raise StatementRefused("a count is negative")
    return head


def is_nonce(text: str) -> bool:
    """Say whether a text may be a nonce: 1 to 86 characters of base64url."""
    return _nonce(text) is not None


_T = TypeVar("_T", Statement, Head)


def _read(data: bytes, kind: type[_T]) -> _T:
    if len(data) > STATEMENT_BYTES_MAX:
        raise StatementRefused(f"longer than {STATEMENT_BYTES_MAX} bytes")
    try:
        value = canonical.decode(data, kind)
    except canonical.NotCanonical as error:
        raise StatementRefused(str(error)) from error
    if value.v != VERSION:
        raise StatementRefused(f"version {value.v} is not known here; update the verifier")
    if not is_prov_id(value.prov_id):
        raise StatementRefused("prov_id is not a canonical UUIDv7")
    if value.nonce is not UNSET and not is_nonce(value.nonce):
        raise StatementRefused("the nonce is not base64url of at most 64 bytes")
    return value


def _require_digest(name: str, value: str) -> None:
    if not canonical.is_digest(value):
        raise StatementRefused(f"{name} is not a SHA-256 in lower-case hex")
