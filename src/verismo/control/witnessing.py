"""Asks witnesses to cosign each published checkpoint, and publishes it again with what they said.

Nothing waits for it: the integrator hands over what it has published and goes on. A round takes the
newest checkpoint of each log and asks every witness that is not busy or resting; it ends when a
quorum has cosigned or everybody has answered, so that all who answer in time cosign the same size.
A witness that is slower than that goes on alone, one request at a time.

A log that grows every second has often published the next checkpoint before the quorum is there.
The one with the quorum is kept beside it (`CosignedStore`), and proofs are made from that.

Source: C2SP tlog-witness; ADR-020.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.cosignature import verify_cosignature
from verismo.attest.merkle import ProofRefused, consistency_proof, root_of, verify_consistency
from verismo.attest.note import (
    NoteRefused,
    NoteSignature,
    known_signatures,
    read_note,
)
from verismo.attest.submission import Submission
from verismo.attest.tile import Tile, TileMissing, TileRefused, TileTree
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.control.contradictions import UNKNOWN, Contradicting, answers
from verismo.control.witnesspeer import (
    Peer,
    PeerRefused,
    WitnessAddress,
    WitnessStanding,
    verified,
)
from verismo.control.witnesstarget import Target, ahead, declined, head_in, target_of
from verismo.model.errors import StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import LedgerForked, TileStore
from verismo.ports.witness import (
    ContradictionStore,
    Cosigned,
    CosignedStore,
    Declined,
    WitnessClient,
    WitnessUnavailable,
)

TRIES_MAX = 3
"""Once to learn the size, once with the right proof, once if another process came between."""
CHECKPOINT = "checkpoint"

log = logging.getLogger("verismo.witnessing")


class WitnessDesk(msgspec.Struct, frozen=True):
    """The parts that witnessing works with.

    Args:
        policy: whose cosignatures count, and how many make a quorum.
        addresses: the policy's witnesses that can be asked.
        client: asks them.
        tiles: proofs are made from them, and the checkpoint is published there.
        cosigned: keeps the largest checkpoint with a quorum.
        contradictions: keeps who knows another ledger than this one.
        now_ms: returns Unix ms.
        timeout_ms: for one checkpoint at one witness, every try included.
    """

    policy: WitnessPolicy
    addresses: tuple[WitnessAddress, ...]
    client: WitnessClient
    tiles: TileStore
    cosigned: CosignedStore
    contradictions: ContradictionStore
    now_ms: Callable[[], int]
    timeout_ms: int = 5_000


class LogStanding(msgspec.Struct, frozen=True):
    """How a log stands with its witnesses.

    Args:
        log: which log.
        cosigned_size: of its largest checkpoint with a quorum, None if there never was one.
        delay_ms: since when checkpoints wait for a quorum; 0 if the newest one has it.
    """

    log: LogId
    cosigned_size: int | None
    delay_ms: int


class _Sought:
    """One log: what was published last, and what witnesses have said about it."""

    def __init__(self, newest: bytes, now_ms: int) -> None:
        self.newest = newest
        self.target: Target | None = None
        self.signatures: dict[str, NoteSignature] = {}
        """Verified cosignatures of the target, by the policy's name of the witness."""
        self.quorum_size: int | None = None
        self.newer_since_ms: int | None = now_ms
        """When the first checkpoint after the target was published."""
        self.target_since_ms: int | None = None


class Witnessing:
    """Asks the witnesses of a policy; used from one event loop.

    Args:
        desk: the parts that it works with.
    """

    def __init__(self, desk: WitnessDesk) -> None:
        self._desk = desk
        self._peers = [Peer(address) for address in desk.addresses]
        self._sought: dict[LogId, _Sought] = {}
        self._publishing = asyncio.Lock()
        self._contradicting = Contradicting(desk.policy, desk.contradictions)

    def notice(self, published: Mapping[LogId, bytes]) -> None:
        """Take note of checkpoints that were published; the next round asks for them.

        Args:
            published: signed notes by log.
        """
        now_ms = self._desk.now_ms()
        for log_id, note in published.items():
            sought = self._sought.get(log_id)
            if sought is None:
                self._sought[log_id] = _Sought(note, now_ms)
            elif sought.newest != note:
                sought.newest = note
                sought.newer_since_ms = sought.newer_since_ms or now_ms

    async def round(self) -> None:
        """Ask whoever can be asked; returns with a quorum for everything, or with all answers.

        Raises:
            StateError: the published log cannot be read; the next round tries again.
        """
        now_ms = self._desk.now_ms()
        targets = [await self._aim(log_id, sought) for log_id, sought in self._sought.items()]
        asked: set[asyncio.Task[None]] = set()
        for peer in self._peers:
            wanted = [one for one in targets if peer.wants(one.log, one.checkpoint.size, now_ms)]
            if wanted and peer.is_idle():
                peer.task = asyncio.create_task(self._ask(peer, wanted), name=peer.name)
                asked.add(peer.task)
        while asked and not all(self._is_settled(one) for one in targets):
            _, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)

    async def look(self, published: Mapping[LogId, bytes]) -> None:
        """Ask every witness whether it knows another ledger than this one; for the start.

        Whoever does not answer in time, or has never heard of a log, holds nothing up.

        Args:
            published: signed notes by log; those that are damaged are left out.
        """
        made = [target_of(log_id, note) for log_id, note in sorted(published.items())]
        targets = [one for one in made if one is not None]
        await asyncio.gather(*(self._look(peer, targets) for peer in self._peers))

    async def _look(self, peer: Peer, targets: Sequence[Target]) -> None:
        client, limit_ms = self._desk.client, self._desk.timeout_ms
        for target, said in await answers(client, peer.address, targets, limit_ms, self._newest):
            if not isinstance(said, PeerRefused):
                await self._contradicting.cosigned(target.log, peer.address.name)
            elif said.reason != UNKNOWN:
                await self._refused(peer, target, said)

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = [peer.task for peer in self._peers if peer.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def logs(self) -> Sequence[LogStanding]:
        """Return how each log stands, sorted."""
        now_ms = self._desk.now_ms()
        standings = []
        for log_id, sought in sorted(self._sought.items()):
            since = sought.target_since_ms or sought.newer_since_ms
            delay_ms = 0 if since is None else max(0, now_ms - since)
            standings.append(LogStanding(log_id, sought.quorum_size, delay_ms))
        return standings

    def witnesses(self) -> Sequence[WitnessStanding]:
        """Return how each witness stands, in the order of the policy."""
        now_ms = self._desk.now_ms()
        return [peer.standing(now_ms) for peer in self._peers]

    async def _aim(self, log_id: LogId, sought: _Sought) -> Target:
        """Aim at a log's newest checkpoint."""
        newest, before = sought.newest, sought.target
        if before is not None and before.note.encode() == newest:
            return before
        note = read_note(newest)
        target = Target(log_id, read_checkpoint(note.text), note)
        published = await asyncio.to_thread(self._desk.tiles.read, log_id, CHECKPOINT)
        found = self._cosignatures(published, target)
        kept: dict[str, NoteSignature] = {}
        if before is None:
            data = await asyncio.to_thread(self._desk.cosigned.cosigned, log_id)
            kept = self._remember(data, target, sought)
        elif before.note.text == note.text:
            # Another log key signed the same. Witnesses sign the text, and that is as it was.
            kept = sought.signatures
        sought.target, sought.signatures = target, {**kept, **found}
        if sought.target_since_ms is None:
            sought.target_since_ms = sought.newer_since_ms
        sought.newer_since_ms = None if sought.newest == newest else self._desk.now_ms()
        is_gone = before is None and bool(found) and not kept
        if is_gone or kept.keys() - found.keys():
            # A crash has left the quorum kept but not published, or a new log key has signed it;
            # or the kept one is gone, and the published one may have the quorum.
            await asyncio.to_thread(self._write, target, sought.signatures)
        self._settle(sought, target)
        return target

    def _remember(
        self, data: bytes | None, target: Target, sought: _Sought
    ) -> dict[str, NoteSignature]:
        """Learn at a start who had cosigned what, from the checkpoint that is kept."""
        head = head_in(data)
        if data is None or head is None:
            return {}
        found = self._cosignatures(data, None)
        sought.quorum_size = head.size
        for peer in self._peers:
            if peer.address.name in found:
                peer.has_cosigned(target.log, head.size)
        return found if head == target.checkpoint else {}

    def _cosignatures(self, data: bytes | None, target: Target | None) -> dict[str, NoteSignature]:
        """Return the verified cosignatures in a note; none if it is not the target's."""
        found: dict[str, NoteSignature] = {}
        names = {one.key: one.name for one in self._desk.policy.witnesses}
        try:
            note = None if data is None else read_note(data)
            if note is None or (target is not None and note.text != target.note.text):
                return found
            for signature, key in known_signatures(note, tuple(names)):
                verify_cosignature(key, note.text, signature)
                found.setdefault(names[key], signature)
        except NoteRefused as error:
            # Whoever changed the file: what does not verify is asked for again and written over.
            log.warning("a cosignature is not right", extra={"fields": {"error": str(error)}})
        return found

    def _settle(self, sought: _Sought, target: Target) -> None:
        """Take note of who has cosigned the target, and whether that is a quorum."""
        if sought.target is not target:
            return
        for peer in self._peers:
            if peer.address.name in sought.signatures:
                peer.has_cosigned(target.log, target.checkpoint.size)
        if self._desk.policy.is_quorum(frozenset(sought.signatures)):
            sought.target_since_ms = None
            sought.quorum_size = target.checkpoint.size

    def _is_settled(self, target: Target) -> bool:
        """Say whether nobody has to wait for this target any more."""
        sought = self._sought[target.log]
        is_quorum = self._desk.policy.is_quorum(frozenset(sought.signatures))
        return is_quorum or sought.target is not target

    async def _ask(self, peer: Peer, targets: Sequence[Target]) -> None:
        """Ask one witness for one checkpoint after another."""
        for target in targets:
            try:
                async with asyncio.timeout(self._desk.timeout_ms / 1_000):
                    signature = await self._submit(peer, target)
                await self._publish(target, peer.address.name, signature)
                peer.succeeded(target.log, target.checkpoint.size, self._desk.now_ms())
                await self._contradicting.cosigned(target.log, peer.address.name)
            except TimeoutError:
                peer.failed(None, "timeout", "it does not answer in time", self._desk.now_ms())
                return
            except WitnessUnavailable as error:
                peer.failed(None, "unavailable", error.detail, self._desk.now_ms())
                return
            except PeerRefused as error:
                await self._refused(peer, target, error)
            except StateError as error:
                peer.failed(target.log, "state", error.detail, self._desk.now_ms())

    async def _submit(self, peer: Peer, target: Target) -> NoteSignature:
        """Return a witness's verified cosignature, after as many tries as its size takes.

        Raises:
            PeerRefused: it will not cosign, or what it says cannot be.
            WitnessUnavailable: ask again later.
            StateError: our own tiles cannot be read.
        """
        size = peer.size(target.log)
        for _ in range(TRIES_MAX):
            if size > target.checkpoint.size:
                raise ahead(await self._newest(target), size)
            proof, older = await asyncio.to_thread(self._prove, target, size)
            body = Submission(size, proof, target.note.encode()).encode()
            answer = await self._desk.client.add_checkpoint(peer.address.url, body)
            if isinstance(answer, Cosigned):
                return verified(peer.address, target.note.text, answer)
            if isinstance(answer, Declined):
                raise declined(target, size, older, answer)
            peer.told_size(target.log, answer.size, self._desk.now_ms())
            size = answer.size
        raise PeerRefused("conflict", f"it names another size at each of {TRIES_MAX} tries")

    async def _newest(self, target: Target) -> Checkpoint:
        """Return the newest checkpoint here: another process may have published since."""
        sought = self._sought.get(target.log)
        note = target.note if sought is None else read_note(sought.newest)
        noticed = read_checkpoint(note.text)
        published = await asyncio.to_thread(self._desk.tiles.read, target.log, CHECKPOINT)
        return max(noticed, head_in(published) or noticed, key=lambda one: one.size)

    async def _refused(self, peer: Peer, target: Target, error: PeerRefused) -> None:
        """Count a refusal, and keep it if the witness knows another ledger than this one."""
        peer.failed(target.log, error.reason, error.detail, self._desk.now_ms())
        try:
            await self._contradicting.heard(target, peer.address.name, error.reason, error.detail)
        except StateError as failure:
            peer.failed(target.log, "state", failure.detail, self._desk.now_ms())

    def _prove(self, target: Target, size: int) -> tuple[tuple[bytes, ...], bytes]:
        """Return the proof from a size and the root there, checked against the target."""

        def fetch(tile: Tile) -> bytes:
            content = self._desk.tiles.read(target.log, tile.path)
            if content is None:
                raise TileMissing(tile.path)
            return content

        checkpoint = target.checkpoint
        tree = TileTree(fetch, checkpoint.size)
        try:
            older = root_of(size, tree)
            proof = consistency_proof(size, checkpoint.size, tree)
            # What a witness refuses after this, it refuses for what it knows, not for our tiles.
            verify_consistency(size, checkpoint.size, proof, older, checkpoint.root)
        except (TileMissing, TileRefused, ProofRefused) as error:
            raise StateError(
                f"{checkpoint.origin}: no proof from size {size} can be made: {error}",
                next_step="`verismo ledger audit` names what is damaged.",
            ) from error
        return proof, older

    async def _publish(self, target: Target, name: str, signature: NoteSignature) -> None:
        """Add a cosignature to the published checkpoint, unless a newer one is there by now."""
        sought = self._sought[target.log]
        async with self._publishing:
            if sought.target is not target:
                return
            signatures = {**sought.signatures, name: signature}
            await asyncio.to_thread(self._write, target, signatures)
            if sought.target is target:
                sought.signatures = signatures
        self._settle(sought, target)

    def _write(self, target: Target, signatures: Mapping[str, NoteSignature]) -> None:
        tiles, cosigned, log_id = self._desk.tiles, self._desk.cosigned, target.log
        size, note = target.checkpoint.size, target.note.adding(signatures.values()).encode()
        if self._desk.policy.is_quorum(frozenset(signatures)):
            kept = self._kept(log_id)
            if kept is None or kept.size <= size:
                cosigned.keep(log_id, note)
        # A crash here: the quorum is kept, the published checkpoint lacks it; the next start
        # publishes it.
        current = head_in(tiles.read(log_id, CHECKPOINT))
        if current is not None and current.size > size:
            return
        try:
            tiles.publish(log_id, note)
        except LedgerForked:
            # The integrator published a larger one since the line above: that one stays.
            later = head_in(tiles.read(log_id, CHECKPOINT))
            if later is None or later.size <= size:
                raise

    def _kept(self, log_id: LogId) -> Checkpoint | None:
        """Return the kept checkpoint; what no witness of the policy has signed makes room."""
        data = self._desk.cosigned.cosigned(log_id)
        if data is None or self._cosignatures(data, None):
            return head_in(data)
        log.warning(
            "the cosigned checkpoint is damaged and made anew",
            extra={"fields": {"log": log_id.path}},
        )
        # A crash here: there is none, which is allowed; the next quorum is kept.
        self._desk.cosigned.discard(log_id)
        return None
