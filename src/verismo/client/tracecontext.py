"""W3C trace context on the agent's side: which run a call belongs to, and what calls carry on.

Source: W3C Trace Context, level 2; `tracestate` key `verismo` names the run's root span.
"""

import re
from collections.abc import Mapping

import msgspec

from verismo.attest.commitment import SALT_BYTES
from verismo.model import base64url

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
RUN_SALT = "attest-run-salt"
VENDOR = "verismo"
"""Our key in `tracestate`."""
STATE_CHARS_MAX = 512
"""What the recommendation asks everybody to carry; longer states lose entries at their end."""
STATE_ENTRIES_MAX = 32
"""Who gets more drops them all (3.3.1.1)."""

_parent = re.compile(
    "(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
).fullmatch
_span = re.compile("[0-9a-f]{16}").fullmatch


class RunContext(msgspec.Struct, frozen=True):
    """Where an agent stands in a run that it was called in.

    Args:
        trace_id: 32 hex digits.
        parent_span: who called, 16 hex digits.
        run_span: the run's root span, 16 hex digits.
        salt: the run's salt, 32 octets; empty if the caller gave none that can be read.
        others: entries of other vendors in `tracestate`.
    """

    trace_id: str
    parent_span: str
    run_span: str
    salt: bytes
    others: str


def read_run_context(headers: Mapping[str, str]) -> RunContext | None:
    """Read which run a request belongs to.

    Args:
        headers: of the request, names in any case.

    Returns:
        None if it belongs to no run: no `traceparent`, or nothing of a gateway beside it.
    """
    known = {name.lower(): value for name, value in headers.items()}
    parent = _parent(known.get(TRACEPARENT, "").strip())
    if parent is None or (parent[1] == "00" and parent[4]):
        return None
    trace_id, parent_span = parent[2], parent[3]
    if not trace_id.strip("0") or not parent_span.strip("0"):
        return None
    run_span, others = split_state(known.get(TRACESTATE, ""))
    salt = read_salt(known.get(RUN_SALT, ""))
    if not run_span and not salt:
        return None
    return RunContext(trace_id, parent_span, run_span or parent_span, salt, others)


def split_state(header: str) -> tuple[str, str]:
    """Return our entry of a `tracestate`, empty if there is none, and the others as they stand."""
    run_span, others = "", []
    for entry in header.split(","):
        name, _, value = entry.strip().partition("=")
        if name != VENDOR:
            others.append(entry.strip())
        elif _span(value) and value.strip("0"):
            run_span = value
    return run_span, ",".join(entry for entry in others if entry)


def read_salt(header: str) -> bytes:
    """Return a run's salt, empty if the header holds none."""
    try:
        salt = base64url.decode_binary_item(header.strip())
    except base64url.NotBase64:
        return b""
    return salt if len(salt) == SALT_BYTES else b""


def state_of(run_span: str, others: str) -> str:
    """Return a `tracestate` with our entry first; entries that do not fit are left out."""
    entries = [f"{VENDOR}={run_span}"]
    left = STATE_CHARS_MAX - len(entries[0])
    for entry in others.split(",") if others else ():
        left -= len(entry) + 1
        if left < 0 or len(entries) == STATE_ENTRIES_MAX:
            break
        entries.append(entry)
    return ",".join(entries)
