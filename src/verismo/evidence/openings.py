"""Whether the capitalised word that opens a sentence is a name: `Oslo hosts the copy`, not `Answers
wait`.

A capital says nothing there, so its place tells. English puts an article before one countable
thing and none before a name: a word without one that a finite verb of one thing follows is a name,
unless it has the ending of an abstract noun, is one of the few nouns that need no article, or is
spelled in lower case somewhere in the sources or in the claim. What looks like a plural is a name
only before a verb of the singular. No tagger: `Journal files grow` and `Oslo hosts the copy`
differ in what follows the `s`.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import msgspec

from verismo.evidence.lexicon import (
    BARE_NOUNS,
    DIGIT_WORDS,
    FUNCTION_WORDS,
    IRREGULAR,
    MULTIPLIERS,
    OPPOSITES,
    ORDINALS,
    REPETITIONS,
    SYNONYMS,
    TENS_WORDS,
    UNITS,
    word_set,
)
from verismo.evidence.words import Token, related, singular, stem

_OPENING = re.compile(r"[\"'“‘*_]*([A-Z][a-z]+)(['’]s)?(?![\w'’/-])")
_LOWER = re.compile(r"(?<![^\W_])[a-z]{2,}(?![^\W_])")
_ONE: Final = word_set("is was has does")
"""Verbs of one thing."""
_ANY: Final = word_set("can cannot could did had may might must shall should will would")
"""Verbs of one thing or of many."""
_FINITE: Final = _ONE | _ANY | word_set("are do have that were which who")
_VERBS: Final = frozenset(IRREGULAR.values())
_ADVERBS: Final = word_set("also already always even ever first never now often once only still")
_OBJECTS: Final = word_set("""
    a about all an another any at both each every everything half her him his how if it its
    itself most nearly no nothing one our several some the their them these this those two us what
    when where whether which who
    """)
"""What may follow a verb and does not open a clause about the word before: `files that`."""
_ORDINARY: Final = (
    *("age", "ance", "cy", "ed", "ence", "ery", "gy", "ing", "ion", "ism", "ity", "lly", "ment"),
    *("ness", "ory", "phy", "rly", "ship", "sis", "th", "try", "ure", "ware"),
)
"""Endings of abstract nouns, adverbs and participles."""
_SINGULAR_S: Final = ("is", "us", "ss", "os", "as")
_KNOWN: Final = frozenset(
    (
        *FUNCTION_WORDS,
        *BARE_NOUNS,
        *IRREGULAR,
        *IRREGULAR.values(),
        *(word for group in SYNONYMS for word in group),
        *(word for pair in OPPOSITES for side in pair for word in side),
        *(*DIGIT_WORDS, *TENS_WORDS, *MULTIPLIERS, *REPETITIONS, *ORDINALS),
    )
)


def lower_stems(text: str) -> frozenset[str]:
    """Return the stems of the words that a text spells in lower case."""
    return frozenset(stem(word) for word in _LOWER.findall(text))


def with_opening(text: str, read: Sequence[Token], lower: frozenset[str]) -> tuple[Token, ...]:
    """Return a claim's tokens, the first of them as a name if it is one.

    Args:
        text: the claim.
        read: its tokens.
        lower: stems of the words that its sources spell in lower case.
    """
    opening = _OPENING.match(text)
    first = read[0] if read else None
    if opening is None or first is None or first.kind != "word":
        return tuple(read)
    word = first.lower
    if word != opening[1].lower() or word in _KNOWN or singular(word) in UNITS:
        return tuple(read)
    if word.endswith(_ORDINARY) or related(first.stem) & (lower | lower_stems(text)):
        return tuple(read)
    if not (opening[2] or _is_one_thing(word, read[1:])):
        return tuple(read)
    return (msgspec.structs.replace(first, text=opening[1], kind="name"), *read[1:])


def _is_one_thing(word: str, rest: Sequence[Token]) -> bool:
    """Say whether what follows a word speaks of one thing that the word names."""
    at = 0
    while at < len(rest) and (rest[at].lower in _ADVERBS or rest[at].lower.endswith("ly")):
        at += 1
    if at == len(rest):
        return False
    verb, behind = rest[at], rest[at + 1] if at + 1 < len(rest) else None
    is_plural = word.endswith("s") and not word.endswith(_SINGULAR_S)
    if verb.lower in ("and", "or"):
        return not is_plural and behind is not None and behind.kind == "name"
    if verb.kind != "word":
        return False
    if verb.lower in _ONE or _is_present(verb, behind) or _leads(rest[at:]):
        return True
    return not is_plural and (verb.lower in _ANY or _is_past(verb))


def _is_present(verb: Token, behind: Token | None) -> bool:
    """Say whether a word that ends in `s` is a verb, by what stands behind it."""
    if verb.lower in FUNCTION_WORDS or not verb.lower.endswith("s"):
        return False
    if behind is None or verb.lower.endswith(("ss", "us")):
        return False
    if behind.kind in ("name", "number") or behind.lower in DIGIT_WORDS:
        return True
    is_many = behind.is_content and behind.lower.endswith("s")
    return is_many or behind.lower in _OBJECTS


def _leads(rest: Sequence[Token]) -> bool:
    """Say whether a verb stands before a preposition, and no other verb behind it: `stands on`."""
    if len(rest) == 1 or rest[1].is_content or rest[0].lower.removesuffix("s") not in _VERBS:
        return False
    clause = takewhile(lambda token: token.kind != "mark", rest[1:])
    return rest[0].lower.endswith("s") and not any(token.lower in _FINITE for token in clause)


def _is_past(verb: Token) -> bool:
    if verb.lower in IRREGULAR:
        return not verb.lower.endswith("ing")
    return verb.lower.endswith("ed")
