"""What `verismo grounding show` holds against sources: an answer's words, and its own sources."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePath

import msgspec

from verismo.attest.exchange import ExchangeRefused, octets, read_exchange
from verismo.model.errors import OperatorError

DATA = "data:"
DONE = "[DONE]"


class Source(msgspec.Struct, frozen=True):
    """A source as an agent names it in its answer, or a file.

    Args:
        uri: what it is called.
        text: all of it.
    """

    uri: str = ""
    text: str = ""


class Answered(msgspec.Struct, frozen=True):
    """An answer.

    Args:
        text: its words.
        sources: what it says that it was made from, in the order of its citations.
    """

    text: str
    sources: tuple[Source, ...] = ()


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None


class _Body(msgspec.Struct):
    """A chat completion, an event of its stream, an agent's answer, or a piece of one."""

    choices: tuple[_Choice, ...] = ()
    text: str = ""
    delta: str = ""
    sources: tuple[Source, ...] = ()


class _Saved(msgspec.Struct):
    """What tells a saved exchange from a saved answer."""

    response: msgspec.Raw = msgspec.Raw()


def read_text(file: Path) -> str:
    """Return a text.

    Raises:
        OperatorError: it cannot be read, or is no UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file} cannot be read: {error}", next_step="Give texts.") from error


def read_answer(file: Path) -> Answered:
    """Return the words of an answer, and its sources if it names them.

    Args:
        file: a text; a chat completion or an agent's answer, as JSON or as events; or a saved
            exchange with one of these.

    Raises:
        OperatorError: it is none of them, or holds no words.
    """
    document = read_text(file)
    begins = document.lstrip()
    if not begins.startswith(("{", DATA)):
        return Answered(document)
    try:
        answered = _read(_body(begins))
    except (ExchangeRefused, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise OperatorError(
            f"{file} is neither a text nor an answer or a saved exchange: {error}",
            next_step="Give a text, a chat completion or what an agent answered; "
            "`verismo verify --url ... --save FILE` writes an exchange.",
        ) from error
    if not answered.text:
        raise OperatorError(
            f"{file} holds no answer: neither a chat completion's content nor a `text`",
            next_step="Give the answer's words as a text file.",
        )
    return answered


def as_cited(own: Sequence[Source], given: Sequence[Source]) -> tuple[Source, ...]:
    """Return files so that the citations of an answer count by them as by its own sources.

    Args:
        own: what the answer names, `docs/siem.md#delivery`, in the order of its citations.
        given: files; those that it does not name stand at the end.

    Returns:
        For each of `own` the file that it names, without a text if there is none; then the others.
    """
    named = tuple(_file_of(one, given) for one in own)
    return (*named, *(file for file in given if file not in named))


def _file_of(own: Source, given: Sequence[Source]) -> Source:
    """Return the file with the longest common end of its path."""
    path = PurePath(own.uri.partition("#")[0]).parts
    best, most = Source(own.uri), 0
    for file in given:
        parts = PurePath(file.uri).parts
        pairs = zip(reversed(path), reversed(parts), strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if common > most and common == min(len(path), len(parts)):
            best, most = file, common
    return best


def _body(document: str) -> str:
    """Return what was answered, taken out of its exchange if it was saved with one."""
    if document.startswith("{") and msgspec.json.decode(document, type=_Saved).response:
        return octets(read_exchange(document.encode("utf-8")).response).decode("utf-8")
    return document


def _read(body: str) -> Answered:
    """Read one document, or the events of a stream; a whole `text` counts for its pieces."""
    read = [msgspec.json.decode(one, type=_Body) for one in _documents(body)]
    whole = next((one for one in reversed(read) if one.text), None)
    if whole is not None:
        return Answered(whole.text, whole.sources)
    return Answered("".join(piece for one in read for piece in _pieces(one)))


def _documents(body: str) -> Iterator[str]:
    if body.lstrip().startswith("{"):
        yield body
        return
    for line in body.splitlines():
        event = line.removeprefix(DATA).strip()
        if line.startswith(DATA) and event != DONE:
            yield event


def _pieces(body: _Body) -> Iterator[str]:
    """Yield the words that a document or an event adds."""
    if body.delta:
        yield body.delta
    for choice in body.choices[:1]:
        for said in (choice.message, choice.delta):
            if said is not None and said.content:
                yield said.content
