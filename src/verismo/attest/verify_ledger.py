"""Checks 15 to 17: the ledger holds the answer, witnesses saw that, and the key was in force.

They are made on the report of checks 1 to 14, because a proof comes after its answer: the ledger
publishes once a second, and the answer does not wait for it. What is trusted, the key of the log,
the witnesses and the key ring, is named by whoever verifies and never taken from what came along.

Whoever names a log key or a witness policy demands the proof: without one the answer is INVALID,
because else everybody on the way could drop it.

Source: C2SP tlog-proof, tlog-policy; decisions 6 and 7.
"""

from collections.abc import Mapping, Sequence

import msgspec

from verismo.attest import jws
from verismo.attest.keyentry import FOR_EVER_MS, KeyEntry, KeyRingRefused, judge_key, public_key
from verismo.attest.keyring import KeyRing, Remembered, SignedRing, check_history, read_keyring
from verismo.attest.keys import PublicKey
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import ProofRefused
from verismo.attest.note import NoteRefused, VerifierKey, verifier_key
from verismo.attest.report import Findings, Report
from verismo.attest.statement import Statement, read_head
from verismo.attest.tlogproof import LedgerProof, ProvenInclusion, read_proof, verify_proof
from verismo.attest.witnesspolicy import CosignedBy, WitnessPolicy
from verismo.model.ledger import LogId, origin_of, year_of
from verismo.model.units import moment_utc

LEDGER_CHECKS = (15, 16, 17)

Proof = bytes | ProofRefused | None

_MS_PER_S = 1_000


class LedgerTrust(msgspec.Struct, frozen=True):
    """What the one who verifies trusts of a gateway's ledger; empty parts leave their check out.

    Args:
        log_keys: one for each log that answers may be in; the name of each is the log's origin.
        policy: whose witnesses have to have seen the checkpoint. Logs that it names are trusted as
            those in `log_keys` are.
        ring: the newest ring of a history that `trusted_ring` believed. Its log keys are trusted
            where no others are named.
    """

    log_keys: tuple[VerifierKey, ...] = ()
    policy: WitnessPolicy | None = None
    ring: KeyRing | None = None

    @property
    def named_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of logs that were named one by one."""
        policy = self.policy
        return self.log_keys + (() if policy is None else tuple(one.key for one in policy.logs))

    @property
    def demands_proof(self) -> bool:
        """Whether an answer without a proof is INVALID."""
        return bool(self.log_keys) or self.policy is not None


def trusted_ring(document: bytes, seen: Remembered | None) -> tuple[SignedRing, Remembered]:
    """Read a key ring with its whole history and check it against what was seen before.

    Args:
        document: as `/.well-known/attest/keyring.json` serves it.
        seen: what was remembered; None at the first meeting.

    Returns:
        The newest version, and what to remember before anything is believed by it.

    Raises:
        KeyRingRefused: not a ring, or an older or another one than was seen. `refused_ring` makes
            the report.
    """
    history = read_keyring(document)
    newest = check_history(seen, history)
    return history[-1], newest


def ring_keys(ring: KeyRing) -> Mapping[str, PublicKey]:
    """Return the token keys of every time, for a `Verifier`; check 17 says when each counted."""
    return {entry.kid: public_key(entry) for entry in ring.keys if entry.role == "token"}


def refused_ring(error: KeyRingRefused) -> Report:
    """Return the report on a key ring that is not believed: INVALID by check 17."""
    findings = Findings()
    findings.fails(17, str(error))
    return Report("INVALID", None, findings.checks(), "", None)


def signed_entry(report: Report) -> bytes | None:
    """Return the ledger's entry for an answer; None unless its statement was verified.

    Args:
        report: of checks 1 to 14.
    """
    if report.statement is None or not report.jws:
        return None
    return leaf_entry(LeafType.ANSWER, report.payload, report.jws.encode("ascii"))


def verify_ledger(report: Report, proof: Proof, trust: LedgerTrust) -> Report:
    """Make checks 15 to 17 on an answer.

    Args:
        report: of checks 1 to 14.
        proof: the proof file, or why none could be made; None if there is none.
        trust: what the caller named.

    Returns:
        The report with all checks. One of these failed makes VERIFIED and VERIFIED_PREFIX INVALID;
        a stream has no proven events then.
    """
    findings = Findings()
    if not report.jws:
        for number in LEDGER_CHECKS:
            findings.skips(number, "not reached")
        return _joined(report, findings)
    entry, stated = signed_entry(report), report.statement
    cosigned = None
    if entry is None or stated is None:
        findings.skips(15, "the final statement, which the ledger holds, did not arrive")
        findings.skips(16, "not reached")
    elif proof is None:
        _judge_missing(trust, findings)
    else:
        cosigned = _check_proof(proof, entry, stated, trust, findings)
    if trust.ring is not None:
        _check_key(report, trust.ring, cosigned, findings)
    return _joined(report, findings)


def _joined(report: Report, findings: Findings) -> Report:
    """Put the outcomes of checks 15 to 17 into a report."""
    made = [check for check in findings.checks() if check.number in LEDGER_CHECKS]
    kept = [check for check in report.checks if check.number not in LEDGER_CHECKS]
    checks = (*kept, *made)
    if not findings.failed:
        return msgspec.structs.replace(report, checks=checks)
    events = None if report.events is None else 0
    return msgspec.structs.replace(report, verdict="INVALID", events=events, checks=checks)


def _judge_missing(trust: LedgerTrust, findings: Findings) -> None:
    if trust.demands_proof:
        findings.fails(15, "a proof of the ledger is demanded, and none came with the answer")
    if trust.policy is not None:
        findings.skips(16, "not reached")


def _check_proof(
    document: bytes | ProofRefused,
    entry: bytes,
    stated: Statement,
    trust: LedgerTrust,
    findings: Findings,
) -> CosignedBy | None:
    """Make checks 15 and 16, and return who witnessed the proven checkpoint."""
    if trust.policy is not None:
        findings.skips(16, "not reached")
    if trust.ring is None and not trust.demands_proof:
        findings.skips(15, "a proof came along, but nobody named the key of the log")
        return None
    try:
        if isinstance(document, ProofRefused):
            raise document
        keys = _keys_of(_origin_of(stated), trust)
        proof = read_proof(document)
        key, proven = _include(proof, entry, keys)
    except (ProofRefused, NoteRefused) as error:
        findings.fails(15, str(error))
        return None
    cosigned = _check_witnesses(proof, entry, key, trust.policy, findings)
    problem = _revoked_log(key, trust.ring, cosigned)
    findings.judge(15, problem, f"entry {proven.index} of {proven.size} in {proven.origin}")
    return cosigned


def _origin_of(stated: Statement) -> str:
    return origin_of(stated.iss, LogId(stated.region, year_of(stated.iat)))


def _keys_of(origin: str, trust: LedgerTrust) -> Sequence[VerifierKey]:
    """Return the keys that may sign for the log that an answer belongs in.

    Raises:
        ProofRefused: keys of other logs alone were named, or none at all.
    """
    named = trust.named_keys
    if named:
        found = [key for key in named if key.name == origin]
        if not found:
            raise ProofRefused(
                f"the statement belongs in the log {origin[:256]!r}; the named keys are of others"
            )
        return found
    if trust.ring is None:
        raise ProofRefused("nobody named the key of the log")
    # A log's key has no window: nothing but a witness says when a checkpoint was signed.
    entries = [one for one in trust.ring.keys if one.role == "log" and not one.revoked_ms]
    return [verifier_key(origin, public_key(one).raw) for one in entries]


def _include(
    proof: LedgerProof, entry: bytes, keys: Sequence[VerifierKey]
) -> tuple[VerifierKey, ProvenInclusion]:
    """Verify the proof under one of the keys.

    Raises:
        ProofRefused: it holds under none; says why under the last.
    """
    refusal = ProofRefused("the key ring has no key of a log in force")
    for key in keys:
        try:
            return key, verify_proof(proof, entry, key)
        except ProofRefused as error:
            refusal = error
    raise refusal


def _revoked_log(key: VerifierKey, ring: KeyRing | None, cosigned: CosignedBy | None) -> str:
    """Say what the ring has against a log's key, though it was named; empty for nothing."""
    entries = () if ring is None else ring.keys
    for entry in entries:
        is_it = entry.role == "log" and public_key(entry).raw == key.raw
        witnessed_ms = _witnessed_ms(cosigned)
        if is_it and entry.revoked_ms and (witnessed_ms or FOR_EVER_MS) >= entry.revoked_ms:
            return (
                f"the key of the log was revoked at {entry.revoked_ms} ({entry.reason}), and no "
                "quorum has seen the checkpoint before"
            )
    return ""


def _check_witnesses(
    proof: LedgerProof,
    entry: bytes,
    key: VerifierKey,
    policy: WitnessPolicy | None,
    findings: Findings,
) -> CosignedBy | None:
    if policy is None:
        return None
    try:
        cosigned = verify_proof(proof, entry, key, policy).cosigned
    except ProofRefused as error:
        findings.fails(16, str(error))
        return None
    if cosigned is None or cosigned.quorum_at_s is None:
        findings.skips(16, "the policy asks for no quorum")
        return None
    names = ", ".join(ascii(name) for name in cosigned.names)
    at = moment_utc(cosigned.quorum_at_s * _MS_PER_S)
    findings.passes(16, f"{names} cosigned the checkpoint; a quorum at {at}")
    return cosigned


def _check_key(
    report: Report, ring: KeyRing, cosigned: CosignedBy | None, findings: Findings
) -> None:
    """Make check 17: the signing key was in force."""
    header = jws.parse(report.jws).header
    entry = next((one for one in ring.keys if one.kid == header.kid), None)
    if entry is None:
        findings.fails(17, f"version {ring.version} of the key ring does not hold the key")
        return
    problem = _wrong_key(entry, header.alg, _signed_ms(report), cosigned)
    findings.judge(17, problem, _in_force(entry, ring.version))


def _wrong_key(entry: KeyEntry, alg: str, iat_ms: int, cosigned: CosignedBy | None) -> str:
    if entry.role != "token":
        return f"the key ring gives the key the role {entry.role}, not token"
    if entry.alg != alg:
        return f"the key ring gives the key the algorithm {entry.alg}, the token says {alg}"
    return judge_key(entry, iat_ms, _witnessed_ms(cosigned))


def _witnessed_ms(cosigned: CosignedBy | None) -> int | None:
    if cosigned is None or cosigned.quorum_at_s is None:
        return None
    # A witness states whole seconds: it may have seen the checkpoint as late as at its end.
    return cosigned.quorum_at_s * _MS_PER_S + _MS_PER_S - 1


def _signed_ms(report: Report) -> int:
    if report.statement is not None:
        return report.statement.iat
    return read_head(report.payload).iat


def _in_force(entry: KeyEntry, version: int) -> str:
    end_ms = entry.window_end_ms
    until = "" if end_ms == FOR_EVER_MS else f" to {moment_utc(end_ms)}"
    return f"version {version}: the key counts from {moment_utc(entry.not_before_ms)}{until}"
