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
WIDTH = 1_300
KEYS = json.dumps({"keys": agent_run().keys})
RUN = json.dumps(agent_run().document())


async def shown_run(opened, scheme: str):
    """Return the page with the verified answer of an agent's run."""
    view = await opened(width=WIDTH, options={"color_scheme": scheme})
    await view.give(**{"run-of-an-agent__json": RUN, "keys__json": KEYS})
    assert await view.verdict() == "VERIFIED"
    await view.page.locator(".card.chosen").wait_for()
    await view.page.evaluate("document.fonts.ready.then(() => window.scrollTo(0, 0))")
    return view


def check_picture(path: Path, height_min: int) -> None:
    """Check that a picture was taken, and is of the size of what it shows."""
    picture = path.read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(PNG)
    assert width > WIDTH / 2
    assert height > height_min


async def test_the_verdict_is_pictured_in_the_light(opened, tmp_path):
    path = Path(os.environ.get("PAGE_IMAGES", tmp_path)) / "verify-page.png"
    view = await shown_run(opened, "light")
    words = await view.page.locator("#words").bounding_box()
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": words["y"] + words["height"] + 24}
    await view.page.screenshot(path=path, full_page=True, clip=clip)
    check_picture(path, 800)


async def test_the_graph_is_pictured_in_the_dark(opened, tmp_path):
    path = Path(os.environ.get("PAGE_IMAGES", tmp_path)) / "verify-page-dark.png"
    view = await shown_run(opened, "dark")
    await view.page.locator(".toggle").first.press("Enter")
    await view.page.locator("[data-step]").filter(has_text="Retrieval").click()
    await view.page.locator(".detail .title").filter(has_text="BM25").wait_for()
    await view.page.mouse.move(0, 0)
    await view.page.evaluate("window.scrollTo(0, 0)")
    graph = await view.page.locator("#graph").bounding_box()
    clip = {"x": 0, "y": graph["y"] - 24, "width": WIDTH, "height": graph["height"] + 48}
    await view.page.screenshot(path=path, full_page=True, clip=clip)
    check_picture(path, 800)
