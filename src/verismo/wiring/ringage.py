"""Composes the look at a key ring's age: whether it is the newest that this data folder had.

Whoever signs by an old copy of the ring signs with keys that were revoked since, and a ring that is
begun anew beside an old log shows the world a second gateway of the same name.
"""

import logging
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from verismo.adapters.keyring_files import KEYS_FOLDER, RING_FOLDER
from verismo.adapters.keyring_memory import RingMemory
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.attest.keyring import SignedRing
from verismo.control.leafsources import KEY_RING
from verismo.model.errors import StateError

_LATER_TOKEN = re.compile(r"token-[A-Za-z0-9_-]{43}\.key")
"""A token key after the first: none is made before there is a ring."""

log = logging.getLogger("verismo.keys")


def require_newest_ring(
    data: Path, read: Callable[[], tuple[SignedRing, ...]]
) -> tuple[SignedRing, ...]:
    """Refuse a key ring that is gone, older than it was, or another one.

    Three places tell: the second copy beside the keys, how many versions the ledger took, and a
    private key that only a ring can have asked for.

    Args:
        data: the data folder.
        read: reads its ring as it is; empty for none.

    Returns:
        The ring as it was read.

    Raises:
        StateError: it is damaged or not the newest one; says how to bring that back.
    """
    memory = RingMemory(data)
    known = memory.read()
    had = max(len(known), _taken(data))
    has_later = _has_later_token(data / KEYS_FOLDER)
    # Last: each of the three follows the ring, so a version that another process makes meanwhile
    # is in it, and is not missed.
    history = read()
    memory.refuse_other(known, history)
    if len(history) >= had and (history or not has_later):
        return history
    ring = data / RING_FOLDER
    now = f"ends with version {len(history)}" if history else "is gone"
    before = f"version {had} was in use before" if had else f"{data / KEYS_FOLDER} has keys of it"
    if 0 < had == len(known):
        way = f"run `verismo keys ring --adopt {memory.path}`"
    else:
        way = (
            "run `verismo keys ring --adopt FILE` with the newest keyring.json, as a verifier or "
            f"the archive has it; or put keyring/ of the newest backup in the place of {ring}"
        )
    raise StateError(
        f"the key ring in {ring} {now}, but {before}",
        next_step=f"Stop the gateway, {way}. See docs/runbooks/key-rotation.md.",
    )


def _taken(data: Path) -> int:
    """Return the number of the last version that the ledger took; 0 for none."""
    try:
        with closing(SqliteLedger(data / FILE_NAME, read_only=True)) as ledger:
            return ledger.cursors().get(KEY_RING, 0)
    except StateError as error:
        # Answers go on without a ledger, whose own runbook says what to do about it.
        fields = {"error": error.detail, "next": error.advice}
        log.warning("the ledger cannot say how new the key ring is", extra={"fields": fields})
        return 0


def _has_later_token(keys: Path) -> bool:
    return any(_LATER_TOKEN.fullmatch(path.name) for path in keys.glob("*.key"))
