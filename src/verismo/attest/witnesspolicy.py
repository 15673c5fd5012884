"""Which witnesses have to have seen a checkpoint: the policy file (C2SP tlog-policy).

    witness alice <vkey> https://alice.example/witness
    witness bob <vkey>
    witness carol <vkey>
    group auditors 2 alice bob carol
    quorum auditors

Logs and witnesses have Ed25519 keys here (algorithms 1 and 4); a file with others is refused.

Source: C2SP tlog-policy.
"""

import re

import msgspec

from verismo.attest.cosignature import verify_cosignature
from verismo.attest.note import (
    ALGORITHM_COSIGNATURE,
    ALGORITHM_ED25519,
    Algorithm,
    Note,
    NoteRefused,
    VerifierKey,
    known_signatures,
    parse_vkey,
)

POLICY_BYTES_MAX = 131_072
LOGS_MAX = 64
WITNESSES_MAX = 64
GROUPS_MAX = 64
"""The format recommends to take 32 of each at least."""
NO_QUORUM = "none"

_COUNT = re.compile("[1-9][0-9]{0,2}", re.ASCII)


class PolicyRefused(ValueError):
    """The policy file cannot be used; names the line, so that the operator can mend it.

    Args:
        message: what is wrong.
        line: counted from 1; 0 where it is the file as a whole.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class PolicyLog(msgspec.Struct, frozen=True):
    """A log that the policy names.

    Args:
        key: of the log; its name is the origin.
        url: where it is read; empty if the file names none.
    """

    key: VerifierKey
    url: str


class PolicyWitness(msgspec.Struct, frozen=True):
    """A witness that the policy names.

    Args:
        name: within the file only; octets that are not UTF-8 are kept as surrogate escapes.
        key: of the witness.
        url: its submission prefix; empty if the file names none.
    """

    name: str
    key: VerifierKey
    url: str


class PolicyGroup(msgspec.Struct, frozen=True):
    """Witnesses or groups, of which some have to have seen a checkpoint.

    Args:
        name: within the file only.
        threshold: how many of the members.
        members: names of witnesses and of groups before this one.
    """

    name: str
    threshold: int
    members: tuple[str, ...]


class CosignedBy(msgspec.Struct, frozen=True):
    """Who of a policy's witnesses cosigned a checkpoint.

    Args:
        met: whether they are the quorum.
        names: of the witnesses, as in the policy and in its order.
        timestamps_s: when each saw it, Unix seconds, by its own clock; the earliest if it said so
            more than once.
        quorum_at_s: when a quorum had seen it; None if it is not met or none is asked for.
    """

    met: bool
    names: tuple[str, ...]
    timestamps_s: tuple[int, ...]
    quorum_at_s: int | None


class WitnessPolicy(msgspec.Struct, frozen=True):
    """A policy file.

    Args:
        logs: whose checkpoints count; empty if the log is known from elsewhere.
        witnesses: in the order of the file.
        groups: in the order of the file; each names only what stands before it.
        quorum: the name of a witness or a group, or `none`.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    def quorum_met(self, note: Note) -> CosignedBy:
        """Verify the witnesses' cosignatures on a checkpoint and say whether they are enough.

        Args:
            note: the checkpoint, whose log's signature `open_checkpoint` verified.

        Raises:
            NoteRefused: a cosignature of a known witness does not verify. Refuse the checkpoint.
        """
        seen_s: dict[str, int] = {}
        names = {one.key: one.name for one in self.witnesses}
        for signature, key in known_signatures(note, tuple(names)):
            at_s = verify_cosignature(key, note.text, signature)
            seen_s[names[key]] = min(at_s, seen_s.get(names[key], at_s))
        cosigners = tuple(one.name for one in self.witnesses if one.name in seen_s)
        return CosignedBy(
            met=self.is_quorum(frozenset(cosigners)),
            names=cosigners,
            timestamps_s=tuple(seen_s[name] for name in cosigners),
            quorum_at_s=self._quorum_at_s(seen_s),
        )

    def is_quorum(self, names: frozenset[str]) -> bool:
        """Say whether these witnesses together are the quorum.

        Args:
            names: of witnesses, as in the policy.
        """
        if self.quorum == NO_QUORUM:
            return True
        witnessed = {one.name for one in self.witnesses} & names
        for group in self.groups:
            if len(witnessed.intersection(group.members)) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def _quorum_at_s(self, seen_s: dict[str, int]) -> int | None:
        if self.quorum == NO_QUORUM:
            return None
        for at_s in sorted(set(seen_s.values())):
            if self.is_quorum(frozenset(name for name, one in seen_s.items() if one <= at_s)):
                return at_s
        return None


def read_policy(data: bytes) -> WitnessPolicy:
    """Read a policy file.

    Args:
        data: the file, at most 128 KiB.

    Raises:
        PolicyRefused: names the line and what is wrong with it.
    """
    if len(data) > POLICY_BYTES_MAX:
        raise PolicyRefused(f"a policy of more than {POLICY_BYTES_MAX} octets")
    if any((one < 0x20 and one not in b"\t\n") or one == 0x7F for one in data):
        raise PolicyRefused("a control character in the policy")
    if data[-1:] != b"\n":
        raise PolicyRefused("the last line of the policy has no line end")
    reading = _Reading()
    # Octets beyond ASCII are opaque: the escapes keep two names apart that differ in any of them.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reading.take(words[0], words[1:])
        except (PolicyRefused, NoteRefused) as error:
            raise PolicyRefused(f"line {number} of the policy: {error}", number) from error
    return reading.policy()


class _Reading:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._members: set[str] = set()
        self._quorum: str | None = None

    def take(self, keyword: str, words: list[str]) -> None:
        """Read one line."""
        match keyword:
            case "log" if 1 <= len(words) <= 2:
                self._take_log(words[0], words[1] if len(words) == 2 else "")
            case "witness" if 2 <= len(words) <= 3:
                self._take_witness(words[0], words[1], words[2] if len(words) == 3 else "")
            case "group" if len(words) >= 3:
                self._take_group(words[0], words[1], words[2:])
            case "quorum" if len(words) == 1:
                self._take_quorum(words[0])
            case "log" | "witness" | "group" | "quorum":
                raise PolicyRefused(f"{keyword} with {len(words)} words after it")
            case _:
                raise PolicyRefused(f"the unknown keyword {keyword[:32]!r}")

    def policy(self) -> WitnessPolicy:
        """Return the policy once every line is read."""
        if self._quorum is None:
            raise PolicyRefused("the policy has no quorum line")
        return WitnessPolicy(
            tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum
        )

    def _take_log(self, text: str, url: str) -> None:
        key = _read_key(text, ALGORITHM_ED25519)
        if len(self._logs) == LOGS_MAX:
            raise PolicyRefused(f"more than {LOGS_MAX} logs")
        if any(one.key.raw == key.raw for one in self._logs):
            raise PolicyRefused("a second log with the same key")
        self._logs.append(PolicyLog(key, url))

    def _take_witness(self, name: str, text: str, url: str) -> None:
        key = _read_key(text, ALGORITHM_COSIGNATURE)
        self._refuse_taken(name)
        if len(self._witnesses) == WITNESSES_MAX:
            raise PolicyRefused(f"more than {WITNESSES_MAX} witnesses")
        if any(one.key.raw == key.raw for one in self._witnesses):
            raise PolicyRefused("a second witness with the same key")
        self._witnesses.append(PolicyWitness(name, key, url))

    def _take_group(self, name: str, threshold: str, members: list[str]) -> None:
        self._refuse_taken(name)
        if len(self._groups) == GROUPS_MAX:
            raise PolicyRefused(f"more than {GROUPS_MAX} groups")
        count = {"all": len(members), "any": 1}.get(threshold)
        if count is None:
            count = int(threshold) if _COUNT.fullmatch(threshold) else 0
        for member in members:
            self._check_defined(member)
            if member in self._members:
                raise PolicyRefused(f"{member[:64]!r} is the member of a group twice")
            self._members.add(member)
        if not 1 <= count <= len(members):
            raise PolicyRefused(f"a group asks for 1 to {len(members)}, any or all of its members")
        self._groups.append(PolicyGroup(name, count, tuple(members)))

    def _take_quorum(self, name: str) -> None:
        if self._quorum is not None:
            raise PolicyRefused("a second quorum line")
        if name != NO_QUORUM:
            self._check_defined(name)
        self._quorum = name

    def _refuse_taken(self, name: str) -> None:
        if name == NO_QUORUM or self._is_defined(name):
            raise PolicyRefused(f"the name {name[:64]!r} is taken")

    def _check_defined(self, name: str) -> None:
        if not self._is_defined(name):
            raise PolicyRefused(f"no witness or group before this line is called {name[:64]!r}")

    def _is_defined(self, name: str) -> bool:
        names = [one.name for one in self._witnesses] + [one.name for one in self._groups]
        return name in names


def _read_key(text: str, algorithm: Algorithm) -> VerifierKey:
    key = parse_vkey(text)
    if key.algorithm != algorithm:
        raise PolicyRefused(f"a key of algorithm {key.algorithm}; this line takes {algorithm}")
    return key
