"""The arm of a request is drawn by its prov_id, so that anybody can draw it again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.ids import prov_id_from
from verismo.model.steering import drawn_arm

prov_ids = st.builds(prov_id_from, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))


@given(prov_ids, st.integers(0, 1_000_000))
def test_the_same_prov_id_and_weight_draw_the_same_arm(prov_id, weight_ppm):
    assert drawn_arm(prov_id, weight_ppm) == drawn_arm(prov_id, weight_ppm)


@given(prov_ids)
def test_weight_0_gives_nothing_and_the_full_weight_gives_everything(prov_id):
    assert drawn_arm(prov_id, 0) == "baseline"
    assert drawn_arm(prov_id, 1_000_000) == "candidate"


@given(prov_ids, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_a_larger_weight_takes_nothing_away_from_the_candidate(prov_id, one, other):
    less, more = sorted((one, other))
    assert drawn_arm(prov_id, less) == "baseline" or drawn_arm(prov_id, more) == "candidate"


@given(st.binary(min_size=10, max_size=10), st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_the_time_in_a_prov_id_draws_nothing(random, one_ms, other_ms):
    arms = {drawn_arm(prov_id_from(at, random), 500_000) for at in (one_ms, other_ms)}
    assert len(arms) == 1


@pytest.mark.parametrize("weight_ppm", [10_000, 50_000, 200_000, 500_000])
def test_evenly_spread_bits_give_the_candidate_its_share(weight_ppm):
    count = 2_000
    bits = [(at * 2**48 // count).to_bytes(6, "big") for at in range(count)]
    arms = [drawn_arm(prov_id_from(0, bytes(4) + one), weight_ppm) for one in bits]
    share_ppm = arms.count("candidate") * 1_000_000 // count
    assert abs(share_ppm - weight_ppm) <= 1_000_000 // count


@pytest.mark.parametrize("text", ["", "f" * 36, "0199b7a2-1111-4111-8111-0123456789ab"])
def test_what_is_no_prov_id_draws_no_arm(text):
    with pytest.raises(ValueError, match="UUIDv7"):
        drawn_arm(text, 500_000)
