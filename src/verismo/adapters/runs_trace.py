"""One trace of one tenant within a transaction of `runs.db`: its runs, and what stands in them.

Every statement here names tenant and trace, so that nothing of another tenant is ever seen.
"""

import sqlite3
from collections.abc import Sequence
from typing import Literal

import msgspec

from verismo.model.run import (
    RUN_BYTES_MAX,
    RUN_DEPTH_MAX,
    RUN_ENTRIES_MAX,
    NotedCall,
    RefusedReason,
    ReportedHop,
    flaw_of,
    hop_nodes,
    hop_octets,
)

STEPS_MAX = 256
"""Spans that are followed upwards when a hop arrives; sealing finds a longer circle."""

State = Literal["open", "closing", "sealed"]

TABLES = """
CREATE TABLE trace (
    tenant TEXT NOT NULL,
    trace TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    members INTEGER NOT NULL DEFAULT 0,
    nodes INTEGER NOT NULL DEFAULT 0,
    octets INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    omitted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, trace)
) STRICT, WITHOUT ROWID;
CREATE INDEX trace_by_time ON trace (last_ms);
CREATE TABLE run (
    tenant TEXT NOT NULL,
    trace TEXT NOT NULL,
    span TEXT NOT NULL,
    parent TEXT NOT NULL,
    depth INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closing', 'sealed')),
    begun INTEGER NOT NULL CHECK (begun IN (0, 1)),
    closed_ms INTEGER NOT NULL DEFAULT 0,
    prov_id TEXT NOT NULL DEFAULT '',
    members INTEGER NOT NULL DEFAULT 0,
    nodes INTEGER NOT NULL DEFAULT 0,
    octets INTEGER NOT NULL DEFAULT 0,
    refused_before INTEGER NOT NULL DEFAULT 0,
    omitted_before INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, trace, span)
) STRICT, WITHOUT ROWID;
CREATE TABLE member (
    tenant TEXT NOT NULL,
    trace TEXT NOT NULL,
    span TEXT NOT NULL,
    parent TEXT NOT NULL,
    run TEXT NOT NULL,
    is_call INTEGER NOT NULL CHECK (is_call IN (0, 1)),
    sealed_in TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (tenant, trace, span)
) STRICT, WITHOUT ROWID;
"""

encode_call = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(NotedCall).decode
encode_hop = msgspec.msgpack.Encoder().encode
decode_hop = msgspec.msgpack.Decoder(ReportedHop).decode


class RunRow(msgspec.Struct, frozen=True):
    """What is known of a run, or of a trace's members that are in none."""

    span: str
    parent: str
    depth: int
    state: State
    begun: int
    closed_ms: int
    prov_id: str
    members: int
    nodes: int
    octets: int
    refused_before: int
    omitted_before: int

    @property
    def is_full(self) -> bool:
        """Whether another call would not fit."""
        entries = max(self.nodes, self.members)
        return entries >= RUN_ENTRIES_MAX or self.octets >= RUN_BYTES_MAX


class MemberRow(msgspec.Struct, frozen=True):
    """What is known of a call or hop."""

    parent: str
    run: str
    is_call: int
    sealed_in: str


def parents_first(hops: Sequence[ReportedHop]) -> list[ReportedHop]:
    """Return hops so that each comes after its parent, as far as that is among them.

    Args:
        hops: as reported; of two with one span id the first stays the first.
    """
    parents: dict[str, str] = {}
    for hop in hops:
        parents.setdefault(hop.span_id, hop.parent_span)
    ranks: dict[str, int] = {}
    for hop in hops:
        path, span = [], hop.span_id
        while span in parents and span not in ranks:
            path.append(span)
            ranks[span] = 0  # who comes by again walks in a circle
            span = parents[span]
        rank = ranks.get(span, 0)
        for passed in reversed(path):
            rank += 1
            ranks[passed] = rank
    return sorted(hops, key=lambda hop: ranks[hop.span_id])


_RUN_COLUMNS = ", ".join(RunRow.__struct_fields__)
_MEMBER_COLUMNS = ", ".join(MemberRow.__struct_fields__)


class TraceRows:
    """The rows of one trace.

    Args:
        connection: to write, within a transaction.
        tenant: whose.
        trace_id: 32 hex digits.
    """

    def __init__(self, connection: sqlite3.Connection, tenant: str, trace_id: str) -> None:
        self._connection = connection
        self._key = (tenant, trace_id)
        self._batch: dict[str, MemberRow | None] = {}
        self._depths: dict[str, int] = {}
        self._states: dict[str, State | None] = {}

    def run(self, span: str) -> RunRow | None:
        """Return a run by its root span."""
        query = f"SELECT {_RUN_COLUMNS} FROM run WHERE tenant = ? AND trace = ? AND span = ?"
        row = self._connection.execute(query, (*self._key, span)).fetchone()
        return None if row is None else RunRow(*row)

    def runs(self) -> list[RunRow]:
        """Return every run of the trace."""
        query = f"SELECT {_RUN_COLUMNS} FROM run WHERE tenant = ? AND trace = ?"
        return [RunRow(*row) for row in self._connection.execute(query, self._key)]

    def loose(self) -> RunRow:
        """Return what the trace's members that are in no run come to."""
        query = "SELECT members, nodes, octets FROM trace WHERE tenant = ? AND trace = ?"
        row = self._connection.execute(query, self._key).fetchone()
        members, nodes, octets = (0, 0, 0) if row is None else row
        return RunRow("", "", 0, "open", 0, 0, "", members, nodes, octets, 0, 0)

    def member(self, span: str) -> MemberRow | None:
        """Return a call or hop by its span."""
        if span not in self._batch:
            query = (
                f"SELECT {_MEMBER_COLUMNS} FROM member WHERE tenant = ? AND trace = ? AND span = ?"
            )
            row = self._connection.execute(query, (*self._key, span)).fetchone()
            self._batch[span] = None if row is None else MemberRow(*row)
        return self._batch[span]

    def home(self, parent: str, named: str) -> str:
        """Return the root span of the run that something with this parent is in, or nothing.

        Args:
            parent: its parent span.
            named: the run that it names itself, or nothing.
        """
        if self.run(parent) is not None:
            return parent
        member = self.member(parent)
        if member is not None and (member.sealed_in or member.run):
            return member.sealed_in or member.run
        if named:
            return named
        # Two tell that it is not one: a trace may hold very many, and this is asked for each call.
        query = (
            "SELECT span, parent FROM run WHERE tenant = ? AND trace = ? AND state = 'open' "
            "AND begun = 1 LIMIT 2"
        )
        open_runs = self._connection.execute(query, self._key).fetchall()
        if len(open_runs) == 1 and not (parent and open_runs[0][1] == parent):
            return str(open_runs[0][0])
        return ""

    def touch(self, now_ms: int) -> None:
        """Note that something happens in the trace now."""
        self._connection.execute(
            "INSERT INTO trace (tenant, trace, last_ms) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET last_ms = MAX(last_ms, excluded.last_ms)",
            (*self._key, now_ms),
        )

    def totals(self) -> tuple[int, int]:
        """Return how many hops were refused, and how many calls were not noted, so far."""
        query = "SELECT refused, omitted FROM trace WHERE tenant = ? AND trace = ?"
        row = self._connection.execute(query, self._key).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def count_out(self, refused: int, omitted: int) -> None:
        """Count hops that were refused and calls that were not noted."""
        self._connection.execute(
            "UPDATE trace SET refused = refused + ?, omitted = omitted + ? "
            "WHERE tenant = ? AND trace = ?",
            (refused, omitted, *self._key),
        )

    def _state(self, span: str) -> State | None:
        """Return the state of the run that has this root, None if there is none."""
        if span not in self._states:
            run = self.run(span)
            self._states[span] = None if run is None else run.state
        return self._states[span]

    def put_run(self, row: RunRow) -> None:
        """Store a run."""
        self._states.pop(row.span, None)
        fields = [getattr(row, name) for name in RunRow.__struct_fields__]
        self._connection.execute(
            f"INSERT OR REPLACE INTO run (tenant, trace, {_RUN_COLUMNS}) "
            f"VALUES (?, ?{', ?' * len(fields)})",
            (*self._key, *fields),
        )

    def add_call(self, call: NotedCall) -> bool:
        """Store a call; False if there are too many already."""
        home = self.home(call.parent_span, call.run_span)
        run = self.run(home)
        if (run or self.loose()).members >= RUN_ENTRIES_MAX:
            return False
        sealed_in = home if run is not None and run.state != "open" else ""
        call = msgspec.structs.replace(call, run_span=home)
        row = MemberRow(call.parent_span, home, 1, sealed_in)
        self._add(call.span_id, row, encode_call(call), (call.nodes, call.octets))
        return True

    def add_hop(self, hop: ReportedHop, *, judges_depth: bool = False) -> RefusedReason | None:
        """Store a hop, or say why it is refused; what is stored already is taken.

        Args:
            hop: as reported.
            judges_depth: whether to refuse one that is known to be too deep. It stays as one that
                only passes, so that what stands under it still leads to its run.
        """
        reason = flaw_of(hop)
        if reason is not None:
            return reason  # it may hold what cannot even be stored
        value = encode_hop(hop)
        if self._is_stored(hop.span_id, value):
            return None
        link = msgspec.structs.replace(hop, passes=True, attrs={}, commit="", sources=())
        if judges_depth and not hop.passes and self._is_stored(hop.span_id, encode_hop(link)):
            return "too_deep"
        reason = self._misplaced(hop)
        if reason is not None:
            return reason
        if judges_depth and not hop.passes and self._depth(hop.parent_span) >= RUN_DEPTH_MAX:
            reason, hop, value = "too_deep", link, encode_hop(link)
        home = self.home(hop.parent_span, "")
        total = self.run(home) or self.loose()
        size = (hop_nodes(hop), hop_octets(hop))
        if total.nodes + size[0] > RUN_ENTRIES_MAX or total.octets + size[1] > RUN_BYTES_MAX:
            return "over_limit"
        if total.members >= RUN_ENTRIES_MAX:
            return "over_limit"
        self._add(hop.span_id, MemberRow(hop.parent_span, home, 0, ""), value, size)
        return reason

    def _depth(self, span: str) -> int:
        """Return how many steps down from its run a hop is; 0 for a run and where it is unknown."""
        path: list[str] = []
        while span not in self._depths and len(path) < STEPS_MAX and self._state(span) is None:
            member = self.member(span)
            if member is None or member.is_call or member.sealed_in:
                return 0
            path.append(span)
            span = member.parent
        if len(path) == STEPS_MAX:
            return 0
        depth = self._depths.get(span, 0)
        for passed in reversed(path):
            depth += 0 if self._passes(passed) else 1
            self._depths[passed] = depth
        return depth

    def _passes(self, span: str) -> bool:
        query = "SELECT value FROM member WHERE tenant = ? AND trace = ? AND span = ?"
        (value,) = self._connection.execute(query, (*self._key, span)).fetchone()
        return decode_hop(value).passes

    def _is_stored(self, span: str, value: bytes) -> bool:
        """Say whether a hop is here as it is: who gets no answer reports again (OTLP, retries)."""
        query = "SELECT value FROM member WHERE tenant = ? AND trace = ? AND span = ?"
        row = self._connection.execute(query, (*self._key, span)).fetchone()
        return row is not None and bytes(row[0]) == value

    def _misplaced(self, hop: ReportedHop) -> RefusedReason | None:
        """Say what is wrong with where a hop says that it stands, as far as that is known."""
        own = self.run(hop.span_id)
        if own is not None and own.state != "open":
            return "run_sealed"
        if own is not None or self.member(hop.span_id) is not None:
            return "span_taken"
        parent = self.member(hop.parent_span)
        if parent is not None and parent.sealed_in:
            return "run_sealed"
        is_run = self.run(hop.parent_span) is not None
        if parent is not None and parent.is_call and not is_run:
            return "forged_parent"
        return self._misled(hop)

    def _misled(self, hop: ReportedHop) -> RefusedReason | None:
        """Say whether the chain of a hop's parents leads back to it or to a sealed run."""
        span = hop.parent_span
        for _ in range(STEPS_MAX):
            if span == hop.span_id:
                return "cycle"
            state, member = self._state(span), self.member(span)
            if state is not None:
                return None if state == "open" else "run_sealed"
            if member is None:
                return None
            span = member.parent
        return None

    def _add(self, span: str, row: MemberRow, value: bytes, size: tuple[int, int]) -> None:
        """Store a member and count it where it belongs."""
        self._connection.execute(
            "INSERT OR IGNORE INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*self._key, span, row.parent, row.run, row.is_call, row.sealed_in, value),
        )
        self._batch[span] = row
        added = "members = members + 1, nodes = nodes + ?, octets = octets + ?"
        where = "WHERE tenant = ? AND trace = ?"
        update = f"UPDATE run SET {added} {where} AND span = ?"
        counted = self._connection.execute(update, (*size, *self._key, row.run)).rowcount
        if not counted:
            self._connection.execute(f"UPDATE trace SET {added} {where}", (*size, *self._key))

    def members(self) -> tuple[list[NotedCall], list[ReportedHop]]:
        """Return the calls and hops that no run has taken."""
        query = (
            "SELECT is_call, value FROM member WHERE tenant = ? AND trace = ? AND sealed_in = ''"
        )
        calls: list[NotedCall] = []
        hops: list[ReportedHop] = []
        for is_call, value in self._connection.execute(query, self._key):
            if is_call:
                calls.append(decode_call(value))
            else:
                hops.append(decode_hop(value))
        return calls, hops

    def take(self, run: str, spans: list[str]) -> None:
        """Give calls and hops to a run; what they held is in its graph now."""
        self._connection.executemany(
            "UPDATE member SET sealed_in = ?, value = x'' "
            "WHERE tenant = ? AND trace = ? AND span = ?",
            [(run, *self._key, span) for span in spans],
        )
        self._recount_loose()

    def _recount_loose(self) -> None:
        """Count what is in no run anew: what a seal took must not stay in the way of the next."""
        query = (
            "SELECT is_call, value FROM member WHERE tenant = ?1 AND trace = ?2 AND sealed_in = '' "
            "AND run NOT IN (SELECT span FROM run WHERE tenant = ?1 AND trace = ?2)"
        )
        members = nodes = octets = 0
        for is_call, value in self._connection.execute(query, self._key):
            members += 1
            if is_call:
                call = decode_call(value)
                nodes, octets = nodes + call.nodes, octets + call.octets
            else:
                hop = decode_hop(value)
                nodes, octets = nodes + hop_nodes(hop), octets + hop_octets(hop)
        self._connection.execute(
            "UPDATE trace SET members = ?, nodes = ?, octets = ? WHERE tenant = ? AND trace = ?",
            (members, nodes, octets, *self._key),
        )
