"""Composes keys: the first start, the key that a worker signs with, and what changes the ring."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.keyring_memory import RememberedRing
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.signer_file import FileSigner
from verismo.adapters.signer_window import WindowedSigner
from verismo.adapters.telemetry_keys import key_lines
from verismo.attest.keyentry import KeyEntry, public_key
from verismo.attest.keyring import SignedRing, signing_key
from verismo.attest.keys import Role, import_key
from verismo.attest.note import vkey
from verismo.attest.succession import KeyRules, last_ends_ms
from verismo.control.clockwatch import ClockWatch
from verismo.control.rotation import RingHistory, Rotation
from verismo.gateway.published import PublishedKeys
from verismo.model.errors import StateError
from verismo.model.ledger import origin_of
from verismo.ports.signer import Signer
from verismo.wiring.ringage import require_newest_ring
from verismo.wiring.rounds import Step

OpenSigner = Callable[[Path, Role], FileSigner]
"""Opens a private key, given its file and what it may sign."""

ROTATION_S = 1.0
"""How often the control process looks whether a key has to be made; it has a day for that."""
SETTLED_MS = 600_000
"""A time server has put a clock right by then, and a key has two days to be made."""
ABSENT_MS_MAX = 120 * 86_400_000
"""A gateway that runs writes a version of its ring every month. One whose newest version is older
than this was off for a season, or its clock is wrong: a person has to say which."""
BACK_IT_UP = "back it up: what it makes is verified for years"
"""Said of every key that is made without an operator asking for it."""

log = logging.getLogger("verismo.keys")


def clock_ms() -> int:
    """Return the time that statements are dated by, Unix ms."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return the time of a clock that nobody can set, ms from anywhere."""
    return time.monotonic_ns() // 1_000_000


def open_rotation(data: Path, rules: KeyRules) -> Rotation:
    """Return what changes the key ring of a data folder."""
    return Rotation(RememberedRing(data), rules)


def open_newest_rotation(data: Path, rules: KeyRules) -> Rotation:
    """Return what changes the key ring of a data folder, once it is known to be the newest.

    Raises:
        StateError: it is damaged, gone, or an old copy.
    """
    rotation = open_rotation(data, rules)
    require_newest_ring(data, rotation.history)
    return rotation


def rotating(
    data: Path,
    rules: KeyRules,
    now_ms: Callable[[], int] = clock_ms,
    ticks_ms: Callable[[], int] = monotonic_ms,
) -> Step:
    """Return the control process's round for keys: it rotates the token key in time.

    For ten minutes after the clock was set it makes none: a key that is made by a wrong clock keeps
    the ring from every other one until that time has really come.
    """
    rotation, watch = open_rotation(data, rules), ClockWatch()

    async def step() -> None:
        at_ms = now_ms()
        since_ms = watch.since_step_ms(at_ms, ticks_ms())
        if since_ms is not None and since_ms < SETTLED_MS:
            raise StateError(
                "the clock of this machine was set; no key is made or deleted for ten minutes",
                next_step="See that the clock is right. If it is, and no key is in force: "
                "`verismo keys rotate --emergency --reason ...` does not wait.",
            )
        await asyncio.to_thread(rotation.step, at_ms)

    return step


def exposing_keys(data: Path) -> Callable[[], Awaitable[list[str]]]:
    """Return what writes the key ring's metric; nothing while the ring cannot be read."""
    history = RingHistory(KeyRingFiles(data))

    def lines() -> list[str]:
        try:
            newest = next(reversed(history.read()), None)
        except StateError as error:
            fields = {"error": error.detail, "next": error.advice}
            log.warning("the key ring cannot be read", extra={"fields": fields})
            newest = None
        return key_lines({} if newest is None else last_ends_ms(newest.ring))

    async def expose() -> list[str]:
        return await asyncio.to_thread(lines)

    return expose


def log_vkeys(data: Path, issuer: str, entry: KeyEntry) -> tuple[str, ...]:
    """Return a log key as the verifier key of each log that there is.

    Args:
        data: the data folder.
        issuer: the `iss` of statements.
        entry: of the role `log`.

    Raises:
        StateError: the ledger cannot be read.
    """
    with closing(SqliteLedger(data / FILE_NAME, read_only=True)) as ledger:
        origins = [origin_of(issuer, state.log) for state in ledger.logs()]
    return tuple(vkey(origin, public_key(entry).raw) for origin in origins)


def open_signer(data: Path, role: Role, rules: KeyRules, now_ms: int) -> Signer:
    """Return the signer of a role, making its key and its place in the ring if there is none.

    Args:
        data: the data folder; `prepare_keys` has run on it.
        role: what will be signed.
        rules: how long keys live.
        now_ms: Unix ms.

    Raises:
        StateError: the ring is an old copy, or it or the private key cannot be used.
    """
    files = KeyRingFiles(data)
    rotation = open_newest_rotation(data, rules)
    made = rotation.ensure(role, now_ms).key
    if made is not None:
        fields = {"role": role, "file": str(files.key_file(made.kid, role)), "next": BACK_IT_UP}
        log.warning("made a key", extra={"fields": fields})
    entry = _signing(rotation.newest(), role, now_ms)
    return files.signer(entry.kid, role)


def prepare_keys(data: Path, rules: KeyRules, now_ms: int) -> list[Path]:
    """Make ring and keys at the first start, and see that there is a token key to sign with.

    A folder from before there was a ring keeps its `keys/token.key`: it becomes the first key of
    version 1, in force since the first answer that the journal holds. A gateway that was down when
    its key ended gets a new one at once, and the ring says that it came without notice.

    Returns:
        The files that were made now.

    Raises:
        StateError: the ring is gone or an old copy; answers were signed here before but the private
            key is gone; or no key is in force, and by this clock the ring is too old for one to be
            made unasked.
    """
    files = RememberedRing(data)
    rotation = open_newest_rotation(data, rules)
    made: list[Path] = []
    token = data / "keys" / "token.key"
    if rotation.newest() is None:
        is_new = not token.exists()
        since_ms = _first_answer_ms(data)
        if is_new and since_ms is not None:
            raise StateError(
                f"{token} is missing although {data / 'journal'} has answers signed with it",
                next_step="Restore keys/ from a backup.",
            )
        first = import_key(files.make_first_token_key(), "token")
        # The oldest answer may be a stream whose heads were signed before its record.
        made_ms = now_ms if is_new else token.stat().st_mtime_ns // 1_000_000
        begins_ms = min(made_ms, since_ms or now_ms, now_ms)
        is_begun = _begin(rotation, lambda: rotation.begin(first, begins_ms, now_ms))
        made += [token] if is_new else []
        made += _others(files, rotation.newest()) if is_begun else []
    entry = _require_private_keys(files, rotation.newest(), now_ms)
    if entry is None:
        _refuse_odd_clock(rotation.newest(), now_ms)
        outcome = rotation.ensure("token", now_ms)
        if outcome.key is not None:
            made.append(files.key_file(outcome.key.kid, "token"))
    # Of a folder from before there was a second copy, or after a crash before it was made.
    files.remember()
    return made


def _refuse_odd_clock(newest: SignedRing | None, now_ms: int) -> None:
    """A key that a wrong clock makes at the start keeps the ring from every other one."""
    if newest is None or now_ms - newest.ring.iat <= ABSENT_MS_MAX:
        return
    days = (now_ms - newest.ring.iat) // 86_400_000
    raise StateError(
        f"no token key is in force: by this machine's clock the newest one was made {days} days "
        "ago or more",
        next_step="Look at the clock (`date -u`). If it is right and the gateway was off so long: "
        "`verismo keys rotate --emergency --reason 'was off'`, then start it again.",
    )


class TokenKeys:
    """The token key of one worker and what it publishes, kept up with the ring and the clock.

    Args:
        data: the data folder.
        rules: how long keys live.
        opener: opens a private key.
        now_ms: the clock.

    Raises:
        StateError: the ring is an old copy, no token key is in force, or it cannot be opened.
    """

    def __init__(
        self,
        data: Path,
        rules: KeyRules,
        opener: OpenSigner = FileSigner,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._files = KeyRingFiles(data)
        self._history = RingHistory(self._files)
        self._open = opener
        self._now_ms = now_ms
        history = require_newest_ring(data, self._history.read)
        self._version = len(history)
        self._entries = history[-1].ring.keys if history else ()
        self.signer = self._opened(_signing(next(reversed(history), None), "token", now_ms()))
        self.published = PublishedKeys(rules, history)

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """Every key of the newest version of the ring that was read."""
        return self._entries

    def refresh(self) -> WindowedSigner | None:
        """Read what is new in the ring, and change the key if the clock says so.

        Returns:
            The signer to use from now on, None if it is the same as before.

        Raises:
            StateError: the ring cannot be read, or no key is in force. The signer of before
                stays; it refuses by itself once its window is over.
        """
        history = self._history.read()
        if len(history) != self._version:
            self.published.swap(history)
            self._version = len(history)
            self._entries = history[-1].ring.keys
        entry = _signing(history[-1], "token", self._now_ms())
        if entry.kid == self.signer.kid and _window(entry) == self.signer.window_ms:
            return None
        fields = {"kid": entry.kid, "before": self.signer.kid, "version": self._version}
        self.signer = self._opened(entry)
        log.info("the signing key or its window changed", extra={"fields": fields})
        return self.signer

    def _opened(self, entry: KeyEntry) -> WindowedSigner:
        signer = self._open(self._files.key_file(entry.kid, "token"), "token")
        if signer.kid != entry.kid:
            raise _missing(entry, self._files)
        return WindowedSigner(signer, _window(entry), self._now_ms)


def _window(entry: KeyEntry) -> tuple[int, int]:
    return entry.not_before_ms, entry.window_end_ms


def _signing(newest: SignedRing | None, role: Role, now_ms: int) -> KeyEntry:
    entry = None if newest is None else signing_key(newest.ring, role, now_ms)
    if entry is None:
        raise StateError(
            f"no {role} key is in force",
            next_step="Look at the clock of this machine; if it is right: "
            "`verismo keys rotate --emergency --reason ...`.",
        )
    return entry


def _begin(rotation: Rotation, begin: Callable[[], object]) -> bool:
    """Make the first version, unless another process does in the same moment; say whether."""
    try:
        begin()
    except StateError:
        if rotation.newest() is None:
            raise
        return False
    return True


def _others(files: KeyRingFiles, newest: SignedRing | None) -> list[Path]:
    """Return the private keys of every role but the first token key's."""
    keys = () if newest is None else newest.ring.keys
    return [files.key_file(one.kid, one.role) for one in keys if one.role != "token"]


def _require_private_keys(
    files: KeyRingFiles, newest: SignedRing | None, now_ms: int
) -> KeyEntry | None:
    """Return the token key in force, if any, after a look at what every role signs with."""
    found: KeyEntry | None = None
    for role in ("token", "evidence"):
        entry = None if newest is None else signing_key(newest.ring, role, now_ms)
        if entry is not None and not files.key_file(entry.kid, role).exists():
            raise _missing(entry, files)
        found = entry if role == "token" else found
    return found


def _missing(entry: KeyEntry, files: KeyRingFiles) -> StateError:
    return StateError(
        f"{files.key_file(entry.kid, entry.role)} is missing, or not the {entry.role} key "
        f"{entry.kid} that the key ring names",
        next_step="Restore keys/ from a backup that was made with --with-keys.",
    )


def _first_answer_ms(data: Path) -> int | None:
    """Return when the oldest record of the journals was signed; None if there are no journals."""
    reader = SqliteJournalReader(data)
    try:
        slots = reader.slots()
        times = [record.written_ms for slot in slots for record in reader.scan(slot, 0, 1)]
    finally:
        reader.close()
    return min(times, default=0) if slots else None
