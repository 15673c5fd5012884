"""What an agent's code says of its steps: `@tool`, `@step`, `retrieval` and `source`.

Outside a run all of them do nothing, so that tools can be tested and used without a gateway. In a
run they note names, times and digests; arguments, results and sources themselves stay here. What a
function returns or raises is passed on as it is.
"""

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Protocol, TypeVar, overload

from verismo.client.recorder import Step, begin, here
from verismo.client.wrapping import recorded
from verismo.model import semconv

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """Wraps a function and keeps its type."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Return the function, recorded."""
        ...


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(*, name: str = "") -> Decorator: ...
def tool(
    function: Callable[P, R] | None = None, /, *, name: str = ""
) -> Callable[P, R] | Decorator:
    """Record each call of a function as a tool: digests of its arguments and of its result.

    Args:
        function: plain or async, also generators; of those what is yielded is the result.
        name: of the tool; the function's own if not given.

    Source: OpenTelemetry GenAI conventions, `execute_tool`.
    """
    record = _Recording(semconv.OPERATION_EXECUTE_TOOL, semconv.GEN_AI_TOOL_NAME, name)
    return record if function is None else record(function)


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(*, name: str = "") -> Decorator: ...
def step(
    function: Callable[P, R] | None = None, /, *, name: str = ""
) -> Callable[P, R] | Decorator:
    """Record each call of a function as a step of the agent itself: a planner, a node of a graph.

    Args:
        function: as for `tool`.
        name: of the step; the function's own if not given.

    Source: OpenTelemetry GenAI conventions, `invoke_agent`.
    """
    record = _Recording(semconv.OPERATION_INVOKE_AGENT, semconv.GEN_AI_AGENT_NAME, name)
    return record if function is None else record(function)


class retrieval:  # noqa: N801 - read as a word of the language: `with retrieval(...)`
    """Record a retrieval and what it found; for `with` and `async with`, once.

    Args:
        name: of what is searched.
        query: what was looked for; its digest is noted.

    Source: OpenTelemetry GenAI conventions, `retrieval`.
    """

    def __init__(self, name: str, query: object = None) -> None:
        self._name = name
        self._query = query
        self._step: Step | None = None

    def source(self, uri: str, content: object) -> str:
        """Note something that was found; see `source`."""
        return "" if self._step is None else self._step.source(uri, content)

    def __enter__(self) -> "retrieval":
        self._step = begin(
            f"retrieval {self._name}",
            {
                semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_RETRIEVAL,
                semconv.GEN_AI_DATA_SOURCE_ID: self._name,
            },
        )
        if self._step is not None:
            if self._query is not None:
                self._step.asked(self._query)
            self._step.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._step is not None:
            self._step.__exit__(kind, error, trace)

    async def __aenter__(self) -> "retrieval":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


def source(uri: str, content: object) -> str:
    """Note content that fed the present step: its address, its digest and its length.

    Directly under a run, where no step is going on, it becomes a retrieval of its own.

    Args:
        uri: where it is; it stands in the graph in clear, so nothing secret may be in it.
        content: text, bytes, or anything that has JSON. Only its digest leaves the process.

    Returns:
        The commitment, hex, which whoever holds the run's salt and the content can check; empty
        outside any run.
    """
    present = here()
    if present is None:
        return ""
    if present.parent_span:
        return present.source(uri, content)
    with retrieval("source") as found:
        return found.source(uri, content)


class _Recording:
    """A `Decorator` for one action.

    Args:
        action: `gen_ai.operation.name`.
        key: attribute that the name stands in.
        name: of the steps; the function's own if empty.
    """

    def __init__(self, action: str, key: str, name: str) -> None:
        self._action = action
        self._key = key
        self._name = name

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        called = self._name or getattr(function, "__name__", type(function).__name__)
        facts = {semconv.GEN_AI_OPERATION_NAME: self._action, self._key: called}
        return recorded(function, f"{self._action} {called}", facts)
