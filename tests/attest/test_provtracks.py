"""Tracks: what shares one is apart, what leaves is above what arrives at the same place."""

from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.provtracks import (
    Wire,
    height_beneath,
    height_over,
    lay_around,
    lay_between,
    track_over,
    track_within,
    width_beside,
)

places = st.integers(0, 40).map(lambda step: 25 * step)


@st.composite
def fans(draw):
    """Hubs with one end above and some below, or the other way round."""
    wires = []
    for number in range(draw(st.integers(1, 12))):
        is_from_above = draw(st.booleans())
        one = draw(places)
        others = draw(st.sets(places, min_size=1, max_size=5))
        hub = (number, is_from_above)
        wires += [Wire(hub, one, x) if is_from_above else Wire(hub, x, one) for x in sorted(others)]
    return wires


def reach(wires, hub):
    xs = [x for wire in wires if wire.hub == hub for x in (wire.x, wire.to_x)]
    return min(xs), max(xs)


@given(fans())
def test_hubs_in_one_track_are_apart(wires):
    tracks = lay_between(wires).of
    for one, track in tracks.items():
        for other in (hub for hub in tracks if hub != one and tracks[hub] == track):
            (left, right), (begin, end) = reach(wires, one), reach(wires, other)
            assert right < begin or end < left


@given(fans())
def test_what_only_leads_straight_down_needs_no_track(wires):
    tracks = lay_between(wires).of
    for hub in {wire.hub for wire in wires}:
        left, right = reach(wires, hub)
        assert (hub in tracks) == (left < right)


@given(fans())
def test_tracks_are_counted_from_the_top_without_gaps(wires):
    tracks = lay_between(wires)
    used = {*tracks.of.values(), *tracks.detours.values()}
    assert used == set(range(tracks.count))


def test_what_leaves_a_place_is_above_what_arrives_there():
    leaving = Wire((9, True), 100, 300)
    arriving = Wire((1, False), 0, 100)
    tracks = lay_between([arriving, leaving]).of
    assert tracks[leaving.hub] < tracks[arriving.hub]


def test_of_two_that_change_places_one_goes_around_the_other():
    tracks = lay_between([Wire((1, True), 0, 100), Wire((2, True), 100, 0)])
    assert sorted(tracks.of.values()) == [0, 1]
    [((hub, _), detour)] = tracks.detours.items()
    assert tracks.of[hub] == 0
    assert detour == 2


def test_on_the_way_to_the_next_column_the_rightmost_is_innermost():
    wires = [Wire((1, True), 0, 50), Wire((2, True), 200, 0), Wire((1, True), 0, 90)]
    assert lay_around(wires).of == {(2, True): 0, (1, True): 1}


def test_there_is_room_for_every_track_and_an_arrow_below_it():
    for count in range(1, 30):
        assert height_beneath(count) - track_within(count - 1) >= 20
        assert height_over(count) - track_over(count - 1) >= 20
        assert width_beside(count) < width_beside(count + 1)
    assert height_over(0) == 0
