"""Tokens of a sentence: words with their stems, names, numbers, marks.

A name is what is spelled like one: inside backquotes, with digits, capitals or joining characters
in it, or with a capital where no sentence begins; `openings` tells those that begin one. The
stemmer strips common English endings; it need not be right about English, only the same on both
sides of a comparison.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from verismo.evidence.lexicon import FUNCTION_WORDS, IRREGULAR, NO_NAMES, SYNONYMS, UNITS

Kind = Literal["word", "name", "number", "mark"]

STEM_CHARS_MIN: Final = 3
"""No ending is stripped that would leave less."""
_INFLECTIONS: Final = ("ings", "ing", "ies", "ied", "ed", "s")
_DERIVATIONS: Final = (
    *("ization", "isation", "ication", "ation", "ature", "ition", "ment", "ibly", "ably", "ally"),
    *("ance", "ence", "able", "ible", "ness", "ure", "ion", "ier", "ity", "ive", "er", "or", "al"),
    *("ly", "e", "y"),
)
_CODE = re.compile(r"`([^`\n]+)`")
_PIECE = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)|\d+(?:\.\d+)*)(?P<suffix>\^\d+|[^\W\d_]\w*|%)?"
    r"|(?P<word>[^\W\d]\w*(?:[./:@+#'’-]+\w+)*)"
    r"|(?P<mark>[,;:()\[\]—–.!?%$€|-])"
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\Z")
_PLAIN = re.compile(r"[a-z]+(?:[-/][a-z]+)*\Z")
_PARTS = re.compile(r"[^\W\d_]+|\d+")
_CONTRACTED: Final = {"can't": "can not", "cannot": "can not", "won't": "will not"}


class Token(msgspec.Struct, frozen=True):
    """One token.

    Args:
        text: as it is written.
        lower: in lower case.
        stem: what it is compared by; empty for marks.
        kind: what it is.
    """

    text: str
    lower: str
    stem: str
    kind: Kind

    @property
    def is_content(self) -> bool:
        """Whether it says what the sentence is about."""
        return self.kind in ("word", "name") and self.lower not in FUNCTION_WORDS


def tokens(sentence: str) -> tuple[Token, ...]:
    """Return the tokens of one sentence in order.

    Args:
        sentence: one line of prose; code in backquotes.
    """
    found: list[Token] = []
    at = 0
    for code in _CODE.finditer(sentence):
        found.extend(_read(sentence[at : code.start()], begins=not found))
        inner = [*_read(code[1], begins=False)]
        found.extend(_as_name(token) for token in inner)
        at = code.end()
    found.extend(_read(sentence[at:], begins=not found))
    return tuple(found)


def stem(word: str) -> str:
    """Return what a word in lower case is compared by.

    Args:
        word: one word, lower case, without marks.
    """
    if word in IRREGULAR:
        return stem(IRREGULAR[word])
    if not word.isascii() or not word.isalpha():
        return word
    inflected = word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes")) else word
    root = _strip(_strip(inflected, _INFLECTIONS), _DERIVATIONS)
    is_double = root[-1] == root[-2:-1] and root[-1] not in "aeiouls"
    root = root[:-1] if len(root) > STEM_CHARS_MIN and is_double else root
    return root.rstrip("eyi") if len(root.rstrip("eyi")) >= STEM_CHARS_MIN else root


def parts(text: str) -> str:
    """Return a text as its letters and digits only, each run between spaces, for finding names."""
    return f" {' '.join(part.lstrip('0') or '0' for part in _PARTS.findall(text.lower()))} "


def related(one: str) -> frozenset[str]:
    """Return the stems that may stand for a stem, itself included."""
    return _RELATED.get(one, frozenset((one,)))


def singular(word: str) -> str:
    """Return a unit's name without its plural ending."""
    return word[:-1] if word.endswith("s") and word[:-1] in UNITS else word


def names(sentence: Sequence[Token]) -> tuple[str, ...]:
    """Return the names in a sentence as they are written, each once."""
    return tuple(dict.fromkeys(token.text for token in sentence if token.kind == "name"))


def _strip(word: str, endings: Sequence[str]) -> str:
    for ending in endings:
        if word.endswith(ending) and len(word) - len(ending) >= STEM_CHARS_MIN:
            return word[: -len(ending)]
    return word


def _read(text: str, *, begins: bool) -> Iterator[Token]:
    """Yield the tokens of a text without code spans."""
    for piece in _PIECE.finditer(text):
        if piece["number"]:
            yield from _number(piece["number"], piece["suffix"] or "")
        elif piece["mark"]:
            yield Token(piece[0], piece[0], "", "mark")
        else:
            yield from _word(piece[0], begins=begins)
        begins = False


def _number(digits: str, suffix: str) -> Iterator[Token]:
    """Yield a number and its unit, or a name that begins with digits, such as `2^63` or `4xx`."""
    if digits.count(".") > 1 or suffix.startswith("^"):
        yield Token(digits + suffix, (digits + suffix).lower(), (digits + suffix).lower(), "name")
    elif not suffix or _ORDINAL.match(suffix):
        yield Token(digits, digits, digits, "number")
    elif singular(suffix.lower()) in UNITS:
        yield Token(digits, digits, digits, "number")
        yield Token(suffix, suffix.lower(), suffix.lower(), "word")
    else:
        yield Token(digits + suffix, (digits + suffix).lower(), (digits + suffix).lower(), "name")


def _word(text: str, *, begins: bool) -> Iterator[Token]:
    """Yield what a word is made of."""
    plain = text.replace("’", "'").removesuffix("'s").removesuffix("'")
    lower = _CONTRACTED.get(plain.lower(), plain.lower())
    if lower.endswith("n't"):
        lower = f"{lower[:-3]} not"
    if " " in lower or (_PLAIN.match(lower) and _PLAIN.match(plain[:1].lower() + plain[1:])):
        named = plain[:1].isupper() and not begins and lower not in NO_NAMES
        is_name = named and lower not in FUNCTION_WORDS and "-" not in lower and "/" not in lower
        for part in re.split(r"[ /-]", lower):
            yield Token(plain if is_name else part, part, stem(part), "name" if is_name else "word")
    elif lower in NO_NAMES | FUNCTION_WORDS:
        yield Token(lower, lower, stem(lower), "word")
    else:
        yield Token(plain, lower, stem(lower), "name")


def _as_name(token: Token) -> Token:
    """Return a word from a code span as a name."""
    if token.kind != "word" or token.lower in FUNCTION_WORDS:
        return token
    return msgspec.structs.replace(token, kind="name")


_GROUPS: Final = tuple(frozenset(stem(word) for word in group) for group in SYNONYMS)
_RELATED: Final = {
    one: frozenset().union(*(group for group in _GROUPS if one in group))
    for one in frozenset().union(*_GROUPS)
}
