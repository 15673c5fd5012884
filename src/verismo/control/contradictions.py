"""Which witnesses know another ledger than this one, and when that is enough to stop signing.

A witness that has cosigned more than there is here, or other entries, is either wrong or right that
an old copy of the ledger is in use. One alone may be wrong, or lie, and must not stop a gateway; a
quorum is whom everybody who verifies believes.

Source: ADR-020.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from verismo.attest.checkpoint import Checkpoint
from verismo.attest.note import NoteSignature
from verismo.attest.submission import Submission
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.control.witnesspeer import PeerRefused, WitnessAddress, verified
from verismo.control.witnesstarget import Target, ahead, declined
from verismo.model.ledger import LogId
from verismo.ports.witness import (
    Contradiction,
    Contradictions,
    ContradictionStore,
    Cosigned,
    Declined,
    SizeConflict,
    WitnessClient,
    WitnessUnavailable,
)

REASONS: Final = ("ahead", "split")
UNKNOWN: Final = "unknown"
"""Stands for a witness that could not say anything."""

Newest = Callable[[Target], Awaitable[Checkpoint]]
"""Returns the newest checkpoint here of a target's log."""


def is_refusal(policy: WitnessPolicy, names: frozenset[str]) -> bool:
    """Say whether so many witnesses contradict that nothing may be signed any more.

    Args:
        policy: whose cosignatures count.
        names: of those that contradict about one log; others than the policy's do not count.

    Returns:
        True for a quorum of two or more; of one only where the policy names no other witness.
    """
    names &= _named(policy)
    is_alone = len(names) < 2 and len(policy.witnesses) > 1
    return bool(names) and policy.is_quorum(names) and not is_alone


class Contradicting:
    """Keeps what witnesses say against the ledger; used from one event loop.

    Args:
        policy: whose cosignatures count.
        store: keeps it, for the integrator and for `verismo ledger status`.
    """

    def __init__(self, policy: WitnessPolicy, store: ContradictionStore) -> None:
        self._policy = policy
        self._store = store
        self._known: Contradictions | None = None
        self._lock = asyncio.Lock()

    async def heard(self, target: Target, witness: str, reason: str, detail: str) -> None:
        """Take note of a refusal; one that is no contradiction is none.

        Raises:
            StateError: it cannot be kept.
        """
        if reason not in REASONS:
            return
        log = target.log.path
        async with self._lock:
            known = await self._read()
            rest = [one for one in known.said if (one.log, one.witness) != (log, witness)]
            said = (*rest, Contradiction(log, witness, reason, detail))
            names = frozenset(one.witness for one in said if one.log == log)
            stops = known.stops or is_refusal(self._policy, names)
            await self._keep(Contradictions(stops, tuple(sorted(said))))

    async def cosigned(self, log: LogId, witness: str) -> None:
        """Take back what a witness said before it cosigned; not once a quorum has said it.

        Raises:
            StateError: it cannot be kept.
        """
        async with self._lock:
            known = await self._read()
            said = tuple(o for o in known.said if (o.log, o.witness) != (log.path, witness))
            if not known.stops and said != known.said:
                await self._keep(Contradictions(known.stops, said))

    async def _read(self) -> Contradictions:
        if self._known is None:
            found = await asyncio.to_thread(self._store.contradictions)
            counting = _named(self._policy)
            said = tuple(one for one in found.said if found.stops or one.witness in counting)
            if said != found.said:
                # A witness that was taken out of the policy is not asked, and takes nothing back.
                await self._keep(Contradictions(found.stops, said))
            self._known = Contradictions(found.stops, said)
        return self._known

    async def _keep(self, found: Contradictions) -> None:
        await asyncio.to_thread(self._store.keep, found)
        self._known = found


def _named(policy: WitnessPolicy) -> frozenset[str]:
    return frozenset(one.name for one in policy.witnesses)


async def look(
    client: WitnessClient,
    address: WitnessAddress,
    targets: Sequence[Target],
    timeout_ms: int,
    newest: Newest | None = None,
) -> list[tuple[Target, PeerRefused]]:
    """Ask a witness whether it knows another ledger, without a proof of anything.

    It is asked to cosign again what it has cosigned if it knows nothing newer. One that knows less
    answers a size, and one that knows more or others says so.

    Args:
        client: asks it.
        address: of the witness.
        targets: what is published.
        timeout_ms: for all of them.
        newest: where others may publish meanwhile; None if the targets stay the newest.

    Returns:
        What it said against each; with the reason `unknown` where nothing can be said.
    """
    found = await answers(client, address, targets, timeout_ms, newest)
    return [(target, answer) for target, answer in found if isinstance(answer, PeerRefused)]


async def answers(
    client: WitnessClient,
    address: WitnessAddress,
    targets: Sequence[Target],
    timeout_ms: int,
    newest: Newest | None = None,
) -> list[tuple[Target, PeerRefused | NoteSignature]]:
    """Ask as `look` does, and return its verified cosignatures too: each takes back what it said.

    Args:
        client: asks it.
        address: of the witness.
        targets: what is published.
        timeout_ms: for all of them.
        newest: see `look`.

    Returns:
        What it said of each; nothing of those that it knows less of, or only something newer.
    """
    found: list[tuple[Target, PeerRefused | NoteSignature]] = []
    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            for target in targets:
                answer = await _answer(client, address, target, newest)
                found += [] if answer is None else [(target, answer)]
    except (TimeoutError, WitnessUnavailable) as error:
        words = str(error) or "it does not answer in time"
        found += [(one, PeerRefused(UNKNOWN, words)) for one in targets]
    return found


async def _answer(
    client: WitnessClient, address: WitnessAddress, target: Target, newest: Newest | None
) -> PeerRefused | NoteSignature | None:
    size = target.checkpoint.size
    body = Submission(size, (), target.note.encode()).encode()
    answer = await client.add_checkpoint(address.url, body)
    if isinstance(answer, Cosigned):
        try:
            return verified(address, target.note.text, answer)
        except PeerRefused as error:
            return PeerRefused(UNKNOWN, error.detail)
    if isinstance(answer, SizeConflict) and answer.size > size:
        here = target.checkpoint if newest is None else await newest(target)
        return ahead(here, answer.size) if answer.size > here.size else None
    if isinstance(answer, Declined):
        refusal = declined(target, size, target.checkpoint.root, answer)
        is_said = refusal.reason in REASONS
        return refusal if is_said else PeerRefused(UNKNOWN, refusal.detail)
    return None
