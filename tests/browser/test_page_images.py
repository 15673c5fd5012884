"""The pictures of docs/verify-page.md are taken here, so that they show the page as it is.

With PAGE_IMAGES=docs/images they are written there (`make verify-page-images`); without it they are
taken all the same, and thrown away.
"""

import json
import os
import struct
from pathlib import Path

import pytest
from tests.support.agentrun import agent_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.external("chromium"),
    pytest.mark.asyncio(loop_scope="session"),
]

PNG = b"\x89PNG\r\n\x1a\n"
WIDTH = 1_120
KEYS = json.dumps({"keys": agent_run().keys})
RUN = json.dumps(agent_run().document())


@pytest.mark.parametrize(
    ("scheme", "name"), [("light", "verify-page.png"), ("dark", "verify-page-dark.png")]
)
async def test_the_picture_for_the_document_is_taken(opened, tmp_path, scheme, name):
    folder = Path(os.environ.get("PAGE_IMAGES", tmp_path))
    view = await opened(width=WIDTH, options={"color_scheme": scheme})
    await view.give(**{"run-of-an-agent__json": RUN, "keys__json": KEYS})
    assert await view.verdict() == "VERIFIED"
    await view.page.locator(".card.chosen").wait_for()
    await view.page.evaluate("document.fonts.ready.then(() => window.scrollTo(0, 0))")
    await view.page.screenshot(path=folder / name, full_page=True, animations="disabled")
    picture = (folder / name).read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(PNG)
    assert (width, height > 1_500) == (WIDTH, True)
