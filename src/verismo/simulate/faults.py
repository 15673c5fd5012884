"""Faults: what goes wrong with an answer, drawn by share or ordered for one request.

An order is a text of directives separated by `,`. It stands in the request header `x-simulate`, or
anywhere in the body as `[simulate: ...]` (the last one counts), so that it also gets through a
gateway that drops unknown headers.

    error=N     answer with status N (400 to 599) in the dialect's error shape
    stall       never answer; hold the connection until the client leaves
    stall=N     send N events of a stream, then fall silent
    cut=N       close the connection after N events of a stream, or N octets of a body
    fail=N      after N events of a stream send the dialect's error event and end the stream
    garbage     answer 200 with broken JSON
    huge=N      answer 200 with N octets; in a stream as one event
    redirect    answer 307 to /simulator/redirected, where visits are counted
    close       close the connection without a word
    slow=N      wait N ms before the answer
    interval=N  wait N ms between the events of a stream
    tokens=N    make a chat answer N tokens long
    cached=N    say that N of the prompt's tokens came from the provider's cache
"""

import math
import random
import re

import msgspec

from verismo.simulate.settings import PPM, SimulatorSettings

HEADER = "x-simulate"
RETRY_AFTER_S = 1
"""What every 429, 503 and 529 asks for; short, so that a test of retries is quick."""

_MARKER = b"[simulate:"
_ORDER_BYTES_MAX = 256
_NORMAL_P99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
_DRAWN_STATUSES = (500, 429, 503)
_FLAGS = frozenset({"stall", "garbage", "redirect", "close"})
_NUMBERS: dict[str, tuple[str, int, int]] = {
    "error": ("error_status", 400, 599),
    "stall": ("stall_after", 0, PPM),
    "cut": ("cut_after", 0, 1 << 30),
    "fail": ("fail_after", 0, PPM),
    "huge": ("huge_bytes", 1, 1 << 30),
    "slow": ("latency_ms", 0, 600_000),
    "interval": ("interval_ms", 0, 600_000),
    "tokens": ("answer_tokens", 1, 100_000),
    "cached": ("cached_tokens", 0, 1 << 30),
}
"""Directive to field, least and greatest value."""


class BadOrder(ValueError):
    """An order that names no directive or a value out of range; the caller gets a 400."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one answer departs from a prompt and whole one; the defaults do not.

    Args:
        error_status: answer with this status; 0 for none.
        stall: hold the connection before the first octet.
        stall_after: fall silent after so many events of a stream.
        cut_after: close after so many events, or octets of a plain body.
        fail_after: send an error event after so many events.
        garbage: broken JSON.
        huge_bytes: size of the answer; 0 for its own.
        redirect: answer 307.
        close: close before the first octet.
        latency_ms: time before the answer; None draws it from the settings.
        interval_ms: time between events; None takes the settings'.
        answer_tokens: length of a chat answer; 0 for the settings'.
        cached_tokens: at most so many tokens of the prompt are told as cached.
    """

    error_status: int = 0
    stall: bool = False
    stall_after: int | None = None
    cut_after: int | None = None
    fail_after: int | None = None
    garbage: bool = False
    huge_bytes: int = 0
    redirect: bool = False
    close: bool = False
    latency_ms: float | None = None
    interval_ms: int | None = None
    answer_tokens: int = 0
    cached_tokens: int = 0

    def names(self) -> list[str]:
        """Return the names of the fields that depart from a prompt and whole answer."""
        if self is NO_FAULT:
            return []
        return [name for name in self.__struct_fields__ if getattr(self, name) != _default(name)]


NO_FAULT = Fault()


class FaultSource:
    """Draws faults and latencies from one seeded generator, in the order of the calls."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._random = random.Random(settings.seed)
        self._quiet = not (
            settings.error_ppm
            or settings.stall_ppm
            or settings.cut_ppm
            or settings.garbage_ppm
            or settings.huge_ppm
        )
        self._choices: tuple[tuple[int, Fault], ...] = (
            (settings.stall_ppm, Fault(stall=True)),
            (settings.cut_ppm, Fault(cut_after=2)),
            (settings.garbage_ppm, Fault(garbage=True)),
            (settings.huge_ppm, Fault(huge_bytes=settings.huge_bytes)),
        )
        self._error_ppm = settings.error_ppm
        self._median_ms = settings.latency_ms_p50
        ratio = settings.latency_ms_p99 / self._median_ms if settings.latency_ms_p99 else 1.0
        self._sigma = math.log(ratio) / _NORMAL_P99

    def draw(self) -> Fault:
        """Return the next call's fault, mostly none."""
        if self._quiet:
            return NO_FAULT
        ticket = self._random.randrange(PPM)
        if ticket < self._error_ppm:
            return Fault(error_status=_DRAWN_STATUSES[ticket % len(_DRAWN_STATUSES)])
        ticket -= self._error_ppm
        for share_ppm, fault in self._choices:
            if ticket < share_ppm:
                return fault
            ticket -= share_ppm
        return NO_FAULT

    def draw_latency_ms(self) -> float:
        """Return the next call's latency, lognormal by median and 99th percentile."""
        if self._sigma == 0.0:
            return self._median_ms
        return self._median_ms * math.exp(self._random.gauss(0.0, self._sigma))


def find_order(header: str, body: bytes) -> str:
    """Return the order of a request, from its header or else its body; empty for none.

    Args:
        header: the value of `x-simulate`, or an empty text.
        body: octets; only the last `[simulate: ...]` counts.
    """
    if header:
        return header
    start = body.rfind(_MARKER)
    if start < 0:
        return ""
    start += len(_MARKER)
    end = body.find(b"]", start, start + _ORDER_BYTES_MAX)
    return body[start:end].decode("utf-8", "replace").strip() or "?" if end >= 0 else "?"


def parse_order(order: str) -> Fault:
    """Read an order.

    Raises:
        BadOrder: an unknown directive, or a number out of its range.
    """
    fields: dict[str, int | bool] = {}
    for directive in re.split(r"\s*[,;]\s*", order.strip()):
        name, equals, value = directive.partition("=")
        if not equals and name in _FLAGS:
            fields[name] = True
            continue
        field, least, greatest = _NUMBERS.get(name, ("", 0, 0))
        if not field or not re.fullmatch(r"[0-9]{1,10}", value):
            raise BadOrder(f"unknown directive {directive[:64]!r}; known: {_known()}")
        if not least <= int(value) <= greatest:
            raise BadOrder(f"{name} takes {least} to {greatest}")
        fields[field] = int(value)
    return msgspec.convert(fields, Fault)


def _default(field: str) -> object:
    value: object = getattr(NO_FAULT, field)
    return value


def _known() -> str:
    return ", ".join(sorted(_FLAGS | {f"{name}=N" for name in _NUMBERS}))
