"""Signed notes: a text, an empty line, and signature lines (C2SP signed-note).

Reading is strict and one-to-one: a note that is read encodes to the same octets. Lines of unknown
keys are kept and ignored; a line of a known key that does not verify refuses the whole note. What
the text means is for others (`checkpoint`).

Ed25519 alone is verified: the keys of logs (algorithm 1) and of witnesses (algorithm 4, whose
signatures `cosignature` makes and verifies).

Source: C2SP signed-note.
"""

import base64
import binascii
import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verismo.attest.keys import KeyRefused, Role, has_agreed_r, import_key

NOTE_BYTES_MAX = 1_048_576
SIGNATURES_MAX = 100
"""The format demands 16 at least; post-quantum ones have 5 kB each, and all of these fit in."""
KEY_HASH_BYTES = 4
ED25519_SIGNATURE_BYTES = 64
NAME_CHARS_MAX = 255
"""More than any name of a host with a path that a log or a witness has."""
KEYS_REMEMBERED_MAX = 256

ALGORITHM_ED25519: Literal[1] = 1
ALGORITHM_COSIGNATURE: Literal[4] = 4
Algorithm = Literal[1, 4]

_PREFIX = "— "


class NoteRefused(ValueError):
    """No such note, or its signatures do not verify; and why. Do not use its text."""


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key under a name, as notes refer to it.

    Args:
        name: of the key; of a log it is the log's origin.
        key_hash: 4 octets over name, algorithm and key.
        algorithm: 1 for notes, 4 for cosignatures.
        raw: the Ed25519 public key, 32 octets.
    """

    name: str
    key_hash: bytes
    algorithm: Algorithm
    raw: bytes

    @property
    def vkey(self) -> str:
        """The key as text, `name+hash+key`; `parse_vkey` reads it."""
        key = base64.b64encode(bytes((self.algorithm,)) + self.raw).decode("ascii")
        return f"{self.name}+{self.key_hash.hex()}+{key}"


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line.

    Args:
        name: of the key that is said to have signed.
        key_hash: of that key, 4 octets.
        signature: its octets; what they are depends on the key's algorithm.
    """

    name: str
    key_hash: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its line end."""
        return signature_line(self.name, self.key_hash, self.signature)


class Note(msgspec.Struct, frozen=True):
    """A note whose signatures have not been verified; see `verify_note`.

    Args:
        text: with its last line end, without the empty line.
        signatures: in the order of their lines.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """Return the note's octets."""
        return (self.text + "\n" + "".join(one.line for one in self.signatures)).encode("utf-8")

    def adding(self, signatures: Iterable[NoteSignature]) -> "Note":
        """Return the note with further signature lines at its end; ones it has are not doubled."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *signatures))))


def key_hash(name: str, algorithm: int, raw: bytes) -> bytes:
    """Return the 4 octets by which notes name a key.

    Args:
        name: of the key.
        algorithm: 1 or 4.
        raw: the public key.

    Source: C2SP signed-note, "Signatures".
    """
    content = name.encode("utf-8") + b"\n" + bytes((algorithm,)) + raw
    return hashlib.sha256(content).digest()[:KEY_HASH_BYTES]


def verifier_key(name: str, raw: bytes, algorithm: Algorithm = ALGORITHM_ED25519) -> VerifierKey:
    """Return the key of a log or a witness from its parts.

    Args:
        name: the log's origin or the witness's name.
        raw: the Ed25519 public key, 32 octets.
        algorithm: 1 for a log, 4 for a witness.

    Raises:
        NoteRefused: a name that notes cannot carry, or a key that verifiers disagree on.
    """
    check_name(name)
    try:
        _check_key(raw, algorithm)
    except KeyRefused as error:
        raise NoteRefused(f"the key {name[:64]!r} is refused: {error}") from error
    return VerifierKey(name, key_hash(name, algorithm, raw), algorithm, raw)


def vkey(name: str, raw_public: bytes, algorithm: Algorithm = ALGORITHM_ED25519) -> str:
    """Return a public key as the text that verifiers are configured with; see `verifier_key`."""
    return verifier_key(name, raw_public, algorithm).vkey


def parse_vkey(text: str) -> VerifierKey:
    """Read a public key, `name+hash+key`, in its one spelling.

    Raises:
        NoteRefused: malformed, of an algorithm other than 1 and 4, a hash that is not the key's, or
            a key that verifiers disagree on.

    Source: C2SP signed-note, "Verifier keys".
    """
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteRefused("a verifier key is name+hash+key")
    name, hash_text, encoded = parts
    decoded = decode_base64(encoded, "verifier key")
    if not decoded:
        raise NoteRefused("the verifier key is empty")
    algorithm = decoded[0]
    if algorithm not in (ALGORITHM_ED25519, ALGORITHM_COSIGNATURE):
        raise NoteRefused(f"the key {name[:64]!r} is of the unknown algorithm {algorithm}")
    check_name(name)
    expected = key_hash(name, algorithm, decoded[1:]).hex()
    if expected != hash_text:
        raise NoteRefused(f"the hash of the key {name[:64]!r} is {expected}")
    return verifier_key(name, decoded[1:], algorithm)


def read_note(data: bytes) -> Note:
    """Read a note; nothing is verified yet.

    Args:
        data: at most 1 MiB.

    Raises:
        NoteRefused: over a limit, not UTF-8, control characters, no text, no signature lines, or a
            line that is none.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise NoteRefused(f"a note of more than {NOTE_BYTES_MAX} octets")
    text = _decode_text(data)
    body, separator, lines = text.rpartition("\n\n")
    if not separator:
        raise NoteRefused("the note has no empty line before its signatures")
    return Note(body + "\n", read_signature_lines(lines))


def read_signature_lines(text: str) -> tuple[NoteSignature, ...]:
    """Read signature lines, as a witness answers them.

    Args:
        text: one or more lines, each with its line end.

    Raises:
        NoteRefused: none, more than 100, or a line that is none.
    """
    if not text.endswith("\n"):
        raise NoteRefused("the last signature line has no line end, or there is none")
    lines = text[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteRefused(f"a note of more than {SIGNATURES_MAX} signatures")
    return tuple(_read_line(line) for line in lines)


def signature_line(name: str, key_hash: bytes, signature: bytes) -> str:
    """Return a signature line with its line end.

    Args:
        name: of the key.
        key_hash: of the key, 4 octets.
        signature: as the key's algorithm makes it.
    """
    return f"{_PREFIX}{name} {base64.b64encode(key_hash + signature).decode('ascii')}\n"


def verify_note(note: Note, keys: Sequence[VerifierKey]) -> tuple[NoteSignature, ...]:
    """Verify every signature of a known key over the note's text.

    Args:
        note: as `read_note` returned it.
        keys: of algorithm 1. Signatures of other keys are ignored.

    Returns:
        The verified signatures, at least one, the first of each key.

    Raises:
        NoteRefused: a signature of a known key is wrong, two known keys have one name and hash, or
            no known key has signed.

    Source: C2SP signed-note, "Signatures".
    """
    verified: dict[tuple[str, bytes], NoteSignature] = {}
    for one, key in known_signatures(note, keys):
        if key.algorithm != ALGORITHM_ED25519:
            raise NoteRefused(f"the key {key.name[:64]!r} signs no notes, only cosignatures")
        verify_ed25519(key, one.signature, note.text.encode("utf-8"))
        verified.setdefault((one.name, one.key_hash), one)
    if not verified:
        raise NoteRefused("no known key has signed the note")
    return tuple(verified.values())


def known_signatures(
    note: Note, keys: Sequence[VerifierKey]
) -> tuple[tuple[NoteSignature, VerifierKey], ...]:
    """Return the signature lines that name a known key, with that key; nothing is verified yet.

    Raises:
        NoteRefused: two known keys have the name and hash of one line.
    """
    found: list[tuple[NoteSignature, VerifierKey]] = []
    for one in note.signatures:
        known = [key for key in keys if (key.name, key.key_hash) == (one.name, one.key_hash)]
        if len(known) > 1:
            raise NoteRefused(f"two keys are called {one.name[:64]!r} and have one hash")
        found += [(one, key) for key in known]
    return tuple(found)


def verify_ed25519(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Verify one Ed25519 signature.

    Raises:
        NoteRefused: it is not the key's over the message, or verifiers would disagree on it.
    """
    refusal = f"the signature of {key.name[:64]!r} is not of this key over this text"
    if len(signature) != ED25519_SIGNATURE_BYTES or not has_agreed_r(signature):
        raise NoteRefused(refusal)
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except InvalidSignature as error:
        raise NoteRefused(refusal) from error


def check_name(name: str) -> None:
    """Refuse a key name that notes cannot carry.

    Raises:
        NoteRefused: empty, over 255 characters, with a space of any kind, a plus sign or a control
            character, or not Unicode.
    """
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise NoteRefused(f"a key name has 1 to {NAME_CHARS_MAX} characters, not {len(name)}")
    if any(one == "+" or one < " " or one.isspace() or "\ud800" <= one <= "\udfff" for one in name):
        raise NoteRefused(f"a space, plus or control character in the key name {name[:64]!r}")


def decode_base64(text: str, what: str) -> bytes:
    """Decode base64 in its one canonical spelling, so that no line has a twin.

    Args:
        text: with padding, no white space.
        what: it is, for the refusal.

    Raises:
        NoteRefused: any other spelling, or no base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteRefused(f"the {what} is not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise NoteRefused(f"the {what} is not the canonical base64 spelling")
    return data


# The check of a key's order takes 2 ms, and the few keys of logs and witnesses come again with each
# origin and each policy. What is remembered are answers of a pure function, a bounded number.
@functools.lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _check_key(raw: bytes, algorithm: Algorithm) -> None:
    role: Role = "log" if algorithm == ALGORITHM_ED25519 else "witness"
    import_key(raw, role)


def _read_line(line: str) -> NoteSignature:
    if not line.startswith(_PREFIX):
        raise NoteRefused("a line after the text is no signature")
    name, space, encoded = line[len(_PREFIX) :].partition(" ")
    if not space:
        raise NoteRefused("a signature line is a dash, a name and a signature")
    check_name(name)
    decoded = decode_base64(encoded, "signature")
    if len(decoded) <= KEY_HASH_BYTES:
        raise NoteRefused("a signature without octets")
    return NoteSignature(name, decoded[:KEY_HASH_BYTES], decoded[KEY_HASH_BYTES:])


def _decode_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteRefused("the note is not UTF-8") from error
    if any(one < 32 and one != 10 for one in data):
        raise NoteRefused("a control character in the note")
    return text
