"""A signing gateway on a socket for each test, and a client's settings that trust it."""

import pytest
from signing_gateway import AUDIENCE, ISSUER, SigningGateway, jwks, serving

from verismo.client.settings import Gateway


@pytest.fixture
def server():
    with serving(SigningGateway()) as gateway:
        yield gateway


@pytest.fixture
def trusted(server):
    """Return settings with the server's keys pinned; keyword arguments change them."""

    def make(**changes) -> Gateway:
        given = {"keys": jwks(server.token), "issuer": ISSUER, "audience": AUDIENCE, **changes}
        return Gateway(server.url, **given)

    return make
