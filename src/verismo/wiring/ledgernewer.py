"""Asks whoever may know more of a log than a folder of tiles: its witnesses, rollups and archive.

An operator who names a folder says that it is the newest. After a whole machine was put back every
place on it is equally old, and only others can tell.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import msgspec

from verismo.adapters.rollups_folder import FOLDER as ROLLUPS_FOLDER
from verismo.adapters.rollups_folder import FolderRollups
from verismo.adapters.witness_http import HttpWitnesses
from verismo.attest.keyentry import public_key
from verismo.attest.keyring import KeyRing
from verismo.attest.rollup import RollupRefused, open_rollup
from verismo.config.schema import Config
from verismo.control import dayfiles
from verismo.control.contradictions import UNKNOWN, look
from verismo.control.witnesspeer import WitnessAddress
from verismo.control.witnesstarget import Target, target_of
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.archive import Archive
from verismo.ports.ledger import LedgerForked, StoredCheckpoint
from verismo.wiring.rollups import open_archive


class Known(msgspec.Struct, frozen=True):
    """What rollups say of logs.

    Args:
        roots: of each log by size.
        silent: places that could not be asked, in words.
    """

    roots: Mapping[LogId, Mapping[int, bytes]]
    silent: tuple[str, ...]


def rolled_roots(config: Config, ring: KeyRing | None) -> Known:
    """Return what the newest rollup of each log states, here and in the archive.

    Only rollups that a key of the ring has signed count.

    Args:
        config: the validated configuration.
        ring: the newest version of the key ring.
    """
    keys = {} if ring is None else {one.kid: public_key(one) for one in ring.keys}
    roots: dict[LogId, dict[int, bytes]] = {}
    silent: list[str] = []
    for place, read in (("rollups/", _rolled_here), ("the archive", _rolled_in_archive)):
        try:
            for log, envelope in read(config):
                told = open_rollup(envelope, keys).predicate
                if told.origin == origin_of(config.plan.issuer, log):
                    roots.setdefault(log, {})[told.size] = bytes.fromhex(told.root)
        except (StateError, IntegrityError) as error:
            silent.append(f"{place}: {error.detail}")
        except RollupRefused as error:
            silent.append(f"{place}: its newest rollup is not believed: {error}")
    return Known(roots, tuple(silent))


def ask_witnesses(config: Config, found: Sequence[StoredCheckpoint]) -> tuple[str, ...]:
    """Ask every configured witness whether it knows more; from a thread without an event loop.

    Returns:
        Who could not be asked, in words.

    Raises:
        LedgerForked: a witness has cosigned a larger tree, or another one.
    """
    settings = config.witness
    addresses = [WitnessAddress(one.name, one.key, one.url) for one in settings.urls]
    made = [target_of(one.log, one.note) for one in found]
    targets = [one for one in made if one is not None]
    if settings.policy is None or not addresses or not targets:
        return ()
    return asyncio.run(_ask(addresses, targets, settings.timeout_ms))


async def _ask(
    addresses: Sequence[WitnessAddress], targets: Sequence[Target], timeout_ms: int
) -> tuple[str, ...]:
    client = HttpWitnesses(timeout_ms / 1_000)
    silent: dict[str, str] = {}
    try:
        for address in addresses:
            for _, refusal in await look(client, address, targets, timeout_ms):
                if refusal.reason != UNKNOWN:
                    raise LedgerForked(
                        f"this is not the newest log: the witness {address.name}: {refusal.detail}",
                        next_step="Name the newest published tiles. If you are sure that the "
                        "witness is wrong, take it out of the policy file for this command.",
                    )
                silent[address.name] = refusal.detail
    finally:
        await client.aclose()
    return tuple(f"the witness {name}: {words}" for name, words in silent.items())


def _rolled_here(config: Config) -> Iterator[tuple[LogId, bytes]]:
    rollups = FolderRollups(config.data / ROLLUPS_FOLDER)
    for log in rollups.logs():
        days = rollups.days(log)
        if days and dayfiles.ROLLUP in rollups.names(log, days[-1]):
            yield log, rollups.read(log, days[-1], dayfiles.ROLLUP)


def _rolled_in_archive(config: Config) -> Iterator[tuple[LogId, bytes]]:
    archive = open_archive(config.archive)
    for log, name in ({} if archive is None else _newest_names(config, archive)).items():
        if archive is not None:
            yield log, archive.get(name)


def _newest_names(config: Config, archive: Archive) -> dict[LogId, str]:
    """Return the name of the newest rollup of each log of this issuer."""
    newest: dict[LogId, tuple[date, str]] = {}
    for name in archive.names(dayfiles.ROOT):
        place = dayfiles.read_place(name)
        if place is None or place.name != dayfiles.ROLLUP:
            continue
        if place.origin == origin_of(config.plan.issuer, place.log):
            kept = newest.get(place.log)
            newest[place.log] = (place.day, name) if kept is None else max(kept, (place.day, name))
    return {log: name for log, (_, name) in newest.items()}
