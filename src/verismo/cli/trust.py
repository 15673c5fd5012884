"""What the caller of `verismo verify` trusts of a ledger: keys of logs, witnesses, the key ring."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from verismo.attest.keyring import KeyRing, Remembered
from verismo.attest.note import NoteRefused, VerifierKey, parse_vkey
from verismo.attest.verify_ledger import trusted_ring
from verismo.attest.witnesspolicy import PolicyRefused, WitnessPolicy, read_policy
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError

_NAME_ONE = "Name a file of your own that does not exist yet; keep one for each gateway."


def read_log_key(text: str) -> VerifierKey:
    """Read the key of a log.

    Raises:
        OperatorError: not a verifier key.
    """
    try:
        return parse_vkey(text.strip())
    except NoteRefused as error:
        raise OperatorError(
            f"--log-key: {error}", next_step="Give ORIGIN+HASH+KEY, quoted, as the log has it."
        ) from error


def read_witness_policy(path: Path) -> WitnessPolicy:
    """Read a witness policy.

    Raises:
        OperatorError: it cannot be read or used.
    """
    try:
        return read_policy(path.read_bytes())
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}", next_step="Name a policy file."
        ) from error
    except PolicyRefused as error:
        raise OperatorError(
            f"{path}: {error}", next_step="docs/ledger-format.md, section 9, has the format."
        ) from error


def believe_ring(document: bytes, memory: Path | None) -> KeyRing:
    """Check a key ring against itself and what was seen before, and remember it.

    Args:
        document: as the gateway serves it.
        memory: where number and digest of the newest version are kept; None keeps nothing.

    Raises:
        KeyRingRefused: the ring is not to be believed; what was remembered stays.
        OperatorError: the memory cannot be read or written. Nothing was believed.
    """
    if memory is None:
        return trusted_ring(document, None)[0].ring
    try:
        with _locked(memory):
            newest, seen = trusted_ring(document, _recall(memory))
            # A crash before this has believed nothing, one after it has remembered.
            write_whole(memory, msgspec.json.encode(seen) + b"\n")
    except OSError as error:
        raise OperatorError(
            f"{memory} cannot be used: {error.strerror}", next_step=_NAME_ONE
        ) from error
    return newest.ring


def _recall(memory: Path) -> Remembered | None:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=Remembered)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise OperatorError(
            f"{memory} is not what --remember wrote: {error}",
            next_step="Bring the file back from a copy. Without it an older key ring would pass.",
        ) from error


@contextmanager
def _locked(memory: Path) -> Iterator[None]:
    """Keep other verifications from remembering something else meanwhile."""
    lock = memory.with_name(f"{memory.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
