"""The run store: who sees what, who is refused why, and what one seal takes."""

import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapters.runs_sqlite import (
    CLOSING_MS_MAX,
    FILE_NAME,
    PRUNE_TRACES_MAX,
    SqliteRuns,
)
from verismo.adapters.runs_trace import parents_first
from verismo.attest.lineage import Selection, select
from verismo.model.errors import RunLimit, RunSealed, StateError
from verismo.model.ids import ProvId, TenantId, prov_id_from
from verismo.model.run import (
    RUN_DEPTH_MAX,
    RUN_ENTRIES_MAX,
    BegunRun,
    NotedCall,
    ReportedHop,
    ReportedSource,
    Run,
)

MINE, THEIRS = TenantId("mine"), TenantId("theirs")
TRACE = "ab" * 16
ROOT, OTHER, CALLER = "a" * 16, "b" * 16, "c" * 16
FIRST, SECOND = ProvId("first"), ProvId("second")
NOW_MS = 1_790_000_000_000


def span(number: int) -> str:
    return f"{number + 1:016x}"


def begun(span_id: str = ROOT, parent: str = CALLER, run: str = "", at: int = NOW_MS) -> BegunRun:
    return BegunRun(span_id, parent, run, at)


def call(number: int, parent: str = ROOT, run: str = "", nodes: int = 4) -> NotedCall:
    prov_id = prov_id_from(NOW_MS, number.to_bytes(10, "big"))
    return NotedCall(span(number), parent, run, prov_id, NOW_MS, NOW_MS + 1, nodes, 1_000)


def hop(number: int, parent: str = ROOT, **fields: object) -> ReportedHop:
    values: dict = {"kind": "tool", "attrs": {}, "t0_ms": 1, "t1_ms": 2, **fields}
    return ReportedHop(span_id=span(number), parent_span=parent, **values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / FILE_NAME


@pytest.fixture
def store(path: Path):
    opened = SqliteRuns(path, clock_ms=lambda: NOW_MS)
    yield opened
    opened.close()


def reasons(store: SqliteRuns, *hops: ReportedHop, tenant: TenantId = MINE) -> list[str]:
    return [one.reason for one in store.report(tenant, TRACE, hops)]


def taken(store: SqliteRuns, root: str = ROOT, prov_id: ProvId = FIRST) -> list[str]:
    """Seal a run and return the spans that it takes."""
    run = store.collect(MINE, TRACE, root, prov_id, NOW_MS)
    spans = sorted(select(run).parents)
    store.end(MINE, TRACE, root, spans)
    return spans


def test_a_run_takes_its_calls_and_hops_as_they_were_given(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    source = ReportedSource(uri="doc", commit="ab" * 32, octets=3, attrs={"page": 7})
    reported = hop(1, attrs={"tool": "search", "ok": True}, sources=(source,), commit="cd" * 32)
    store.note(MINE, TRACE, call(2, span(1)))
    assert store.report(MINE, TRACE, [reported]) == []
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    assert run.hops == (reported,)
    assert [(one.span_id, one.parent_span, one.run_span) for one in run.calls] == [
        (span(2), span(1), ROOT)
    ]
    assert (run.others, run.shared, run.refused, run.omitted) == ((), False, 0, 0)


def test_the_file_is_its_owners_alone_and_what_is_in_it_outlives_the_process(
    store: SqliteRuns, path: Path
):
    store.begin(MINE, TRACE, begun())
    store.note(MINE, TRACE, call(1))
    assert path.stat().st_mode & 0o077 == 0
    again = SqliteRuns(path)
    assert taken(again) == [span(1)]
    again.close()


def test_a_tenant_neither_sees_nor_changes_what_another_does_under_the_same_ids(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    store.begin(THEIRS, TRACE, begun())
    store.note(MINE, TRACE, call(1))
    assert reasons(store, hop(1), hop(2), tenant=THEIRS) == []
    assert reasons(store, hop(2)) == []
    theirs = store.collect(THEIRS, TRACE, ROOT, FIRST, NOW_MS)
    store.end(THEIRS, TRACE, ROOT, [span(1), span(2)])
    assert (len(theirs.calls), len(theirs.hops)) == (0, 2)
    assert taken(store) == [span(1), span(2)]


def test_a_call_joins_by_parent_then_by_state_then_the_one_open_run(store: SqliteRuns):
    store.begin(MINE, TRACE, begun(ROOT))
    store.note(MINE, TRACE, call(1, span(50)))  # only one is open
    store.begin(MINE, TRACE, begun(OTHER))
    store.note(MINE, TRACE, call(2, span(51)))  # nothing tells
    store.note(MINE, TRACE, call(3, span(52), run=OTHER))
    store.note(MINE, TRACE, call(4, ROOT, run=OTHER))  # the parent is known
    store.note(MINE, TRACE, call(5, span(1)))  # under a call
    assert taken(store, ROOT) == [span(1), span(4), span(5)]
    assert taken(store, OTHER, SECOND) == [span(3)]


def test_a_sibling_of_the_run_is_no_part_of_it(store: SqliteRuns):
    store.begin(MINE, TRACE, begun(parent=CALLER))
    store.note(MINE, TRACE, call(1, CALLER))
    assert taken(store) == []


def test_what_came_before_a_run_was_begun_is_no_part_of_it(store: SqliteRuns):
    store.note(MINE, TRACE, call(1, span(50)))
    store.begin(MINE, TRACE, begun())
    assert taken(store) == []


def test_a_run_that_was_never_begun_takes_what_nothing_else_can_claim(store: SqliteRuns):
    store.note(MINE, TRACE, call(1, span(50)))
    store.note(MINE, TRACE, call(2, ROOT))
    store.note(MINE, TRACE, call(3, span(51), run=ROOT))
    store.note(MINE, TRACE, call(4, span(51), run=OTHER))
    assert taken(store) == [span(1), span(2), span(3)]
    store.note(MINE, TRACE, call(5, span(52)))
    assert taken(store, OTHER, SECOND) == [span(4)]


def test_what_a_run_took_no_other_run_takes(store: SqliteRuns):
    store.begin(MINE, TRACE, begun(ROOT))
    store.begin(MINE, TRACE, begun(OTHER, parent=ROOT))
    store.note(MINE, TRACE, call(1, OTHER))
    assert taken(store, OTHER) == [span(1)]
    store.note(MINE, TRACE, call(2, ROOT))
    assert taken(store, ROOT, SECOND) == [span(2)]


def test_refused_hops_are_told_why(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    store.note(MINE, TRACE, call(1))
    assert reasons(
        store,
        hop(2),
        hop(2, t1_ms=3),
        hop(1),
        hop(3, span(1)),
        hop(4, span(4)),
        hop(5, span(6)),
        hop(6, span(5)),
        hop(7, t0_ms=3, t1_ms=2),
        hop(8, kind="request"),
        hop(10, attrs={"lone": "\ud800"}),
        ReportedHop(ROOT, CALLER, "tool", {}, 1, 2),
        hop(9, span(99)),
    ) == [
        "span_taken",
        "span_taken",
        "forged_parent",
        "cycle",
        "cycle",
        "bad_time",
        "malformed",
        "malformed",
        "span_taken",
    ]
    assert store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS).refused == 9


def test_a_hop_that_is_reported_again_as_it_was_is_taken_once(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    assert reasons(store, hop(1), hop(1)) == []
    assert reasons(store, hop(1)) == []
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    assert ([one.span_id for one in run.hops], run.refused) == ([span(1)], 0)


def test_only_what_was_refused_since_it_began_counts_for_a_run(store: SqliteRuns):
    reasons(store, hop(1, span(1)))
    store.begin(MINE, TRACE, begun())
    reasons(store, hop(2, span(2)))
    assert store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS).refused == 1


def test_nothing_joins_a_run_that_is_being_sealed(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    reasons(store, hop(1), hop(2, span(1)))
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    late = [hop(3), hop(4, span(1)), hop(5, span(2))]
    assert reasons(store, *late) == ["run_sealed"] * 3
    store.note(MINE, TRACE, call(6))
    store.note(MINE, TRACE, call(7, span(2)))
    store.end(MINE, TRACE, ROOT, [one.span_id for one in run.hops])
    assert reasons(store, *late) == ["run_sealed"] * 3
    assert reasons(store, ReportedHop(ROOT, CALLER, "tool", {}, 1, 2)) == ["run_sealed"]
    assert taken(store, OTHER, SECOND) == []


def test_a_run_is_closed_by_one_answer(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    with pytest.raises(RunSealed, match="first"):
        store.collect(MINE, TRACE, ROOT, SECOND, NOW_MS + CLOSING_MS_MAX)
    store.end(MINE, TRACE, ROOT, [])
    with pytest.raises(RunSealed) as raised:
        store.collect(MINE, TRACE, ROOT, SECOND, NOW_MS + 10 * CLOSING_MS_MAX)
    assert raised.value.prov_id == FIRST


def test_stolen_run_one_begun_for_an_answer_is_closed_by_no_other(store: SqliteRuns):
    store.begin(MINE, TRACE, BegunRun(ROOT, CALLER, "", NOW_MS, FIRST))
    store.note(MINE, TRACE, call(1))
    with pytest.raises(RunSealed, match="first"):
        store.collect(MINE, TRACE, ROOT, SECOND, NOW_MS + 10 * CLOSING_MS_MAX)
    assert taken(store) == [span(1)]


def test_who_died_while_sealing_does_not_keep_a_run_for_ever(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    store.note(MINE, TRACE, call(1))
    store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    run = store.collect(MINE, TRACE, ROOT, SECOND, NOW_MS + CLOSING_MS_MAX + 1)
    assert len(run.calls) == 1


def test_a_run_whose_seal_failed_is_open_again(store: SqliteRuns):
    store.note(MINE, TRACE, call(1))
    store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    store.begin(MINE, TRACE, begun())
    assert reasons(store, hop(2)) == []
    assert taken(store, prov_id=SECOND) == [span(1), span(2)]
    store.begin(MINE, TRACE, begun())
    with pytest.raises(RunSealed):
        store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)


def test_a_call_knows_how_it_stands(store: SqliteRuns):
    assert store.standing(MINE, TRACE, ROOT, "") == "none"
    assert store.standing(MINE, TRACE, CALLER, OTHER) == "open"
    store.begin(MINE, TRACE, begun())
    assert store.standing(MINE, TRACE, CALLER, "") == "none"
    assert store.standing(MINE, TRACE, span(9), "") == "open"
    store.note(MINE, TRACE, call(1, nodes=RUN_ENTRIES_MAX))
    assert store.standing(MINE, TRACE, ROOT, "") == "full"
    assert store.standing(MINE, TRACE, span(1), "") == "full"
    assert store.standing(THEIRS, TRACE, ROOT, "") == "none"


def chain(steps: int, top: str = ROOT) -> list[ReportedHop]:
    return [hop(n, span(n - 1) if n else top) for n in range(steps)]


def told(store: SqliteRuns, *hops: ReportedHop) -> list[tuple[str, str]]:
    refused = store.report(MINE, TRACE, hops, are_roots_known=True)
    return sorted((one.span_id, one.reason) for one in refused)


@pytest.mark.parametrize("order", [1, -1])
def test_a_step_that_is_known_to_be_too_deep_is_told_and_counted_once(
    store: SqliteRuns, order: int
):
    store.begin(MINE, TRACE, begun())
    steps = chain(300)
    deep = [(one.span_id, "too_deep") for one in steps[RUN_DEPTH_MAX:]]
    assert told(store, *steps[::order]) == deep
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    selection = select(run)
    assert (run.refused, selection.refused) == (len(deep), ())
    joined = {one.span_id for one in selection.hops if not one.passes}
    assert joined == {one.span_id for one in steps[:RUN_DEPTH_MAX]}


def test_a_step_that_is_too_deep_leads_what_stands_under_it_to_its_run(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    steps = chain(RUN_DEPTH_MAX + 3)
    below = steps[-1].span_id
    for one in steps:
        told(store, one)
    store.note(MINE, TRACE, call(900, below))
    assert told(store, hop(901, below, passes=True)) == []
    assert told(store, hop(902, span(901))) == [(span(902), "too_deep")]
    assert told(store, steps[-1]) == [(below, "too_deep")]
    assert span(900) in taken(store)


def test_no_step_is_told_to_be_too_deep_while_a_span_above_it_may_be_a_root(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    steps = chain(RUN_DEPTH_MAX + 4)
    assert reasons(store, *steps) == []
    run = store.collect(MINE, TRACE, span(9), SECOND, NOW_MS)
    assert {one.span_id for one in select(run).hops} == {one.span_id for one in steps[10:]}


def test_no_step_is_told_to_be_too_deep_below_a_span_that_nobody_knows(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    steps = chain(RUN_DEPTH_MAX + 4, top=span(500))
    assert told(store, *steps) == []
    assert told(store, hop(500)) == []
    refused = select(store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)).refused
    assert [one.reason for one in refused] == ["too_deep"] * 5


def test_any_number_of_spans_that_only_pass_is_not_too_deep(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    passing = [hop(n, span(n - 1) if n else ROOT, passes=True) for n in range(200)]
    assert told(store, *passing, hop(200, span(199))) == []


links = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12)


@given(links)
def test_parents_come_first_and_of_two_with_one_span_the_first_stays_first(
    pairs: list[tuple[int, int]],
):
    hops = [hop(name, span(above), t0_ms=at) for at, (name, above) in enumerate(pairs)]
    ordered = parents_first(hops)
    assert sorted(one.t0_ms for one in ordered) == list(range(len(hops)))
    for name in {one.span_id for one in hops}:
        times = [one.t0_ms for one in ordered if one.span_id == name]
        assert times == sorted(times)
    above = {one.span_id: one.parent_span for one in reversed(hops)}
    seen: set[str] = set()
    for one in ordered:
        seen.add(one.span_id)
        parent = above[one.span_id]
        assert parent not in above or parent in seen or _circles(above, one.span_id)


def _circles(above: dict[str, str], name: str) -> bool:
    path: set[str] = set()
    while name in above and name not in path:
        path.add(name)
        name = above[name]
    return name in path


def test_a_run_of_too_many_octets_is_full(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    for number in range(8):
        reasons(store, hop(number, attrs={"text": "x" * 65_000}))
    assert store.standing(MINE, TRACE, ROOT, "") == "open"
    assert reasons(store, hop(9, attrs={"text": "x" * 65_000})) == ["over_limit"]


def test_what_a_seal_took_leaves_room_for_the_next_run_of_its_trace(store: SqliteRuns):
    for number, root in enumerate((ROOT, OTHER, CALLER)):
        store.note(MINE, TRACE, call(number, root, run=root, nodes=RUN_ENTRIES_MAX - 4))
        assert store.standing(MINE, TRACE, root, root) == "open"
        assert taken(store, root, ProvId(root)) == [span(number)]
    assert store.standing(MINE, TRACE, span(50), span(51)) == "open"


def test_hops_over_the_limit_are_refused_wherever_they_are(store: SqliteRuns):
    loose = [hop(number, span(number + 1)) for number in range(RUN_ENTRIES_MAX + 2)]
    assert reasons(store, *loose) == ["over_limit"] * 2
    store.begin(MINE, TRACE, begun())
    passing = [hop(2_000 + number, passes=True) for number in range(RUN_ENTRIES_MAX + 1)]
    assert reasons(store, *passing) == ["over_limit"]
    assert store.standing(MINE, TRACE, ROOT, "") == "full"


def test_a_call_that_names_its_full_run_is_told_and_one_that_names_none_is_counted(
    store: SqliteRuns,
):
    assert reasons(store, *[hop(number) for number in range(RUN_ENTRIES_MAX)]) == []
    assert store.standing(MINE, TRACE, ROOT, ROOT) == "full"
    assert store.standing(MINE, TRACE, ROOT, "") == "none"
    store.note(MINE, TRACE, call(2_000))
    assert store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS).omitted == 1


def test_calls_over_the_limit_are_counted(store: SqliteRuns):
    store.begin(MINE, TRACE, begun())
    for number in range(RUN_ENTRIES_MAX + 3):
        store.note(MINE, TRACE, call(number, nodes=0))
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    assert (len(run.calls), run.omitted) == (RUN_ENTRIES_MAX, 3)


def test_agents_call_each_other_only_so_deep(store: SqliteRuns):
    store.begin(MINE, TRACE, begun(span(0)))
    for depth in range(1, RUN_DEPTH_MAX):
        store.begin(MINE, TRACE, begun(span(depth), parent=CALLER, run=span(depth - 1)))
    with pytest.raises(RunLimit):
        store.begin(MINE, TRACE, begun(span(99), parent=CALLER, run=span(RUN_DEPTH_MAX - 1)))
    store.begin(MINE, TRACE, begun(span(98), parent=CALLER, run=span(0)))


def test_silent_traces_are_forgotten_whole_and_no_others(store: SqliteRuns):
    old, new = "01" * 16, "02" * 16
    for trace, at in ((old, NOW_MS), (new, NOW_MS + 5)):
        store.begin(MINE, trace, begun(at=at))
        store.note(MINE, trace, call(1))
    store.note(MINE, new, call(2))
    assert store.prune(NOW_MS + 2) == 3
    assert store.prune(NOW_MS + 2) == 0
    assert len(store.collect(MINE, new, ROOT, FIRST, NOW_MS).calls) == 2
    assert store.collect(MINE, old, ROOT, FIRST, NOW_MS).calls == ()


def test_any_number_of_traces_is_forgotten_in_portions(store: SqliteRuns):
    for number in range(PRUNE_TRACES_MAX + 5):
        store.note(MINE, f"{number:032x}", call(1))
    assert store.prune(NOW_MS + 2) == 2 * (PRUNE_TRACES_MAX + 5)


def test_calls_noted_by_many_threads_and_stores_are_all_there(store: SqliteRuns, path: Path):
    store.begin(MINE, TRACE, begun())
    second = SqliteRuns(path)
    together = threading.Barrier(4)

    def work(lane: int) -> None:
        together.wait(5)
        for number in range(50):
            (store, second)[lane % 2].note(MINE, TRACE, call(lane * 50 + number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    second.close()
    assert len(taken(store)) == 200


@pytest.mark.slow
def test_a_writer_that_keeps_the_file_is_an_error_that_says_so(store: SqliteRuns, path: Path):
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StateError, match="locked"):
            store.note(MINE, TRACE, call(1))
        assert store.standing(MINE, TRACE, ROOT, "") == "none"
        assert not store.note_at_once(MINE, TRACE, call(1))
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert store.note_at_once(MINE, TRACE, call(1))
    assert taken(store) == [span(1)]


def test_a_damaged_file_and_one_of_a_newer_version_are_refused(tmp_path: Path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(StateError, match="not a database") as raised:
        SqliteRuns(damaged)
    assert "move it away" in raised.value.advice
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StateError, match="this program knows"):
        SqliteRuns(newer)


def test_a_row_that_cannot_be_read_is_an_error(store: SqliteRuns, path: Path):
    store.begin(MINE, TRACE, begun())
    store.note(MINE, TRACE, call(1))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE member SET value = x'00'")
    connection.commit()
    connection.close()
    with pytest.raises(StateError):
        store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "note", "report", "seal"]),
        st.integers(0, 5),
        st.sampled_from([ROOT, OTHER, CALLER, span(0), span(1), span(2), span(40)]),
        st.sampled_from(["", ROOT, OTHER]),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(deadline=None)  # each example makes a file
@given(steps)
def test_whatever_happens_no_span_is_in_two_runs(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int, str, str]]
):
    store = SqliteRuns(tmp_path_factory.mktemp("runs") / FILE_NAME, clock_ms=lambda: NOW_MS)
    sealed: dict[str, list[str]] = {}
    for number, (what, member, parent, run) in enumerate(story):
        if what == "begin":
            store.begin(MINE, TRACE, begun(run or ROOT, parent))
        elif what == "note":
            store.note(MINE, TRACE, call(100 + number, parent, run))
        elif what == "report":
            store.report(MINE, TRACE, [hop(member, parent)])
        elif (run or ROOT) not in sealed:
            sealed[run or ROOT] = taken(store, run or ROOT, ProvId(str(number)))
    store.close()
    spans = [one for taken in sealed.values() for one in taken]
    assert len(spans) == len(set(spans))


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=20, max_size=60),
    st.randoms(use_true_random=False),
)
def test_in_whatever_order_and_portions_steps_arrive_their_run_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], order: random.Random
):
    hops = [
        hop(n, span(n - back) if n >= back else ROOT, passes=passes)
        for n, (back, passes) in enumerate(steps)
    ]
    calls = [call(1_000 + n, one.span_id, ROOT) for n, one in enumerate(hops)]
    expected = select(Run(ROOT, tuple(calls), tuple(hops)))
    order.shuffle(hops)
    store = SqliteRuns(tmp_path_factory.mktemp("runs") / FILE_NAME, clock_ms=lambda: NOW_MS)
    store.begin(MINE, TRACE, begun())
    while hops:
        portion = order.randint(1, len(hops))
        store.report(MINE, TRACE, hops[:portion], are_roots_known=True)
        hops = hops[portion:]
    for one in calls:
        store.note(MINE, TRACE, one)
    run = store.collect(MINE, TRACE, ROOT, FIRST, NOW_MS)
    store.close()
    found = select(run)
    told = run.refused + len(found.refused)
    assert told == len(expected.refused)
    assert {one.span_id for one in found.hops if not one.passes} == {
        one.span_id for one in expected.hops if not one.passes
    }
    assert [_step_of(found, one.span_id) for one in calls] == [
        _step_of(expected, one.span_id) for one in calls
    ]


def _step_of(selection: Selection, span_id: str) -> str:
    """Return the step that a call is drawn under: what only passes hands it on."""
    passing = {one.span_id for one in selection.hops if one.passes}
    parent = selection.parents[span_id]
    while parent in passing:
        parent = selection.parents[parent]
    return parent
