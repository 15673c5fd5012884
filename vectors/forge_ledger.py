"""Vectors about the ledger: proofs of inclusion, checkpoints of logs, cosignatures of witnesses."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from forge import (
    ISSUER,
    TIME_MS,
    Case,
    Json,
    Key,
    Recipe,
    Vector,
    base64url,
    invalid,
    stream,
    valid,
    whole,
)

from verismo.attest.checkpoint import Checkpoint
from verismo.attest.cosignature import cosignature_line, cosigned_message
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import CompactRange, NodeCoordinate, inclusion_proof, leaf_hash
from verismo.attest.note import Algorithm, VerifierKey, signature_line, verifier_key
from verismo.attest.stream import is_comment_only, parse_signed_comment
from verismo.attest.tile import tile_root
from verismo.attest.tlogproof import LedgerProof

ORIGIN = "gateway.example/log/eu-central/2026"
SIZE = 300
INDEX = 137
SEEN_S = TIME_MS // 1_000 + 2
"""When witnesses see the checkpoint: two seconds after the answer."""


@dataclass(frozen=True)
class NoteKey:
    """A test key of a log (algorithm 1) or of a witness (4)."""

    name: str
    algorithm: Algorithm = 1
    seed_name: str = "log"

    @property
    def _key(self) -> Key:
        return Key(f"note {self.seed_name}", role="log")

    @property
    def key(self) -> VerifierKey:
        """The public half."""
        return verifier_key(self.name, self._key.raw, self.algorithm)

    def line(self, text: str, time_s: int = 0) -> str:
        """Return its signature line over a note's text."""
        key = self.key
        if self.algorithm == 1:
            return signature_line(key.name, key.key_hash, self._key.sign(text.encode()))
        return cosignature_line(key, time_s, self._key.sign(cosigned_message(text, time_s)))


ALICE = NoteKey("alice.example", 4, "alice")
BOB = NoteKey("bob.example", 4, "bob")
EVE = NoteKey("eve.example", 4, "eve")
POLICY = (
    f"witness alice {ALICE.key.vkey}\nwitness bob {BOB.key.vkey}\n"
    "group both all alice bob\nquorum both\n"
)


def entry(case: Case, kind: LeafType = LeafType.ANSWER) -> bytes:
    """Return the entry of an answer's statement."""
    if "attest-statement" in dict(case.headers):
        signed = base64url.decode_binary_item(case["attest-statement"])
        return leaf_entry(kind, signed, case["attest-signature"].encode())
    blocks = [block + b"\n\n" for block in case.answer.split(b"\n\n")]
    last = [block for block in blocks if is_comment_only(block)][-1]
    comment = parse_signed_comment(last)
    if comment is None:
        raise ValueError("the stream has no final statement")
    return leaf_entry(kind, comment.payload, comment.jws.encode())


@dataclass
class Log:
    """A log that holds one answer among others, and the parts of its proof to be changed."""

    entry: bytes
    origin: str = ORIGIN
    size: int = SIZE
    index: int = INDEX
    signer: NoteKey | None = None
    witnesses: Sequence[tuple[NoteKey, int]] = ()
    extra: bytes = b""
    path: tuple[bytes, ...] = field(init=False)
    root: bytes = field(init=False)

    def __post_init__(self) -> None:
        others = [leaf_entry(LeafType.ANSWER, f"{n}".encode(), b"a..b") for n in range(self.size)]
        others[self.index] = self.entry
        leaves = [leaf_hash(one) for one in others]
        frontier = CompactRange()
        frontier.extend(leaves)

        def read(nodes: Sequence[NodeCoordinate]) -> list[bytes]:
            return [
                tile_root(leaves[node.index << node.level : (node.index + 1) << node.level])
                for node in nodes
            ]

        self.root = frontier.root()
        self.path = inclusion_proof(self.index, self.size, read)

    @property
    def key(self) -> NoteKey:
        """The key that signs its checkpoints."""
        return self.signer or NoteKey(self.origin)

    @property
    def text(self) -> str:
        """What is signed of its checkpoint."""
        return Checkpoint(self.origin, self.size, self.root).text()

    def note(self) -> str:
        """Return its checkpoint with all signatures."""
        cosigned = [witness.line(self.text, time_s) for witness, time_s in self.witnesses]
        return "".join((self.text, "\n", self.key.line(self.text), *cosigned))

    def proof(self, note: str | None = None) -> str:
        """Return the proof file."""
        checkpoint = (self.note() if note is None else note).encode()
        return LedgerProof(self.extra, self.index, self.path, checkpoint).encode().decode()


def trusting(
    vector: Vector, proof: str | None, *vkeys: str, policy: str | None = None, **more: Json
) -> Vector:
    """Put a proof into a vector's exchange, and say what its verifier trusts."""
    if proof is not None:
        vector.case.expected["proof"] = proof
    trusted: dict[str, Json] = {"log_keys": list(vkeys), **more}
    if policy is not None:
        trusted["witness_policy"] = policy
    return replace(vector, ledger=trusted)


VKEY = NoteKey(ORIGIN).key.vkey


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _proven()
    yield from _other_logs()
    yield from _forged()
    yield from _malformed()
    yield from _missing()
    yield from _witnessed()
    yield from _unwitnessed()


def _proven() -> Iterator[Vector]:
    for name, size, index in (
        ("", SIZE, INDEX),
        ("-first", SIZE, 0),
        ("-last", SIZE, SIZE - 1),
        ("-only", 1, 0),
        ("-full-tile", 256, 255),
    ):
        case = whole()
        log = Log(entry(case), size=size, index=index)
        vector = valid(f"ledger{name}", f"entry {index} of a log of {size}", case)
        yield trusting(vector, log.proof(), VKEY)
    case = whole()
    log = Log(entry(case), extra=b"whatever")
    vector = valid("ledger-extra", "extra data, which nobody signed, changes nothing", case)
    yield trusting(vector, log.proof(), VKEY)
    case = stream().case()
    vector = valid("ledger-stream", "the final statement of a stream is in the log", case, 6)
    yield trusting(vector, Log(entry(case)).proof(), VKEY)
    case = whole()
    vector = valid("ledger-more-keys", "keys of several logs are trusted", case)
    others = [NoteKey(f"gateway.example/log/{log}").key.vkey for log in ("us/2026", "eu/2025")]
    yield trusting(vector, Log(entry(case)).proof(), others[0], VKEY, others[1])
    case = whole(Recipe(change=lambda stated: stated.update(iat=_YEAR_END_MS)))
    vector = valid("ledger-year-end", "the last millisecond of a year is in that year's log", case)
    yield trusting(vector, Log(entry(case)).proof(), VKEY)
    case = whole()
    vector = valid("ledger-key-not-named", "without a trusted log key a proof says nothing", case)
    case.expected["proof"] = Log(entry(case)).proof()
    yield vector


_YEAR_END_MS = 1_798_761_599_999


def _other_logs() -> Iterator[Vector]:
    for name, other in (
        ("region", "gateway.example/log/us/2026"),
        ("year", "gateway.example/log/eu-central/2027"),
        ("issuer", "other.example/log/eu-central/2026"),
        ("scheme", f"{ISSUER}/log/eu-central/2026"),
    ):
        case = whole()
        log = Log(entry(case), origin=other)
        vector = invalid(f"ledger-other-{name}", f"a log of another {name}", case, 15)
        yield trusting(vector, log.proof(), log.key.key.vkey)
        case = whole()
        log = Log(entry(case), origin=other)
        vector = invalid(f"ledger-other-{name}-proof", "a proof out of another log", case, 15)
        yield trusting(vector, log.proof(), VKEY)
    case = whole(Recipe(change=lambda stated: stated.update(iat=_YEAR_END_MS + 1)))
    vector = invalid("ledger-year-begun", "the next year's first millisecond", case, 15)
    yield trusting(vector, Log(entry(case)).proof(), VKEY)
    case = whole()
    log = Log(entry(case), signer=NoteKey(ORIGIN, seed_name="another log"))
    vector = invalid("ledger-other-key", "a checkpoint signed by another key", case, 15)
    yield trusting(vector, log.proof(), VKEY)
    case = whole()
    log = Log(entry(case), origin="gateway.example/log/us/2026", signer=NoteKey(ORIGIN))
    vector = invalid("ledger-origin-not-key", "the log's key under another origin", case, 15)
    yield trusting(vector, log.proof(), VKEY)


def _forged() -> Iterator[Vector]:
    case = whole()
    log = Log(entry(case))
    own = log.proof()
    other = Log(entry(whole(Recipe(name="answer B"))))
    void = Log(entry(case, LeafType.VOID))
    unsigned = log.text + "\n" + ALICE.line(log.text, SEEN_S)
    resized = log.note().replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    root = base64.b64encode(log.root).decode()
    rerooted = log.note().replace(root, base64.b64encode(other.root).decode())
    first = base64.b64encode(log.path[0]).decode()
    second = base64.b64encode(log.path[1]).decode()
    for name, shows, proof in (
        ("other-answer", "the proof of another answer", other.proof()),
        ("other-type", "the entry is in the log as a void", void.proof()),
        ("other-index", "another index", own.replace(f"index {INDEX}\n", f"index {INDEX - 1}\n")),
        ("index-of-size", "an index at the tree's size", own.replace(f"{INDEX}\n", f"{SIZE}\n", 1)),
        ("short-path", "a path without its first hash", own.replace(f"{first}\n", "", 1)),
        ("long-path", "a hash twice", own.replace(f"{first}\n", f"{first}\n{first}\n")),
        ("swapped-path", "two hashes have changed places",
         own.replace(f"{first}\n{second}\n", f"{second}\n{first}\n")),
        ("other-size", "a size that the log did not sign", log.proof(resized)),
        ("other-root", "a root that the log did not sign", log.proof(rerooted)),
        ("unsigned", "a checkpoint that only a witness signed", log.proof(unsigned)),
        ("bad-second", "the log's right signature and a wrong one",
         own + NoteKey(ORIGIN).line("x\n")),
    ):  # fmt: skip
        vector = invalid(f"ledger-{name}", shows, whole(), 15)
        yield trusting(vector, proof, VKEY)


def _malformed() -> Iterator[Vector]:
    own = Log(entry(whole())).proof()
    first = own.split("\n")[2]
    for name, shows, proof in (
        ("empty", "an empty proof file", ""),
        ("version", "another version of the format", own.replace("@v1", "@v2", 1)),
        ("zero", "an index with a leading zero", own.replace("index ", "index 0", 1)),
        ("crlf", "carriage returns", own.replace("\n", "\r\n")),
        ("base64", "a hash without its padding", own.replace(first, first.rstrip("="), 1)),
        ("short-hash", "a hash of 31 octets", own.replace(first, "A" * 40 + "AA==", 1)),
        ("cut", "the last line end is gone", own[:-1]),
        ("no-checkpoint", "no checkpoint", own.partition("\n\n")[0] + "\n\n"),
        ("extra-after", "the extra line stands after the index",
         own.replace(first, f"extra AAAA\n{first}", 1)),
        ("spaced", "a second empty line", own.replace("\n\n", "\n\n\n", 1)),
    ):  # fmt: skip
        vector = invalid(f"ledger-malformed-{name}", shows, whole(), 15)
        yield trusting(vector, proof, VKEY)


def _missing() -> Iterator[Vector]:
    """Whoever names a log key or a policy demands the proof."""
    vector = invalid("ledger-no-proof", "a log key is named, and no proof came", whole(), 15)
    yield trusting(vector, None, VKEY)
    vector = invalid("ledger-no-proof-policy", "a policy is named, and no proof came", whole(), 15)
    yield trusting(vector, None, policy=POLICY)
    case = whole()
    vector = invalid("ledger-policy-no-key", "a policy, but no key of the log", case, 15)
    yield trusting(vector, Log(entry(case)).proof(), policy=POLICY)
    made = stream()
    log = Log(entry(made.case()))
    vector = Vector(
        "ledger-stream-cut",
        "a stream cut before its statement is a prefix, whatever its proof",
        made.case(made.blocks[:4]),
        "VERIFIED_PREFIX",
        (12,),
        2,
    )
    yield trusting(vector, log.proof(), VKEY)
    vector = invalid("ledger-stream-no-proof", "a whole stream", made.case(), 15, events=0)
    yield trusting(vector, None, VKEY)
    case = whole()
    case.answer += b" "
    log = Log(entry(case))
    vector = invalid("ledger-other-body", "the log holds it, but the body is another", case, 11, 14)
    yield trusting(vector, log.proof(), VKEY)


def cosigned(*witnesses: tuple[NoteKey, int], case: Case | None = None) -> Log:
    """Return the log of an answer with cosignatures."""
    return Log(entry(case or whole()), witnesses=witnesses)


def _witnessed() -> Iterator[Vector]:
    both = ((ALICE, SEEN_S), (BOB, SEEN_S + 1))
    one = POLICY.replace("both all", "both any")
    named = f"log {VKEY}\n{POLICY}"
    unknown = POLICY.replace(BOB.key.vkey, EVE.key.vkey).replace("all", "any")
    for name, shows, vkeys, witnesses, policy in (
        ("both", "two of two cosigned", [VKEY], both, POLICY),
        ("any", "one of two is enough", [VKEY], both[1:], one),
        ("named", "the policy names the log and its key", [], both, named),
        ("unknown", "a cosignature that the policy does not know", [VKEY], both, unknown),
        ("twice", "a witness cosigned twice", [VKEY], (*both, (ALICE, SEEN_S + 9)), POLICY),
        ("none", "the policy asks for no quorum", [VKEY], (), f"{POLICY[:-5]}none\n"),
    ):
        vector = valid(f"witness-{name}", shows, whole())
        yield trusting(vector, cosigned(*witnesses).proof(), *vkeys, policy=policy)


def _unwitnessed() -> Iterator[Vector]:
    both = ((ALICE, SEEN_S), (BOB, SEEN_S + 1))
    plain = cosigned()
    text, other = plain.text, plain.text.replace(f"\n{SIZE}\n", "\n299\n")
    line = ALICE.line(text, SEEN_S) + BOB.line(text, SEEN_S)
    elsewhere = f"log {NoteKey('gateway.example/log/us/2026').key.vkey}\n{POLICY}"
    impostor = NoteKey("bob.example", 4, "eve").line(text, SEEN_S)
    for name, shows, note, policy in (
        ("nobody", "nobody cosigned", plain.note(), POLICY),
        ("one-of-two", "one of two cosigned", cosigned(both[0]).note(), POLICY),
        ("stranger", "a witness that the policy does not name",
         cosigned(both[0], (EVE, SEEN_S)).note(), POLICY),
        ("impostor", "a witness's name with a key of another",
         plain.note() + ALICE.line(text, SEEN_S) + impostor, POLICY),
        ("other-tree", "a cosignature over a smaller tree",
         plain.note() + ALICE.line(text, SEEN_S) + BOB.line(other, SEEN_S), POLICY),
        ("other-time", "a cosignature whose time was changed",
         plain.note() + _retimed(line), POLICY),
        ("cut", "a cosignature that is cut off", plain.note() + line[:-41] + "\n", POLICY),
        ("other-log", "the policy names another log", plain.note() + line, elsewhere),
    ):  # fmt: skip
        vector = invalid(f"witness-{name}", shows, whole(), 16)
        yield trusting(vector, plain.proof(note), VKEY, policy=policy)
    vector = invalid("witness-not-log", "witnesses cosigned what the log did not", whole(), 15)
    yield trusting(vector, plain.proof(f"{text}\n{line}"), VKEY, policy=POLICY)


def _retimed(lines: str) -> str:
    """Put another time into the last cosignature."""
    head, _, encoded = lines.rstrip("\n").rpartition(" ")
    octets = bytearray(base64.b64decode(encoded))
    octets[11] ^= 1
    return f"{head} {base64.b64encode(octets).decode()}\n"
