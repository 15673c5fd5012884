"""Salted commitments to exact bytes: provable to who holds the salt, meaningless to anyone else.

`commit(kind, body) = SHA-256("attest/v1/" + kind + "\\0" + salt + body)` with a fresh 32-byte salt
for each answer. The salt goes to the client and is stored nowhere (unless the tenant has capture
on), so what a record says about a short prompt cannot be found by guessing (decisions 3).
"""

import hashlib
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from hashlib import _Hash

SALT_BYTES = 32

CommitmentKind = Literal["req", "res", "query", "sent", "received", "arguments", "result", "source"]
"""`req`, `res`, `query`: what client and gateway exchanged. `sent`, `received`: what gateway and
provider exchanged; `arguments`, `result`: the JSON of a tool call's arguments and of what came of
it; `source`: what an agent reports, with the salt of its run. These stand in the graph only."""


_PREFIXES = {
    kind: b"attest/v1/" + kind.encode("ascii") + b"\0" for kind in get_args(CommitmentKind)
}


def open_commitment(kind: CommitmentKind, salt: bytes) -> "_Hash":
    """Return a SHA-256 to which the body is then fed in pieces.

    Args:
        kind: what is committed to; separates the domains.
        salt: exactly 32 bytes.

    Raises:
        ValueError: the salt has another length; a shorter one would move bytes into the body.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has exactly {SALT_BYTES} bytes")
    return hashlib.sha256(_PREFIXES[kind] + salt)


def commit(kind: CommitmentKind, salt: bytes, body: bytes) -> str:
    """Return the commitment to a whole body as lower-case hex; see `open_commitment`."""
    opened = open_commitment(kind, salt)
    opened.update(body)
    return opened.hexdigest()
