"""A signer refuses outside of its key's window."""

import pytest
from tests.support.keyring import SeedSigner

from verismo.adapters.signer_window import WindowedSigner
from verismo.ports.signer import SigningFailed

SIGNER = SeedSigner(bytes(32))


@pytest.mark.parametrize(("now_ms", "signs"), [(99, False), (100, True), (199, True), (200, False)])
def test_key_signs_within_its_window_and_never_outside(now_ms: int, signs: bool):
    windowed = WindowedSigner(SIGNER, (100, 200), lambda: now_ms)
    assert (windowed.kid, windowed.public_key) == (SIGNER.kid, SIGNER.public_key)
    if signs:
        assert windowed.sign(b"message") == SIGNER.sign(b"message")
    else:
        with pytest.raises(SigningFailed, match="outside of its window"):
            windowed.sign(b"message")


def test_repr_shows_the_kid_alone():
    assert repr(WindowedSigner(SIGNER, (0, 1), int)) == f"WindowedSigner(kid={SIGNER.kid})"
