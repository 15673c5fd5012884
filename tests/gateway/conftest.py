"""One gateway for all tests of a module that leave it as it is; see `tests/support/gateway.py`."""

import hashlib
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.gateway import Gateway, Setup, running_gateway


@pytest.fixture(scope="module")
def setup() -> Setup:
    """A module replaces this where its gateway departs from the samples."""
    return Setup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, setup: Setup) -> AsyncIterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    async with running_gateway(folder, setup) as running:
        yield running


class Document:
    """A registered GraphQL document of the samples."""

    def __init__(self, name: str) -> None:
        path = files("verismo") / "templates" / "operations" / "documents" / name
        self.text = path.read_text(encoding="utf-8")
        self.sha256 = hashlib.sha256(self.text.encode()).hexdigest()
        self.id = f"sha256:{self.sha256}"


@pytest.fixture(scope="session")
def user_document() -> Document:
    return Document("user.graphql")


@pytest.fixture(scope="session")
def ticket_document() -> Document:
    return Document("create-ticket.graphql")
