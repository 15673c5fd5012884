"""The picture of a graph in a real browser: under its own policy and a strict one, by keyboard, by
ear, in the dark.
"""

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from tests.support.graphs import agent_run, plain_answer

from verismo.attest.provsvg import MEDIA, POLICY, write_svg
from verismo.attest.provview import view_graph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.external("chromium"),
    pytest.mark.asyncio(loop_scope="session"),
]
PICTURES = {
    "answer": plain_answer(1),
    "run": agent_run(depth=1),
    "large": agent_run(calls=26, searches=4, tools=8),
}
URL = "http://gateway.test/v1/prov/x"
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.effectiveDirective);
});
"""
PAGE = "<!doctype html><html lang=en><title>x</title><main><h1>Graph</h1>{svg}</main></html>"


@pytest.fixture(params=PICTURES.values(), ids=PICTURES)
def recorded(request):
    return request.param


@pytest_asyncio.fixture(loop_scope="session")
async def shown(chromium):
    """Shows a picture by itself, or within a page whose policy allows nothing."""
    contexts = []

    async def show(recorded, *, scheme="light", within_page=False, fragment=""):
        svg = write_svg(view_graph(recorded.graph()), "?format=svg")
        body, media, policy = svg, MEDIA, POLICY
        if within_page:
            body = PAGE.format(svg=svg.decode()).encode()
            media, policy = "text/html; charset=utf-8", "default-src 'none'"
        context = await chromium.new_context(color_scheme=scheme)
        contexts.append(context)
        page = await context.new_page()
        headers = {"content-type": media, "content-security-policy": policy}
        await page.route("**", lambda route: route.fulfill(body=body, headers=headers))
        await page.add_init_script(NOTE_VIOLATIONS)
        await page.goto(URL + fragment)
        return page

    yield show
    for context in contexts:
        await context.close()


async def fill(page, selector):
    return await page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).fill")


@pytest.mark.parametrize(
    ("scheme", "paper", "words"),
    [
        ("light", "rgb(255, 255, 255)", "rgb(31, 35, 40)"),
        ("dark", "rgb(13, 17, 23)", "rgb(240, 246, 252)"),
    ],
)
async def test_under_its_own_policy_it_has_the_colours_of_the_reader(shown, scheme, paper, words):
    page = await shown(PICTURES["run"], scheme=scheme)
    assert (await fill(page, ".paper"), await fill(page, ".words")) == (paper, words)
    assert await page.evaluate("window.violations") == []


async def test_under_a_policy_that_forbids_styles_it_is_whole_in_light_colours(shown):
    page = await shown(PICTURES["run"], scheme="dark", within_page=True)
    assert await fill(page, ".paper") == "rgb(255, 255, 255)"
    assert await fill(page, ".words") == "rgb(31, 35, 40)"
    assert set(await page.evaluate("window.violations")) == {"style-src-elem"}


async def test_an_accessibility_checker_finds_nothing(shown, recorded):
    page = await shown(recorded, within_page=True)
    results = await Axe().run(page)
    assert [
        f"{found['id']}: {node['html'][:120]}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ] == []


async def test_every_hop_is_reached_by_keyboard_in_the_order_of_the_graph(shown):
    recorded = PICTURES["answer"]
    page = await shown(recorded)
    reached = []
    for _ in range(len(recorded.builder)):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id"))
    assert reached == [f"hop-{number + 1}" for number in range(len(recorded.builder))]


async def test_an_address_with_a_hop_points_at_it(shown):
    page = await shown(PICTURES["run"], fragment="#hop-12")
    widths = "[...document.querySelectorAll('.shape')].map(s => getComputedStyle(s).strokeWidth)"
    assert (await page.evaluate(widths)).count("3px") == 1
    pointed = "getComputedStyle(document.querySelector('#hop-12 .shape')).strokeWidth"
    assert await page.evaluate(pointed) == "3px"


async def test_a_frame_leads_to_the_picture_of_its_own_call(shown):
    page = await shown(PICTURES["run"])
    links = await page.evaluate(
        """[...document.querySelectorAll('a[id^=call-]')]
            .map((link) => new URL(link.href.baseVal, location).href)"""
    )
    assert len(links) == len(view_graph(PICTURES["run"].graph()).calls) - 1
    for link in links:
        assert link.startswith("http://gateway.test/v1/prov/01a")
        assert link.endswith("?format=svg")


async def test_words_stay_within_their_boxes(shown, recorded):
    page = await shown(recorded)
    too_wide = await page.evaluate(
        """[...document.querySelectorAll('a')].filter((link) => {
            const box = link.querySelector('.shape').getBBox();
            return [...link.querySelectorAll('text')].some((text) => {
              const words = text.getBBox();
              return words.x < box.x || words.x + words.width > box.x + box.width
                || words.y < box.y || words.y + words.height > box.y + box.height;
            });
        }).map((link) => link.id)"""
    )
    assert too_wide == []
