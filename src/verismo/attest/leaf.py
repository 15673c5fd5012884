"""The ledger's leaf: one type octet and a blinded digest of what was signed (decisions 6).

`type || SHA-256("attest/v1/leaf\\0" || uint32be(len(statement)) || statement || jws)`, 33 octets.
Whoever holds the statement and its signature can make the leaf again; nobody can read them in it,
so the tiles of the ledger may be public. The length before the statement keeps its end and the
signature's beginning apart.
"""

import hashlib
import struct
from enum import IntEnum

LEAF_BYTES = 33
STATEMENT_BYTES_MAX = 2**32 - 1
"""What its length field holds; each kind of document has its own, far smaller limit."""

_LABEL = b"attest/v1/leaf\0"


class LeafRefused(ValueError):
    """The octets are no leaf of the ledger, or cannot become one; and why."""


class LeafType(IntEnum):
    """What a leaf stands for; its first octet."""

    ANSWER = 1
    DECISION = 2
    KEY_RING = 3
    PLAN = 4
    """A plan or a snapshot."""
    VOID = 5


def leaf_entry(kind: LeafType, statement: bytes, jws: bytes) -> bytes:
    """Return the entry of the ledger for something that was signed.

    Args:
        kind: what it is.
        statement: the signed octets.
        jws: the detached signature, `header..signature`, ASCII.

    Returns:
        33 octets. Its Merkle leaf hash is `merkle.leaf_hash` of them.

    Raises:
        LeafRefused: the statement is longer than its length field can say.
    """
    if len(statement) > STATEMENT_BYTES_MAX:
        raise LeafRefused(f"a statement of more than {STATEMENT_BYTES_MAX} octets")
    content = b"".join((_LABEL, struct.pack(">I", len(statement)), statement, jws))
    return bytes((kind,)) + hashlib.sha256(content).digest()


def leaf_type(entry: bytes) -> LeafType:
    """Return what an entry stands for.

    Args:
        entry: as read from an entry bundle.

    Raises:
        LeafRefused: not 33 octets, or of a type that this version does not know.
    """
    if len(entry) != LEAF_BYTES:
        raise LeafRefused(f"a leaf has {LEAF_BYTES} octets, not {len(entry)}")
    try:
        return LeafType(entry[0])
    except ValueError as error:
        raise LeafRefused(f"a leaf of the unknown type {entry[0]}") from error
