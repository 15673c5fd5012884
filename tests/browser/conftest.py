"""Chromium for the tests of this folder: one process, a fresh context for each test.

The vectors' builders are used here too: `forge` makes valid and forged answers.
"""

import sys
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from scripts.browserprograms import chromium_path
from tests.support.verifypage import LAUNCH_FLAGS, Opener

sys.path.insert(0, str(Path(__file__).parents[2] / "vectors"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium():
    """A running Chromium; whoever asks for it is skipped where there is none."""
    program = chromium_path()
    if program is None:
        pytest.skip("not installed: chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=LAUNCH_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def opened(chromium):
    """Opens the verifier's page; at the end nothing may have been refused or gone wrong in it."""
    opener = Opener(chromium)
    yield opener.open
    await opener.close()
