"""Test vectors for verifiers: one JSON file each, run against the verifier as it is installed."""

from pathlib import Path

import msgspec

from verismo.attest.exchange import (
    Exchange,
    ExchangeRefused,
    check_exchange,
    expectation,
    verify_exchange,
)
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keyring import Remembered
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.note import parse_vkey
from verismo.attest.verify import Report, Verdict, Verifier, refused_keys
from verismo.attest.verify_ledger import LedgerTrust, refused_ring, trusted_ring
from verismo.attest.witnesspolicy import read_policy
from verismo.model.errors import OperatorError

INDEX_NAME = "index.json"


class VectorTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the verifier of a vector trusts of the ledger; see `LedgerTrust`.

    Args:
        log_keys: keys of logs, as text.
        witness_policy: a policy file's text.
        keyring: a key ring with its whole history, as a gateway serves it.
        remembered: the newest version of the ring that the verifier has seen before.
    """

    log_keys: tuple[str, ...] = ()
    witness_policy: str | None = None
    keyring: msgspec.Raw = msgspec.Raw()
    remembered: Remembered | None = None


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test vector.

    Args:
        name: also the file's name.
        shows: what it is about, in one line.
        exchange: a saved exchange, see `docs/attestation-format.md`.
        jwks: the key set that the verifier trusts.
        ledger: what it trusts of the ledger; None if nothing.
        verdict: what every verifier must say.
        events: for streams, how many events are proven.
        fails: the numbers of the checks that fail.
    """

    name: str
    shows: str
    exchange: Exchange
    jwks: msgspec.Raw
    verdict: Verdict
    events: int | None
    fails: tuple[int, ...]
    ledger: VectorTrust | None = None


def read_vectors(folder: Path) -> list[Vector]:
    """Read all vectors of a folder, sorted by name.

    Raises:
        OperatorError: a file that is not a vector, or none at all.
    """
    paths = sorted(path for path in folder.glob("*.json") if path.name != INDEX_NAME)
    if not paths:
        raise OperatorError(f"{folder} holds no vectors", next_step="Name the folder `vectors`.")
    vectors = []
    for path in paths:
        try:
            vector = msgspec.json.decode(path.read_bytes(), type=Vector)
            check_exchange(vector.exchange)
        except (msgspec.MsgspecError, ExchangeRefused, UnicodeError, OSError) as error:
            raise OperatorError(
                f"{path} is not a test vector: {error}", next_step="Run vectors/generate.py."
            ) from error
        vectors.append(vector)
    return vectors


def run_vector(vector: Vector) -> Report:
    """Verify what a vector holds with the keys that it trusts."""
    try:
        verifier = Verifier(read_jwks(bytes(vector.jwks)))
        trust = None if vector.ledger is None else _trust(vector.ledger)
    except KeyRefused as error:
        return refused_keys(error)
    except KeyRingRefused as error:
        return refused_ring(error)
    return verify_exchange(verifier, vector.exchange, expectation(vector.exchange), trust)


def _trust(given: VectorTrust) -> LedgerTrust:
    policy = given.witness_policy
    document = bytes(given.keyring)
    newest = trusted_ring(document, given.remembered)[0].ring if document else None
    return LedgerTrust(
        log_keys=tuple(parse_vkey(text) for text in given.log_keys),
        policy=None if policy is None else read_policy(policy.encode("utf-8")),
        ring=newest,
    )


def differs(vector: Vector, report: Report) -> bool:
    """Say whether a report is not the one that the vector demands."""
    fails = tuple(check.number for check in report.checks if check.outcome == "fail")
    return (report.verdict, report.events, fails) != (vector.verdict, vector.events, vector.fails)
