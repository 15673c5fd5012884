"""The vectors' builders are used here too: `forge` makes valid and forged answers."""

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "vectors"))


@pytest.fixture(scope="session")
def published() -> Path:
    """Vectors that others published, beside the repository; not part of it."""
    folder = REPOSITORY.parent / "shared" / "vectors" / "attest"
    if not folder.is_dir():
        pytest.skip("not installed: the published vectors, ../shared/vectors/attest")
    return folder
