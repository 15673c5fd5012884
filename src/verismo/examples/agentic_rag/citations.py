"""Citations: sources as a prompt numbers them, and which of them an answer names."""

import re
from collections.abc import Sequence

import msgspec

from .passages import Passage

INSTRUCTIONS = (
    "Answer the question from the numbered sources alone, in a few sentences. Behind each sentence "
    "name its source like this: [1]. If the sources do not answer the question, say so."
)
_MARK = re.compile(r"\[(\d{1,3})\]")


class Citation(msgspec.Struct, frozen=True):
    """A source that an answer names.

    Args:
        number: as it stands in the answer, from 1.
        uri: where the source is.
        title: its document and headings.
    """

    number: int
    uri: str
    title: str


def prompt_of(question: str, sources: Sequence[Passage]) -> str:
    """Return a question and its numbered sources as one message.

    Every line of a source is quoted, so that no line of a document can pass for another source.

    Args:
        question: in words.
        sources: the first has the number 1.
    """
    blocks = [question]
    for number, source in enumerate(sources, start=1):
        quoted = "\n".join(f"> {line}" for line in source.text.splitlines())
        blocks.append(f"[{number}] {source.title}\n{quoted}")
    return "\n\n".join(blocks)


def citations_of(text: str, sources: Sequence[Passage]) -> tuple[list[Citation], list[int]]:
    """Find the citations of an answer.

    Args:
        text: the answer.
        sources: those of its prompt.

    Returns:
        The cited sources in the order of their numbers, and the numbers that name no source.
    """
    numbers = sorted({int(number) for number in _MARK.findall(text)})
    known = [number for number in numbers if 1 <= number <= len(sources)]
    cited = [
        Citation(number, sources[number - 1].uri, sources[number - 1].title) for number in known
    ]
    return cited, [number for number in numbers if number not in known]
