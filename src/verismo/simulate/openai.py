"""The OpenAI dialect: paths, credential, models and errors.

Source: the OpenAI API reference.
"""

import msgspec

from verismo.simulate.answer import CREATED_S, FINGERPRINT, Answer, Call
from verismo.simulate.chat import answer_chat
from verismo.simulate.chatrequest import InvalidChat, parse_chat
from verismo.simulate.embeddings import InvalidEmbedding, answer_embedding, parse_embedding
from verismo.simulate.settings import SimulatorSettings

MODELS_UNLIMITED = ("simulated-chat", "simulated-embedding", "simulated-reader")
"""Listed by a simulator that serves every model name."""


class Model(msgspec.Struct, frozen=True):
    """One model of the list."""

    id: str
    object: str = "model"
    created: int = CREATED_S
    owned_by: str = FINGERPRINT


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The list of models."""

    object: str = "list"
    data: list[Model]


class ErrorDetail(msgspec.Struct, frozen=True):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of an error."""

    error: ErrorDetail


_encoder = msgspec.json.Encoder()


class OpenAi:
    """Answers `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`.

    Args:
        settings: of the simulator.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings

    def answer(self, call: Call) -> Answer:
        """Answer a call."""
        key = self._settings.api_key
        if key and call.headers.get("authorization") != f"Bearer {key}":
            return _error(401, "Incorrect API key provided.", code="invalid_api_key")
        if call.path.startswith("/v1/models"):
            return self._models(call)
        if call.method != "POST":
            return _error(405, f"Not allowed to {call.method} on {call.path}.")
        try:
            if call.path == "/v1/embeddings":
                return self._embedding(call)
            return self._chat(call)
        except (InvalidChat, InvalidEmbedding) as error:
            return _error(400, str(error), param=error.param)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(400, f"We could not parse the JSON body of your request. {error}")

    def error(self, status: int, message: str) -> Answer:
        """Return an error in OpenAI's shape."""
        return _error(status, message)

    def _chat(self, call: Call) -> Answer:
        request = parse_chat(call.body)
        return self._missing(request.model) or msgspec.structs.replace(
            answer_chat(request, call),
            failure=b"data: " + _error(500, "Simulated failure in a stream.").body + b"\n\n",
        )

    def _embedding(self, call: Call) -> Answer:
        request = parse_embedding(call.body)
        return self._missing(request.model) or answer_embedding(
            request, self._settings.seed, self._settings.embedding_dimensions
        )

    def _models(self, call: Call) -> Answer:
        if call.method != "GET":
            return _error(405, f"Not allowed to {call.method} on {call.path}.")
        names = self._settings.models or MODELS_UNLIMITED
        wanted = call.path.removeprefix("/v1/models").lstrip("/")
        if not wanted:
            return Answer(
                status=200, body=_encoder.encode(ModelList(data=[Model(n) for n in names]))
            )
        return self._missing(wanted) or Answer(status=200, body=_encoder.encode(Model(wanted)))

    def _missing(self, model: str) -> Answer | None:
        if not self._settings.models or model in self._settings.models:
            return None
        return _error(
            404, f"The model `{model}` does not exist.", param="model", code="model_not_found"
        )


def _error(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> Answer:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind, code = "requests", "rate_limit_exceeded"
    detail = ErrorDetail(message=message, type=kind, param=param, code=code)
    return Answer(status=status, body=_encoder.encode(ErrorBody(detail)))
