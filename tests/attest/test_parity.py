"""Dropped, doubled, altered and reordered records are named; manifests grow event by event."""

import hashlib
import json
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import siem

from verismo.attest import merkle, parity
from verismo.attest.ocsf import siem_event

START, HOUR = siem.START_MS, siem.HOUR_MS


def events_of(count, start_ms=START, step_ms=1_000, first=0):
    records = siem.chats(count, start_ms, step_ms)
    return [siem_event(siem.logged(record, first + n)) for n, record in enumerate(records)]


EVENTS = events_of(12)


def compare(lines, events=EVENTS, since_ms=START, until_ms=START + HOUR, lost=()):
    comparison = parity.Comparison(since_ms, until_ms, lambda log, n: (log, n) in lost)
    for event in events:
        comparison.expect(event)
    for line in lines:
        comparison.see(line)
    return comparison.report()


def changed(event, **members):
    return json.dumps({**json.loads(event.data), **members}, separators=(",", ":")).encode()


def indices(found):
    return [named.index for named in found]


def sent():
    return [event.data for event in EVENTS]


def test_sink_that_holds_everything_has_parity():
    report = compare(sent())
    assert report.is_whole
    assert (report.expected, report.matched, report.parity_ppm) == (12, 12, 1_000_000)


def test_dropped_records_are_named():
    lines = sent()
    del lines[3], lines[7]
    report = compare(lines)
    assert indices(report.missing) == [3, 8]
    assert report.missing[0].uid == EVENTS[3].uid
    assert not report.is_whole
    assert report.parity_ppm == 833_333


LOST = {(siem.LOG, 20), (siem.LOG, 21)}


def of_leaf(number, index, name=None):
    """Return the event of another chat that says that it is of a leaf."""
    event = siem_event(siem.logged(siem.chats(number + 1)[number], index))
    if name is None:
        return event.data
    metadata = {**json.loads(event.data)["metadata"], "uid": name}
    return changed(event, metadata=metadata)


def test_what_was_sent_of_records_that_were_lost_later_is_not_foreign():
    report = compare([*sent(), of_leaf(50, 20), of_leaf(50, 20), of_leaf(51, 21)], lost=LOST)
    assert report.is_whole
    assert report.parity_ppm == 1_000_000
    assert [(one.index, one.uid) for one in report.unproven] == [
        (20, siem.prov_id(50, START + 50_000)),
        (21, siem.prov_id(51, START + 51_000)),
    ]


@pytest.mark.parametrize(
    "forged",
    [
        [of_leaf(50, 20), of_leaf(51, 20)],
        [of_leaf(50, 22)],
        [of_leaf(50, -1)],
        [of_leaf(50, 20, f"{siem.LOG}#20")],
    ],
    ids=["second of one leaf", "leaf that is not lost", "no leaf", "uid of the lost leaf itself"],
)
def test_forged_event_does_not_hide_behind_lost_records(forged):
    report = compare([*sent(), *forged], lost=LOST)
    assert len(report.foreign) == 1
    assert not report.is_whole


def test_doubled_records_are_named_and_cost_no_parity():
    report = compare([*sent(), EVENTS[5].data, EVENTS[5].data])
    assert [(one.index, one.count) for one in report.duplicate] == [(5, 3)]
    assert report.is_whole
    assert report.parity_ppm == 1_000_000


@pytest.mark.parametrize(
    "members",
    [
        {"severity_id": 2},
        {"message": "POST /v1/chat/completions: 500"},
        {"time": START + 5_000 + 1},
        {"time": START - 5 * HOUR},
        {"note": "added later"},
        {"metadata": {**json.loads(EVENTS[4].data)["metadata"], "sequence": 5}},
    ],
)
def test_altered_record_is_named(members):
    lines = sent()
    lines[4] = changed(EVENTS[4], **members)
    report = compare(lines)
    assert indices(report.altered) == [4]
    assert report.missing == ()
    assert not report.is_whole


def test_record_that_lost_a_member_is_altered():
    event = json.loads(EVENTS[2].data)
    del event["unmapped"]
    lines = sent()
    lines[2] = json.dumps(event).encode()
    assert indices(compare(lines).altered) == [2]


def test_altered_copy_beside_the_good_one_is_named():
    report = compare([*sent(), changed(EVENTS[1], severity_id=4)])
    assert indices(report.altered) == [1]
    assert report.duplicate == ()
    assert report.matched == 11


def test_second_spelling_of_a_member_is_an_alteration():
    lines = sent()
    lines[0] = lines[0].replace(b'"severity_id":1', b'"severity_id":4,"severity_id":1')
    assert json.loads(lines[0]) == json.loads(EVENTS[0].data)
    assert indices(compare(lines).altered) == [0]


def test_members_in_another_order_are_the_same_event():
    def turned(value):
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return value

    lines = [json.dumps(turned(json.loads(line)), indent=None).encode() for line in sent()]
    assert lines != sent()
    assert compare(lines).is_whole


def test_order_of_the_lines_means_nothing():
    assert compare(reversed(sent())).is_whole


def test_exchanged_uids_are_two_alterations():
    one, other = (json.loads(EVENTS[n].data) for n in (0, 1))
    one["metadata"]["uid"], other["metadata"]["uid"] = EVENTS[1].uid, EVENTS[0].uid
    lines = [*(json.dumps(e).encode() for e in (one, other)), *sent()[2:]]
    assert indices(compare(lines).altered) == [0, 1]


def test_forged_record_is_foreign():
    forged = changed(EVENTS[0], metadata={"uid": "forged", "log_name": siem.LOG})
    report = compare([*sent(), forged, forged])
    assert report.foreign == (parity.Named(siem.LOG, -1, "forged", 2),)
    assert not report.is_whole
    assert report.parity_ppm < 1_000_000


@pytest.mark.parametrize(
    "place",
    [
        {"sequence": "20"},
        {"sequence": 2.5},
        {"sequence": None},
        {"sequence": True},
        {"sequence": 10**30},
        {"sequence": {"n": [20]}},
        {"log_name": 20},
        {"log_name": None, "sequence": []},
    ],
)
def test_forged_record_does_not_hide_behind_a_place_of_a_wrong_type(place):
    metadata = {"uid": "forged", "log_name": siem.LOG, "sequence": 99, **place}
    report = compare([*sent(), changed(EVENTS[0], metadata=metadata)], lost=LOST)
    assert [one.uid for one in report.foreign] == ["forged"]
    assert report.unreadable == 0
    assert not report.is_whole


def test_records_of_other_hours_are_left_alone():
    others = events_of(3, START + 2 * HOUR, first=50)
    report = compare([*sent(), *(event.data for event in others)])
    assert report.is_whole
    assert report.expected == 12


def test_events_of_other_hours_are_not_expected():
    report = compare(sent(), [*EVENTS, *events_of(3, START + HOUR, first=50)])
    assert report.expected == 12


def test_lines_that_are_no_event_are_counted_and_blank_ones_are_not():
    lines = [*sent(), b"", b"  \n", b"{", b"torn", b"[" * 100_000, b"\xff{", b'{"metadata":{}}']
    report = compare(lines)
    assert report.unreadable == 5
    assert report.is_whole


def test_event_is_found_behind_a_syslog_header():
    lines = [b"<110>1 2026-09-22T00:00:00Z gw verismo - answer - " + line for line in sent()]
    assert compare(lines).is_whole


def test_empty_hour_has_parity():
    report = compare([], [])
    assert (report.parity_ppm, report.is_whole) == (1_000_000, True)


def test_one_record_in_many_lost_is_never_rounded_to_parity():
    whole = parity.ParityReport(0, 1, 10_000_000, 9_999_999, (), (), (), (), 0)
    assert whole.parity_ppm == 999_999


@pytest.mark.slow
@given(
    dropped=st.sets(st.integers(0, 11)),
    altered=st.sets(st.integers(0, 11)),
    doubled=st.sets(st.integers(0, 11)),
    order=st.randoms(use_true_random=False),
)
def test_any_damage_is_named_exactly(dropped, altered, doubled, order):
    altered, doubled = altered - dropped, doubled - altered - dropped
    lines = []
    for number, event in enumerate(EVENTS):
        if number in altered:
            lines.append(changed(event, status_code=f"changed {number}"))
        elif number not in dropped:
            lines += [event.data] * (2 if number in doubled else 1)
    order.shuffle(lines)
    report = compare(lines)
    assert set(indices(report.missing)) == dropped
    assert set(indices(report.altered)) == altered
    assert set(indices(report.duplicate)) == doubled
    assert report.matched == 12 - len(dropped) - len(altered)
    assert report.is_whole == (not dropped and not altered)


def tallies_after(batches):
    kept = {}
    for batch in batches:
        kept.update({t.hour_ms: t for t in parity.extend_tallies(kept, batch)})
    return kept


def naive_root(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return merkle.node_hash(naive_root(hashes[:split]), naive_root(hashes[split:]))


@pytest.mark.slow
@given(cuts=st.lists(st.integers(0, 40), max_size=6), step_ms=st.sampled_from([1_000, 400_000]))
def test_manifest_does_not_depend_on_how_events_were_batched(cuts, step_ms):
    events = events_of(40, step_ms=step_ms)
    bounds = sorted({0, *cuts, 40})
    batches = [events[a:b] for a, b in pairwise(bounds)]
    assert tallies_after(batches) == tallies_after([events])


def test_manifest_is_of_the_uids_and_contents_in_leaf_order():
    events = events_of(9, step_ms=800_000)
    kept = tallies_after([events])
    assert Counter(parity.hour_of(e.time_ms) for e in events) == {
        hour: tally.count for hour, tally in kept.items()
    }
    for hour, tally in kept.items():
        of_hour = [e for e in events if parity.hour_of(e.time_ms) == hour]
        manifest = parity.manifest_of(tally)
        uids = [hashlib.sha256(b"\0" + e.uid.encode()).digest() for e in of_hour]
        contents = [hashlib.sha256(b"\0" + e.data).digest() for e in of_hour]
        assert manifest.uid_root == naive_root(uids).hex()
        assert manifest.event_root == naive_root(contents).hex()
        assert (manifest.first_index, manifest.last_index) == (of_hour[0].index, of_hour[-1].index)


def test_late_event_goes_into_its_own_hour():
    late = msgspec.structs.replace(events_of(1)[0], index=99)
    kept = tallies_after([events_of(2), events_of(2, START + HOUR, first=10), [late]])
    assert kept[START].count == 3
    assert kept[START].last_index == 99
    assert kept[START + HOUR].count == 2


def test_altered_event_changes_the_content_root_alone():
    events = events_of(4)
    other = [*events[:3], msgspec.structs.replace(events[3], data=b"{}")]
    one, two = (parity.manifest_of(tallies_after([batch])[START]) for batch in (events, other))
    assert one.uid_root == two.uid_root
    assert one.event_root != two.event_root


def test_damaged_tally_is_refused():
    tally = tallies_after([events_of(3)])[START]
    damaged = msgspec.structs.replace(tally, uid_hashes=tally.uid_hashes[:1])
    with pytest.raises(merkle.ProofRefused):
        parity.extend_tallies({START: damaged}, events_of(1, first=3))
