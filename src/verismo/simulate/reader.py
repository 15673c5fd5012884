"""The simulated reader: a chat model that answers only from the numbered sources in its prompt.

It understands nothing: it copies the sentences that share the most telling words with the question,
word for word, and cites each by its source's number. So what it says can be found in the sources,
and where they share nothing with the question it says that. Its model name says what it is.

A source is a line `[3] title` and below it its text, each line behind `> `, so that no line of a
text can pass for another source. Sources stand in messages of the user or of a tool.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from verismo.simulate.chatrequest import (
    ChatMessage,
    ChatRequest,
    FunctionDefinition,
    called_tools,
    text_of,
)

MODEL = "simulated-reader"
NO_SOURCES = "There are no numbered sources in this prompt, and I answer from nothing else."
NO_ANSWER = "The sources do not answer this."
SENTENCES_MAX = 3
SENTENCE_CHARACTERS_MAX = 600
"""A longer one is no sentence; it is passed over."""
SHARED_TERMS_MIN = 2
TITLE_WEIGHT = 0.5
KEPT_SHARE = 0.6
"""A further sentence must be worth this share of the best one."""

_TITLE = re.compile(r"^\[(\d{1,3})\] (.*)$")
_QUOTED = re.compile(r"^> ?")
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_HEADING = re.compile(r"^#{1,6} ")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_ROW = re.compile(r"^\s*\|(.*)\|\s*$")
_RULE = re.compile(r"^[\s|:-]+$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(\[*])")
_SUFFIX = re.compile(r"(?:'s|ing|ies|ied|ed|es|s|e|y)$")
_STOP_TEXT = """
a about after all also an and any are as at be been before but by can did do does each every for
from get gets had has have how i if in into is it its me more my no not of on one only or our
should so some than that the their them then there these they this to up us was we were what
when where which while who whom whose why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())


class Source(msgspec.Struct, frozen=True):
    """One numbered source of a prompt.

    Args:
        number: as the prompt gives it.
        title: the rest of its first line.
        text: without the quote marks.
    """

    number: int
    title: str
    text: str


class Sentence(msgspec.Struct, frozen=True):
    """A sentence that could be copied, and its terms with those of its source's title."""

    number: int
    text: str
    terms: frozenset[str]
    title_terms: frozenset[str]


def question_and_sources(messages: Iterable[ChatMessage]) -> tuple[str, list[Source]]:
    """Take a conversation apart.

    Returns:
        The last message of the user without the sources in it, and every source, in order.
    """
    question = ""
    sources: list[Source] = []
    for message in messages:
        if message.role not in ("user", "tool"):
            continue
        rest, found = _take_apart(text_of(message))
        sources += found
        if message.role == "user" and rest:
            question = rest
    return question, sources


def read(question: str, sources: Sequence[Source]) -> str:
    """Answer a question with sentences of the sources, each with the number of its source.

    Args:
        question: in words.
        sources: numbered; the numbers need not be in order.
    """
    if not sources:
        return NO_SOURCES
    asked = terms_of(question)
    if not asked:
        return NO_ANSWER
    sentences = [sentence for source in sources for sentence in _sentences(source)]
    worth = _worth_of_terms(sentences)
    candidates = [
        sentence
        for sentence in sentences
        if len(sentence.terms & asked) >= min(SHARED_TERMS_MIN, len(asked))
    ]
    scores = {sentence: _score(sentence, asked, worth) for sentence in candidates}
    least = KEPT_SHARE * max(scores.values(), default=0.0)
    best = sorted(scores, key=lambda sentence: -scores[sentence])
    chosen = {sentence.text: sentence for sentence in reversed(best) if scores[sentence] >= least}
    kept = list(reversed(chosen.values()))[:SENTENCES_MAX]
    return " ".join(_cited(sentence) for sentence in kept) or NO_ANSWER


def called_by_reader(request: ChatRequest, sources: Sequence[Source]) -> list[FunctionDefinition]:
    """Return the functions that the reader calls: what it is told to, or the first that searches.

    A function searches if it takes a `query`. The reader searches once, before it has anything.

    Raises:
        InvalidChat: the tool choice names no tool of the request.
    """
    told = called_tools(request)
    has_searched = bool(sources) or any(message.role == "tool" for message in request.messages)
    if told or has_searched or request.tool_choice == "none":
        return told
    functions = (tool.function for tool in request.tools or ())
    return [function for function in functions if takes_query(function)][:1]


def takes_query(function: FunctionDefinition) -> bool:
    """Say whether a function has a parameter `query`."""
    return function.parameters is not None and "query" in function.parameters.properties


def terms_of(text: str) -> frozenset[str]:
    """Return a text's telling words in lower case, without common endings."""
    words = (word.lower() for word in _WORD.findall(text))
    return frozenset(_stem(word) for word in words if word not in _STOP_WORDS)


def _stem(word: str) -> str:
    return _SUFFIX.sub("", word) if len(word) > 4 else word.removesuffix("s")


def _take_apart(text: str) -> tuple[str, list[Source]]:
    rest: list[str] = []
    sources: list[tuple[int, str, list[str]]] = []
    is_within = False
    for line in text.splitlines():
        title = _TITLE.match(line)
        if title:
            sources.append((int(title[1]), title[2], []))
        elif is_within and _QUOTED.match(line):
            sources[-1][2].append(_QUOTED.sub("", line))
        elif line.strip():
            rest.append(line.strip())
        is_within = bool(title) or (is_within and line.startswith(">"))
    found = [Source(number, name, "\n".join(lines)) for number, name, lines in sources]
    return " ".join(rest), found


def _sentences(source: Source) -> list[Sentence]:
    title_terms = terms_of(source.title)
    return [
        Sentence(source.number, text, terms_of(text), title_terms)
        for block in _blocks(source.text)
        for text in _SENTENCE_END.split(block)
        if len(text) <= SENTENCE_CHARACTERS_MAX
    ]


def _blocks(text: str) -> list[str]:
    """Return what belongs together in Markdown: a paragraph, an item, a table's row; no code."""
    blocks: list[list[str]] = [[]]
    is_code = False
    for line in text.splitlines():
        if _FENCE.match(line):
            is_code = not is_code
        if is_code or _FENCE.match(line) or _HEADING.match(line) or _RULE.match(line):
            blocks.append([])
            continue
        row = _ROW.match(line)
        if row:
            cells = [cell.strip() for cell in row[1].split("|")]
            blocks += [["; ".join(cell for cell in cells if cell)], []]
            continue
        if _ITEM.match(line):
            blocks.append([])
        blocks[-1].append(_ITEM.sub("", line).strip())
        if not line.strip():
            blocks.append([])
    return [joined for block in blocks if (joined := " ".join(block).strip())]


def _worth_of_terms(sentences: Sequence[Sentence]) -> dict[str, float]:
    """Return how telling each term is: the rarer among the sentences, the more."""
    counts = Counter(
        term for sentence in sentences for term in sentence.terms | sentence.title_terms
    )
    return {term: math.log(1 + len(sentences) / count) for term, count in counts.items()}


def _score(sentence: Sentence, asked: frozenset[str], worth: dict[str, float]) -> float:
    shared = sum(worth[term] for term in sorted(sentence.terms & asked))
    title = sum(worth[term] for term in sorted(sentence.title_terms & asked))
    # A long sentence shares more words with anything.
    return (shared + TITLE_WEIGHT * title) / (1 + len(sentence.terms) / 40)


def _cited(sentence: Sentence) -> str:
    text = sentence.text
    if text[-1] in ".!?":
        return f"{text[:-1]} [{sentence.number}]{text[-1]}"
    return f"{text.rstrip(':;,')} [{sentence.number}]."
