"""The generated text, its digest and the token rule."""

from hypothesis import given
from hypothesis import strategies as st

from verismo.simulate.answer import digest_of, pieces_of, slices_of, tokens_of


@given(st.binary(min_size=32, max_size=32), st.integers(0, 200))
def test_a_text_of_n_tokens_has_n_pieces_of_one_token_each(digest, count):
    pieces = pieces_of(digest, count)
    assert len(pieces) == count
    assert all(len(piece.encode()) == 4 for piece in pieces)
    assert tokens_of("".join(pieces)) == count


def test_every_text_says_that_it_is_simulated():
    assert "".join(pieces_of(b"\1" * 32, 12)).startswith("Simulated answer ")


def test_a_shorter_limit_gives_a_prefix():
    digest = digest_of(1, "POST", "/", b"{}")
    assert pieces_of(digest, 50)[:9] == pieces_of(digest, 9)


def test_texts_hold_characters_outside_ascii():
    assert any(not piece.isascii() for piece in pieces_of(b"\1" * 32, 200))


def test_seed_method_path_and_body_each_change_the_digest():
    digests = {
        digest_of(1, "POST", "/a", b"x"),
        digest_of(2, "POST", "/a", b"x"),
        digest_of(1, "PUT", "/a", b"x"),
        digest_of(1, "POST", "/b", b"x"),
        digest_of(1, "POST", "/a", b"y"),
    }
    assert len(digests) == 5
    assert digest_of(1, "POST", "/a", b"x") in digests


def test_tokens_are_a_quarter_of_the_octets_rounded_up():
    assert [tokens_of(text) for text in ("", "a", "abcd", "abcde", "日本")] == [0, 1, 1, 2, 2]


@given(st.text(max_size=200), st.integers(1, 20))
def test_slices_join_to_the_text(text, length):
    slices = slices_of(text, length)
    assert "".join(slices) == text
    assert all(0 < len(part) <= length for part in slices)
