"""How the page is used: by keyboard, by ear, in the dark, on a small screen, in an old browser."""

import asyncio
import json
import re

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import FileChooser
from tests.support.agentrun import agent_run
from tests.support.verifypage import FILE_URL, Vector

from verismo.attest.provenance import node_id, read_graph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.external("chromium"),
    pytest.mark.asyncio(loop_scope="session"),
]

RUN = json.dumps(agent_run().document())
KEYS = json.dumps({"keys": agent_run().keys})


def files(state: str) -> dict[str, str]:
    """Return what is given to bring the page into a state."""
    whole, cut = Vector("whole"), Vector("cut-unsigned-tail")
    return {
        "empty": {},
        "refused": {"strange__txt": "hello"},
        "incomplete": {"keys__json": whole.jwks},
        "verified": {"answer__json": whole.saved(), "keys__json": whole.jwks},
        "not trusted": {"answer__json": whole.saved(jwks=whole.document["jwks"])},
        "not valid": {"answer__json": whole.saved(nonce="other"), "keys__json": whole.jwks},
        "unsigned": {"answer__json": Vector("stream-unsigned").saved()},
        "cut": {"answer__json": cut.saved(), "keys__json": cut.jwks},
        "by curl": {
            "head": whole.head,
            "body": whole.body.decode(),
            "ask": whole.question.decode(),
        },
        "run": {"run__json": RUN, "keys__json": KEYS},
    }[state]


SHOWN = {"empty": "#drop", "refused": ".notice", "incomplete": ".next"}


# What axe brings along the page's own policy would refuse; colors are to change at once.
FOR_AXE = {"bypass_csp": True, "reduced_motion": "reduce"}
RUN_AXE = "axe.run({resultTypes: ['violations']}).then((results) => results.violations)"
BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


async def axe_findings(view) -> list[str]:
    """Return what axe finds in light and in dark, with the element that it finds it at."""
    await view.page.evaluate(AXE_SCRIPT)
    found, backgrounds = [], set()
    for scheme in ("light", "dark"):
        await view.page.emulate_media(color_scheme=scheme)
        backgrounds.add(await view.page.evaluate(BACKGROUND))
        found += [
            f"{scheme}: {one['id']}: {node['html'][:120]} {node.get('failureSummary', '')}"
            for one in await view.page.evaluate(RUN_AXE)
            for node in one["nodes"]
        ]
    assert len(backgrounds) == 2
    return found


@pytest.mark.parametrize(
    "state",
    [
        *("empty", "refused", "incomplete", "verified", "not trusted"),
        *("not valid", "unsigned", "cut", "by curl", "run"),
    ],
)
async def test_axe_finds_nothing(opened, state):
    view = await opened(options=FOR_AXE, watched=False)
    if files(state):
        await view.give(**files(state))
    await view.page.locator(SHOWN.get(state, ".verdict")).wait_for()
    for panel in await view.page.locator("summary").all():
        await panel.click()
    assert await axe_findings(view) == []


async def test_axe_finds_nothing_where_nothing_can_be_verified(opened):
    script = "delete SubtleCrypto.prototype.importKey;"
    view = await opened(script=script, options=FOR_AXE, watched=False)
    await view.page.locator(".notice").wait_for()
    assert await axe_findings(view) == []


async def test_axe_sees_what_cannot_be_read_in_the_dark(opened):
    view = await opened(options=FOR_AXE, watched=False)
    await view.page.add_style_tag(
        content="@media (prefers-color-scheme: dark) { p { color: #222 !important; } }"
    )
    found = await axe_findings(view)
    assert found
    assert {one.split(":")[0] for one in found} == {"dark"}
    assert "color-contrast" in found[0]


async def test_a_keyboard_is_enough(opened, tmp_path):
    vector = Vector("whole")
    (tmp_path / "answer.json").write_text(vector.saved())
    (tmp_path / "keys.json").write_text(vector.jwks)
    view = await opened()
    page = view.page
    choosing: asyncio.Future[FileChooser] = asyncio.get_running_loop().create_future()
    # Before the first key, since the browser is told of it in its own time.
    page.on("filechooser", lambda chooser: choosing.set_result(chooser))
    await page.locator("#give").wait_for()
    await page.keyboard.press("Tab")
    assert await focused(view) == "Go to the result"
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "files"
    await page.keyboard.press("Enter")
    chooser = await asyncio.wait_for(choosing, 10)
    await chooser.set_files([tmp_path / "answer.json", tmp_path / "keys.json"])
    assert await view.verdict() == "VERIFIED"
    seen = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        seen.append(await focused(view))
        if seen[-1].startswith("4. Answer"):
            break
    assert "Paste text" in seen
    assert "Ask the gateway" in seen
    assert "What you expect" in seen
    assert seen[-1].startswith("4. Answer")
    await page.keyboard.press("ArrowUp")
    assert (await focused(view)).startswith("1. Request")
    assert "1. Request" in await view.text("#step-detail")
    await page.keyboard.press("End")
    assert "4. Answer" in await view.text("#step-detail")


async def focused(view) -> str:
    """Return how the focused element is called."""
    found: str = await view.page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    )
    return found.strip()


async def test_every_focusable_thing_shows_its_focus(opened):
    view = await opened()
    await view.give(**files("run"))
    await view.verdict()
    bare = []
    for _ in range(30):
        await view.page.keyboard.press("Tab")
        shows = await view.page.evaluate(
            """() => {
              const at = document.activeElement;
              const seen = [at, at.nextElementSibling, at.firstElementChild?.nextElementSibling,
                ...at.querySelectorAll("rect")].filter(Boolean);
              return at === document.body || seen.some((one) => {
                const style = getComputedStyle(one);
                return style.outlineStyle !== "none" || style.strokeWidth === "3px";
              });
            }"""
        )
        if not shows:
            bare.append(await focused(view))
    assert bare == []


async def test_a_verdict_is_told_to_those_who_listen(opened):
    view = await opened()
    await view.give(**files("verified"))
    await view.verdict()
    status = view.page.locator("#status")
    assert await status.get_attribute("role") == "status"
    assert (await status.inner_text()).startswith("Verified. This answer is the one")


async def test_each_outcome_has_a_shape_and_a_word_of_its_own(opened):
    view = await opened()
    await view.give(**files("not valid"))
    await view.verdict()
    rows = await view.page.locator(".check").evaluate_all(
        """rows => rows.map((row) => [
             row.dataset.outcome, row.querySelector(".icon").dataset.icon,
             row.querySelector(".outcome").textContent])"""
    )
    assert {tuple(row) for row in rows} == {
        ("pass", "pass", "passed"),
        ("fail", "fail", "failed"),
        ("skip", "skip", "not checked"),
    }
    assert await view.page.locator(".verdict > .icon").get_attribute("data-icon") == "fail"


@pytest.mark.parametrize("width", [320, 768, 1_600])
async def test_nothing_sticks_out_at_any_width(opened, width):
    view = await opened(width=width)
    await view.give(**files("run"))
    await view.verdict()
    await view.page.click(".twin summary")
    reach = await view.page.evaluate("document.documentElement.scrollWidth")
    assert reach <= width


async def test_a_run_shows_its_embedded_calls_and_what_was_only_reported(opened):
    view = await opened()
    await view.give(**files("run"))
    assert await view.verdict() == "VERIFIED"
    labels = await view.page.locator(".toggle").evaluate_all(
        "toggles => toggles.map((one) => one.getAttribute('aria-label'))"
    )
    assert labels == [
        "Show the 5 steps of the call docs.embed",
        "Show the 5 steps of the call docs.draft",
    ]
    assert await view.page.locator(".card").count() == 12
    await view.page.click(".all-calls")
    assert await view.page.locator(".card").count() == 22
    assert await view.page.locator(".card.reported").count() == 6
    assert "6 steps reported by the agent" in await view.text(".graph")
    assert "What the agent reported of its own steps" in await view.text("#limits")


async def test_an_embedded_call_unfolds_by_key_and_keeps_its_focus(opened):
    view = await opened()
    await view.give(**files("run"))
    await view.verdict()
    toggle = view.page.locator(".toggle").first
    await toggle.focus()
    await view.page.keyboard.press("Enter")
    assert await view.page.locator(".card").count() == 17
    assert await view.page.locator(".toggle[aria-expanded=false]").count() == 1
    assert (await focused(view)).startswith("Fold the call")
    await view.page.keyboard.press("Enter")
    assert await view.page.locator(".card").count() == 12


async def boxes(view) -> list[dict]:
    """Return where each card stands in the drawing."""
    found: list[dict] = await view.page.locator(".card").evaluate_all(
        """cards => cards.map((card) => {
             const box = card.querySelector(".face").getBoundingClientRect();
             return {id: card.dataset.step, x: box.x, y: box.y, right: box.right,
                     bottom: box.bottom};
           })"""
    )
    return found


def ids(case) -> list[str]:
    """Return the ids of a graph's nodes."""
    graph, _ = read_graph(case.graph.encode())
    return [node_id(node) for node in graph.nodes]


@pytest.mark.parametrize("sources", [3, 40, 170])
async def test_cards_do_not_overlap_and_every_input_stands_above(opened, sources):
    case = agent_run(sources)
    view = await opened()
    await view.give(run__json=json.dumps(case.document()), keys__json=KEYS)
    assert await view.verdict() == "VERIFIED"
    await view.page.click(".all-calls")
    found = await boxes(view)
    nodes = json.loads(case.graph)["nodes"]
    assert len(found) == len(nodes)
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            apart = (
                one["right"] <= other["x"]
                or other["right"] <= one["x"]
                or one["bottom"] <= other["y"]
                or other["bottom"] <= one["y"]
            )
            assert apart, (one, other)
    by_id = {one["id"]: one for one in found}
    for node, own in zip(nodes, ids(case), strict=True):
        for above in node["in"]:
            assert by_id[above]["bottom"] < by_id[own]["y"]
    assert await view.page.locator(".twin tbody tr").count() == len(nodes)


async def test_the_table_says_what_the_drawing_says(opened):
    view = await opened()
    await view.give(**files("run"))
    await view.verdict()
    await view.page.click(".all-calls")
    await view.page.click(".twin summary")
    kinds = await view.page.locator(".twin tbody th").evaluate_all(
        "cells => cells.map((cell) => cell.firstChild.textContent)"
    )
    drawn = await view.page.locator(".card").evaluate_all(
        "cards => cards.map((card) => card.getAttribute('aria-label'))"
    )
    numbered = sorted(drawn, key=lambda label: int(label.partition(".")[0]))
    assert [label.split(". ", 1)[1].split(":")[0].split(",")[0] for label in numbered] == kinds


async def test_a_drawing_follows_the_width(opened):
    view = await opened(width=1_600)
    await view.give(**files("run"))
    await view.verdict()
    wide = await view.page.locator(".layers").get_attribute("width")
    await view.page.set_viewport_size({"width": 360, "height": 800})
    await view.page.wait_for_function(
        "wide => document.querySelector('.layers').getAttribute('width') !== wide", arg=wide
    )


async def test_motion_stops_where_it_is_not_wanted(opened):
    view = await opened(options={"reduced_motion": "reduce"})
    await view.page.locator("#drop").wait_for()
    duration = await view.page.evaluate(
        "getComputedStyle(document.querySelector('#drop')).transitionDuration"
    )
    assert duration in ("0s", "0s, 0s")


async def test_on_paper_there_is_the_result_and_no_control(opened):
    view = await opened(options={"color_scheme": "dark"})
    await view.give(**files("run"))
    await view.verdict()
    await view.page.emulate_media(media="print")
    assert await view.page.locator(".verdict").is_visible()
    assert await view.page.locator("#checks").is_visible()
    paper = await view.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    ink = await view.page.evaluate("getComputedStyle(document.querySelector('.sentence')).color")
    assert ink == "rgb(0, 0, 0)"
    wash = await view.page.evaluate(
        "getComputedStyle(document.querySelector('.verdict')).backgroundColor"
    )
    assert min(int(part) for part in re.findall(r"\d+", wash)) > 200
    for control in ("#drop", ".panels"):
        assert not await view.page.locator(control).is_visible()


NO_CRYPTO = {
    "plain http": "Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined});",
    "no Ed25519": """
        SubtleCrypto.prototype.importKey = () =>
          Promise.reject(new DOMException("unrecognized", "NotSupportedError"));
    """,
}


@pytest.mark.parametrize("script", NO_CRYPTO.values(), ids=NO_CRYPTO)
async def test_where_nothing_can_be_verified_the_page_says_so_and_what_to_do(opened, script):
    view = await opened(script=script)
    notice = view.page.locator("#notice")
    await view.page.locator(".notice").wait_for()
    text = await notice.inner_text()
    assert "Nothing can be verified here" in text
    assert "verismo verify FILE --jwks KEYS" in text
    assert not await view.page.locator("#give").is_visible()


async def test_without_scripts_the_page_says_what_to_do(opened):
    view = await opened(options={"java_script_enabled": False}, watched=False)
    assert "scripts are off" in await view.text("noscript")


async def test_parts_are_taken_away_again(opened):
    view = await opened()
    await view.give(**files("verified"))
    await view.verdict()
    await view.page.locator("#parts button").last.click()
    await view.page.locator("[data-keys=none]").wait_for()
    await view.page.locator("#parts button").first.click()
    await view.page.locator(".verdict").wait_for(state="detached")
    assert await view.page.locator("#parts li").count() == 0


async def test_files_dropped_anywhere_on_the_page_are_read(opened):
    vector = Vector("whole")
    view = await opened()
    await view.page.locator("#give").wait_for()
    await view.page.evaluate(
        """([answer, keys]) => {
          const dropped = new DataTransfer();
          dropped.items.add(new File([answer], "answer.json"));
          dropped.items.add(new File([keys], "keys.json"));
          document.querySelector("footer").dispatchEvent(
            new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
        }""",
        [vector.saved(), vector.jwks],
    )
    assert await view.verdict() == "VERIFIED"


async def test_the_page_from_disk_asks_nobody_for_anything(opened):
    view = await opened()
    await view.give(**files("run"))
    await view.verdict()
    assert [url for url in view.requests if not url.startswith("data:")] == [FILE_URL]
