"""Functions whose calls are recorded, each kind of function in its own way.

A wrapped function stays what it was: a coroutine function is awaited, a generator function is
iterated, so that frameworks that look find the same. While a generator waits for its reader, its
step is not the present one: the reader's own work does not stand under it.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from verismo.client.recorder import Step, begin, enter, leave, octets_of
from verismo.model import semconv
from verismo.model.hop import Attribute

if TYPE_CHECKING:
    from hashlib import _Hash

P = ParamSpec("P")
R = TypeVar("R")
_Function = Callable[..., object]
_Pieces = Generator[object, object, object]


def recorded(function: Callable[P, R], name: str, facts: Mapping[str, Attribute]) -> Callable[P, R]:
    """Return a function that does what it did, with a step for each call.

    Args:
        function: plain or async, generator or not.
        name: of the steps.
        facts: attributes of the steps.
    """
    wrap = _plain
    if inspect.isasyncgenfunction(function):
        wrap = _async_generator
    elif inspect.iscoroutinefunction(function):
        wrap = _coroutine
    elif inspect.isgeneratorfunction(function):
        wrap = _generator
    # It is called and awaited as before; only the wrappers do not know its types.
    beginning = _Beginning(name, facts)
    return cast("Callable[P, R]", wrap(cast("_Function", function), beginning))


class _Beginning:
    """Begins the steps of one function."""

    def __init__(self, name: str, facts: Mapping[str, Attribute]) -> None:
        self._name = name
        self._facts = facts

    def step(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Step | None:
        """Return a step for one call, None outside any run."""
        step = begin(self._name, {**self._facts})
        if step is not None and (args or kwargs):
            step.asked({"args": args, "kwargs": kwargs})
        return step


def _plain(function: _Function, beginning: _Beginning) -> _Function:
    @wraps(function)
    def wrapped(*args: object, **kwargs: object) -> object:
        step = beginning.step(args, kwargs)
        if step is None:
            return function(*args, **kwargs)
        with step:
            result = function(*args, **kwargs)
            step.gave(result)
        return result

    return wrapped


def _coroutine(function: _Function, beginning: _Beginning) -> _Function:
    @wraps(function)
    async def wrapped(*args: object, **kwargs: object) -> object:
        step = beginning.step(args, kwargs)
        work = cast("Awaitable[object]", function(*args, **kwargs))
        if step is None:
            return await work
        with step:
            result = await work
            step.gave(result)
        return result

    return wrapped


def _generator(function: _Function, beginning: _Beginning) -> _Function:
    @wraps(function)
    def wrapped(*args: object, **kwargs: object) -> _Pieces:
        step = beginning.step(args, kwargs)
        inner = cast("_Pieces", function(*args, **kwargs))
        return (yield from (inner if step is None else _Stepped(inner, _Visits(step))))

    return wrapped


def _async_generator(function: _Function, beginning: _Beginning) -> _Function:
    @wraps(function)
    async def wrapped(*args: object, **kwargs: object) -> AsyncGenerator[object, object]:
        step = beginning.step(args, kwargs)
        inner = cast("AsyncGenerator[object, object]", function(*args, **kwargs))
        visits: AbstractContextManager[None] = nullcontext() if step is None else _Visits(step)
        sent: object = None
        try:
            while True:
                with visits:
                    piece = await inner.asend(sent)
                    if isinstance(visits, _Visits):
                        visits.add(piece)
                sent = yield piece
        except StopAsyncIteration:
            return
        finally:
            # An exception that the reader throws in ends the generator; it is not raised inside.
            with visits:
                await inner.aclose()
            if isinstance(visits, _Visits):
                visits.over(GeneratorExit)

    return wrapped


class _Stepped(_Pieces):
    """A generator that is the present step whenever it runs."""

    def __init__(self, inner: _Pieces, visits: "_Visits") -> None:
        self._inner = inner
        self._visits = visits

    def send(self, value: object) -> object:
        with self._visits:
            piece = self._inner.send(value)
            self._visits.add(piece)
        return piece

    def throw(self, kind: object, value: object = None, trace: object = None) -> object:
        error = kind if isinstance(kind, BaseException) else value
        with self._visits:
            piece = self._inner.throw(cast("BaseException", error))
            self._visits.add(piece)
        return piece

    def close(self) -> None:
        with self._visits:
            self._inner.close()
        self._visits.over(GeneratorExit)


class _Visits(AbstractContextManager[None]):
    """The times for which a generator runs; its step ends with the last of them."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._produced: _Hash | None = step.recorder.opened()
        self._octets = 0
        self._is_over = False
        self._token: Token[Step | None] | None = None

    def __enter__(self) -> None:
        self._token = enter(self._step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            leave(self._token)
        if kind is not None:
            is_end = issubclass(kind, StopIteration | StopAsyncIteration)
            self.over(None if is_end else kind)

    def add(self, piece: object) -> None:
        """Add what was yielded to the digest; one piece without octets leaves none of it."""
        octets = octets_of(piece)
        if octets is None or self._produced is None:
            self._produced = None
            return
        self._produced.update(octets)
        self._octets += len(octets)

    def over(self, kind: type[BaseException] | None) -> None:
        """End the step, once."""
        if self._is_over:
            return
        self._is_over = True
        if self._produced is not None:
            self._step.attributes[semconv.VERISMO_COMMIT] = self._produced.hexdigest()
            self._step.attributes[semconv.VERISMO_OCTETS] = self._octets
        self._step.end(kind)
