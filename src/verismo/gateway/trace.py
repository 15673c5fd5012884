"""W3C trace context, in and out.

Source: W3C Trace Context, level 2; `traceparent` version 00.
"""

import msgspec

from verismo.model.run import is_span_id

_HEX = frozenset("0123456789abcdef")


_VENDOR = "verismo"
STATE_CHARS_MAX = 512
"""What the recommendation asks everybody to carry on."""
STATE_ENTRIES_MAX = 32
"""Who gets more drops them all (3.3.1.1), and with them the run."""


class TraceContext(msgspec.Struct, frozen=True):
    """Where a request stands in a trace.

    Args:
        trace_id: 32 hex digits, not all zero.
        parent_id: the caller's span, 16 hex digits; empty if the caller sent none.
        span_id: ours, 16 hex digits.
        sampled: whether we record the trace.
        flags: what goes out: the caller's own, so that not recording here does not break its
            trace; ours where there is no caller's.
    """

    trace_id: str
    parent_id: str
    span_id: str
    sampled: bool
    flags: str

    def traceparent(self, *, within_run: bool = False) -> str:
        """Return the header value for the calls that we make.

        Args:
            within_run: for an agent's call. The run's graph records the trace, so its flag says
                so: an agent whose tracer follows a flag of 0 could report nothing.
        """
        flags = "01" if within_run else self.flags
        return f"00-{self.trace_id}-{self.span_id}-{flags}"


def state_run(header: str) -> str:
    """Return the run that a `tracestate` names by its root span; empty if it names none.

    Args:
        header: as received, may be empty. Anybody may have written it: it only tells runs of one
            tenant and one trace apart.
    """
    for entry in header.split(","):
        name, _, value = entry.strip().partition("=")
        if name == _VENDOR:
            return value if is_span_id(value) else ""
    return ""


def state_within(header: str, run_span: str) -> str:
    """Return the `tracestate` for calls within a run: our entry, then those of other vendors.

    Args:
        header: as received; entries that no longer fit are left out.
        run_span: the run's root span.
    """
    entries = [f"{_VENDOR}={run_span}"]
    octets = len(entries[0])
    for entry in map(str.strip, header.split(",")):
        octets += len(entry) + 1
        if octets > STATE_CHARS_MAX or len(entries) == STATE_ENTRIES_MAX:
            break
        if (
            entry
            and entry.isascii()
            and entry.isprintable()
            and not entry.startswith(f"{_VENDOR}=")
        ):
            entries.append(entry)
    return ",".join(entries)


def parent_sampled(header: str) -> bool | None:
    """Return the sampling flag of a valid `traceparent`, or None where there is none."""
    parts = _split(header)
    return None if parts is None else bool(int(parts[2], 16) & 1)


def continue_trace(header: str, random: bytes, sampled: bool) -> TraceContext:
    """Continue the caller's trace, or begin one where its header is missing or malformed.

    Args:
        header: `traceparent` as received, may be empty.
        random: exactly 24 random bytes.
        sampled: whether this request is recorded.
    """
    parts = _split(header)
    span_id = random[16:24].hex()
    if parts is None:
        return TraceContext(random[:16].hex(), "", span_id, sampled, "01" if sampled else "00")
    caller_records = int(parts[2], 16) & 1
    return TraceContext(parts[0], parts[1], span_id, sampled, f"{caller_records:02x}")


def _split(header: str) -> tuple[str, str, str] | None:
    if not header:
        return None
    parts = header.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0] == "ff":
        return None
    if parts[0] == "00" and len(parts) != 4:
        return None
    version, trace_id, parent_id, flags = parts[:4]
    if [len(trace_id), len(parent_id), len(flags)] != [32, 16, 2]:
        return None
    if not all(_HEX.issuperset(part) for part in (version, trace_id, parent_id, flags)):
        return None
    if trace_id == "0" * 32 or parent_id == "0" * 16:
        return None
    return trace_id, parent_id, flags
