"""One number out of Prometheus: an instant query that must have exactly one sample.

Nothing is guessed: no sample, several samples, NaN, a negative number, an old sample and an answer
that cannot be read are no data.

Source: Prometheus HTTP API, `/api/v1/query`.
"""

import math
import ssl
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from verismo.adapters.timed_http import Asked, Unanswered, exchange
from verismo.model.errors import StateError

READ_S_MAX: Final = 1.0
BODY_BYTES_MAX: Final = 1_048_576
AGE_S_MAX: Final = 60.0
"""`timestamp(...)` of a query may lie in the past; what is older is not what is."""
VALUE_MAX: Final = 10**9


class _Sample(msgspec.Struct, frozen=True):
    value: tuple[float, str]


class _Found(msgspec.Struct, frozen=True, rename="camel"):
    result_type: Literal["vector"]
    result: list[_Sample]


class _Answer(msgspec.Struct, frozen=True):
    status: Literal["success"]
    data: _Found


class PrometheusNumber:
    """Asks one query.

    Args:
        url: base URL of Prometheus.
        query: PromQL of an instant vector with one sample.
        now_s: returns Unix seconds.
    """

    def __init__(self, url: str, query: str, now_s: Callable[[], float]) -> None:
        self._url = url
        self._query = query
        self._now_s = now_s
        self._trusted: ssl.SSLContext | None = None

    def milli(self) -> int:
        """Return the number in thousandths, rounded down.

        Raises:
            StateError: there is no such number now.
        """
        value = self._value()
        if not math.isfinite(value) or not 0 <= value <= VALUE_MAX:
            raise self._nothing(f"it says {value}")
        return int(value * 1_000)

    def replicas(self) -> int:
        """Return the number as replicas: a whole number.

        Raises:
            StateError: there is no such number now.
        """
        milli = self.milli()
        if milli % 1_000:
            raise self._nothing(f"it says {milli / 1_000} replicas")
        return milli // 1_000

    def _value(self) -> float:
        try:
            answer = msgspec.json.decode(self._ask(), type=_Answer)
            samples = answer.data.result
            if len(samples) != 1:
                raise self._nothing(f"it has {len(samples)} samples instead of one")
            at_s, text = samples[0].value
            value = float(text)
        except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
            raise self._nothing(f"the answer cannot be read: {error}") from error
        if abs(self._now_s() - at_s) > AGE_S_MAX:
            raise self._nothing("its sample is not of now; compare the clocks")
        return value

    def _ask(self) -> bytes:
        asked = Asked("GET", f"{self._url}/api/v1/query", params={"query": self._query})
        if self._trusted is None:
            self._trusted = ssl.create_default_context()
        try:
            told = exchange(asked, self._trusted, READ_S_MAX, BODY_BYTES_MAX)
        except Unanswered as error:
            raise self._nothing(str(error)) from error
        if not 200 <= told.status < 300:
            raise self._nothing(f"it answered {told.status}")
        return told.body

    def _nothing(self, reason: str) -> StateError:
        return StateError(
            f"{self._url} does not say {self._query!r}: {reason}",
            next_step="Try the query in Prometheus; it has to give one sample.",
        )
