"""Decisions in memory, recorded as the loop records them, unsigned: for whoever reads them."""

import msgspec

from verismo.attest.controlrecord import NO_RECORD, ControlRecord
from verismo.model import canonical
from verismo.model.decision import encode_decision
from verismo.model.units import Milliseconds
from verismo.ports.decisions import DecisionRow


class KeptDecisions:
    """A `DecisionReader` that decides and keeps what it is given looks of."""

    def __init__(self):
        self.kept = []
        self.blobs = {}

    def decide(self, look, now_ms):
        """Decide a look, record it, and return the decision."""
        decision = look.rule.decide(look.before, look.observation, look.settings, now_ms)
        values = [look.before, look.observation, look.settings, decision]
        encoded = [canonical.encode(one) for one in values[:3]] + [encode_decision(decision)]
        digests = [canonical.digest(one) for one in encoded]
        self.blobs.update(zip(digests, encoded, strict=True))
        n = len(self.kept) + 1
        record = ControlRecord(
            *(1, "test", Milliseconds(now_ms), n, NO_RECORD, "decision"),
            *(look.rule.name, look.rule.version, look.subject, decision.verdict),
            *digests,
            of=getattr(look.observation, "of", ""),
        )
        subject = canonical.encode(look.subject).decode()
        statement = canonical.encode(record)
        self.kept.append(
            DecisionRow(n, look.rule.name, subject, decision.verdict, statement, b"", now_ms)
        )
        return decision

    def rows(self, after, limit):
        """See `DecisionReader`."""
        return self.kept[after : after + limit]

    def newest(self, rules, subject):
        """See `DecisionReader`."""
        found = [one for one in self.kept if one.rule in rules and one.subject == subject]
        return found[-1] if found else None

    def subjects(self, rules):
        """See `DecisionReader`."""
        return sorted({one.subject for one in self.kept if one.rule in rules})

    def first_since(self, since_ms):
        """See `DecisionReader`."""
        return next((one.n for one in self.kept if one.written_ms >= since_ms), 0)

    def last(self):
        """See `DecisionReader`."""
        return len(self.kept)

    def blob(self, digest):
        """See `DecisionReader`."""
        return self.blobs.get(digest)

    def damage(self, digest):
        """Alter the bytes that are kept under a digest."""
        self.blobs[digest] = self.blobs[digest] + b" "


def newest_digest(kept):
    """Return the digest of the newest decision of all; empty if there is none."""
    if not kept.kept:
        return ""
    return msgspec.json.decode(kept.kept[-1].statement)["decision"]
