"""OpenAI embeddings: unit vectors decided by seed, model and input, as numbers or as base64.

Source: the OpenAI API reference, embeddings. `encoding_format: base64`, which the openai SDK sends
by default, is little-endian IEEE 754 binary32 (decisions 19); both formats hold the same numbers.
"""

import base64
import hashlib
import math
import struct
from typing import Literal

import msgspec

from verismo.simulate.answer import Answer, tokens_of

DIMENSIONS_MAX = 8_192
INPUTS_MAX = 2_048

_SCALE = 127.5
"""Centre of a draw of one octet, so that components are symmetric about zero and never zero."""


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """What the simulator reads of an embedding request: text, texts, tokens or lists of tokens."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """One vector."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Token counts; embeddings have no output tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class InvalidEmbedding(ValueError):
    """The request is well-formed but asks for something impossible; `param` names the member."""

    def __init__(self, detail: str, param: str) -> None:
        super().__init__(detail)
        self.param = param


_decoder = msgspec.json.Decoder(EmbeddingRequest)
_encoder = msgspec.json.Encoder()


def parse_embedding(body: bytes) -> EmbeddingRequest:
    """Read an embedding request.

    Raises:
        msgspec.DecodeError: not JSON, or not of this shape.
        InvalidEmbedding: a value out of its range.
    """
    request = _decoder.decode(body)
    many = isinstance(request.input, list) and len(request.input) > INPUTS_MAX
    if many or not request.input:
        raise InvalidEmbedding(f"'input' must hold 1 to {INPUTS_MAX} items.", "input")
    if request.dimensions is not None and not 1 <= request.dimensions <= DIMENSIONS_MAX:
        raise InvalidEmbedding(f"'dimensions' must be 1 to {DIMENSIONS_MAX}.", "dimensions")
    return request


def answer_embedding(request: EmbeddingRequest, seed: int, dimensions: int) -> Answer:
    """Answer an embedding request.

    Args:
        request: parsed.
        seed: the simulator's.
        dimensions: length of a vector where the request does not say.
    """
    inputs = _inputs_of(request)
    tokens = sum(tokens_of(item) if isinstance(item, str) else len(item) for item in inputs)
    data: list[Embedding] = []
    for index, item in enumerate(inputs):
        spelled = item if isinstance(item, str) else msgspec.json.encode(item).decode()
        vector = vector_of(f"{seed}\n{request.model}\n{spelled}", request.dimensions or dimensions)
        packed = struct.pack(f"<{len(vector)}f", *vector)
        base64_asked = request.encoding_format == "base64"
        value = base64.b64encode(packed).decode() if base64_asked else vector
        data.append(Embedding(index=index, embedding=value))
    body = EmbeddingList(data=data, model=request.model, usage=EmbeddingUsage(tokens, tokens))
    return Answer(status=200, body=_encoder.encode(body))


def vector_of(text: str, dimensions: int) -> list[float]:
    """Return the unit vector of a text, each component exactly an IEEE 754 binary32.

    Args:
        text: decides the vector; equal texts have equal vectors, others are unrelated.
        dimensions: 1 or more.
    """
    octets = text.encode("utf-8", "surrogatepass")
    draws = [octet - _SCALE for octet in hashlib.shake_256(octets).digest(dimensions)]
    length = math.sqrt(sum(draw * draw for draw in draws))
    packed = struct.pack(f"<{dimensions}f", *(draw / length for draw in draws))
    return list(struct.unpack(f"<{dimensions}f", packed))


def _inputs_of(request: EmbeddingRequest) -> list[str | list[int]]:
    """Return the inputs one by one; a bare list of numbers is a single input of tokens."""
    if isinstance(request.input, str):
        return [request.input]
    tokens = [item for item in request.input if isinstance(item, int)]
    if len(tokens) == len(request.input):
        return [tokens]
    if tokens:
        raise InvalidEmbedding("'input' mixes tokens with texts.", "input")
    return [item for item in request.input if not isinstance(item, int)]
