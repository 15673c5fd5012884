"""The picture: every hop a link with a title, nothing foreign but text, no scripts, no styles in
attributes, told without colour.
"""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graphs import agent_run, graph_of, new_prov_id, plain_answer, scribble

from verismo.attest.provenance import GraphBuilder, HopKind
from verismo.attest.provshapes import FAMILIES, ICONS, outline
from verismo.attest.provsvg import HOP_HEIGHT, HOP_WIDTH, POLICY, STYLE, write_svg
from verismo.attest.provview import view_graph

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {
    "svg",
    "title",
    "desc",
    "style",
    "defs",
    "symbol",
    "path",
    "rect",
    "g",
    "a",
    "text",
    "use",
}
ATTACKS = (
    "</text><script>alert(1)</script>",
    '"><image href="https://example.com/x.png"/>',
    "' onload='alert(1)",
    "javascript:alert(1)",
    "]]><!--",
    "&lt;script&gt;&#0;&amp;",
    "\x00\x1b[2J\ufffe",
    "\u202egnp.exe",
    "url(https://example.com)",
)


def picture(recorded, call_link=""):
    return ElementTree.fromstring(write_svg(view_graph(recorded.graph()), call_link))


def attacked(text):
    """A run with foreign text in every place that an attribute may have."""
    builder = GraphBuilder(new_prov_id(0))
    places = ("method", "path", "name", "uri", "error", "reasons", "decision", "model", "trace")
    attrs = dict.fromkeys(places, text) | {text.encode("ascii", "ignore").decode(): text}
    last = builder.add("request", [], attrs, (0, 0), "ab" * 32)
    for kind in FAMILIES:
        if kind not in ("request", "response"):
            last = builder.add(kind, [last], attrs | {"n": 1}, (0, 5))
    builder.add("response", [last], attrs | {"code": text, "status": 200}, (9, 9))
    return graph_of(builder, new_prov_id(0))


def hops_of(root):
    return [one for one in root.iter(f"{SVG}a") if one.get("id").startswith("hop-")]


@pytest.mark.parametrize("recorded", [plain_answer(1), agent_run(), agent_run(depth=1)])
def test_every_hop_is_a_link_with_a_title_and_a_label(recorded):
    root = picture(recorded)
    links = hops_of(root)
    assert [one.get("id") for one in links] == [
        f"hop-{number + 1}" for number in range(len(recorded.builder))
    ]
    for link, node in zip(links, recorded.graph().nodes, strict=True):
        assert link.get("href") == f"#{link.get('id')}"
        assert node.kind in link.get("aria-label")
        assert link.find(f"{SVG}title").text
        words = [text.text for text in link.iter(f"{SVG}text")]
        assert words[0].startswith(node.kind)


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_text_stays_text(attack):
    svg = write_svg(view_graph(attacked(attack)))
    root = ElementTree.fromstring(svg)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= ALLOWED
    for one in root.iter():
        for name, value in one.attrib.items():
            assert not name.startswith("on")
            assert name not in ("style", "class") or attack not in value
            if name == "href":
                assert re.fullmatch(r"#(hop|call|icon)-[a-z0-9]+", value)


@pytest.mark.parametrize("attack", ["\x00", "\x1b[2J", "\u202e", "\ufffe", "\x85", "\u2028"])
def test_control_and_bidi_characters_do_not_reach_the_picture(attack):
    assert attack not in write_svg(view_graph(attacked(attack))).decode("utf-8")


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_gives_well_formed_xml_of_the_known_elements(text):
    root = ElementTree.fromstring(write_svg(view_graph(attacked(text))))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= ALLOWED


def test_a_source_never_becomes_an_address():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {}, (0, 0))
    source = builder.add("source", [], {"uri": "https://example.com/page"}, (0, 0))
    builder.add("response", [request, source], {"status": 200}, (0, 0))
    svg = write_svg(view_graph(graph_of(builder, new_prov_id(0)))).decode("utf-8")
    assert "https://example.com/page" in svg
    assert not re.search(r"(href|src|url)\W+https?:", svg)


def test_the_picture_names_nothing_outside_itself():
    svg = write_svg(view_graph(agent_run().graph())).decode("utf-8")
    outside = set(re.findall(r"[a-z]+://[^\s\"']+", svg))
    assert outside == {"http://www.w3.org/2000/svg"}
    assert "<script" not in svg
    assert " style=" not in svg
    assert "@import" not in svg


def test_the_policy_names_the_one_style_sheet():
    root = picture(plain_answer())
    sheets = [one.text for one in root.iter(f"{SVG}style")]
    assert sheets == [STYLE]
    assert "'unsafe-inline'" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "prefers-color-scheme:dark" in STYLE


def test_without_its_style_sheet_the_picture_still_has_its_colours():
    root = picture(agent_run())
    for path in root.iter(f"{SVG}path"):
        parents = [one for one in root.iter() if path in list(one)]
        is_icon = parents[0].tag == f"{SVG}symbol"
        assert is_icon or path.get("fill") or path.get("stroke")
    for text in root.iter(f"{SVG}text"):
        parents = [one for one in root.iter() if text in list(one)]
        assert text.get("fill") or parents[0].get("fill")


def test_joined_calls_are_framed_and_link_to_their_own_picture():
    root = picture(agent_run(calls=2, searches=0, tools=0), "?format=svg")
    frames = [one for one in root.iter(f"{SVG}a") if one.get("id").startswith("call-")]
    assert [one.get("href") for one in frames] == [f"{new_prov_id(n)}?format=svg" for n in (1, 2)]
    assert all(one.find(f"{SVG}title").text.startswith("call ") for one in frames)


def test_a_call_without_a_sound_prov_id_links_to_itself():
    builder = GraphBuilder(new_prov_id(0))
    outer = builder.add("request", [], {}, (0, 0))
    asked = builder.add("request", [], {"prov_id": "//example.com/?"}, (0, 0))
    inner = builder.add("response", [asked], {"status": 200}, (0, 0))
    tool = builder.add("tool", [outer, inner], {}, (0, 0))
    builder.add("response", [tool], {"status": 200}, (0, 0))
    svg = write_svg(view_graph(graph_of(builder, new_prov_id(0))), "?format=svg")
    frames = re.findall(rb'id="call-\d+" href="([^"]*)"', svg)
    assert frames == [b"#call-3"]


def test_reported_and_failed_hops_are_told_without_colour():
    root = picture(agent_run(calls=2))
    for link in hops_of(root):
        words = link.find(f".//{SVG}text").text
        outline_path = next(one for one in link.iter(f"{SVG}path"))
        assert ("reported" in words) == ("stroke-dasharray" in outline_path.attrib)
        assert ("failed" in words) == ("stroke-width" in outline_path.attrib)


def test_the_legend_names_every_kind_that_is_there():
    root = picture(agent_run())
    legend = next(one for one in root.iter(f"{SVG}g") if one.get("class") == "legend")
    named = {text.text for text in legend.iter(f"{SVG}text")}
    assert {node.kind for node in agent_run().graph().nodes} <= named
    assert any("Dashed" in text for text in named)
    assert any("Frame" in text for text in named)
    plain = "".join(picture(plain_answer()).itertext())
    assert "Dashed" not in plain
    assert "Frame" not in plain


def test_the_whole_is_named_and_described_for_who_does_not_see_it():
    root = picture(agent_run(calls=2))
    assert root.get("role") == "graphics-document document"
    named = {one.get("id"): one.text for one in root if one.get("id")}
    assert set(root.get("aria-labelledby").split()) == set(named)
    assert new_prov_id(0) in named["prov-title"]
    assert "joined call" in named["prov-about"]


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30))
def test_any_graph_has_a_picture_and_always_the_same(seed, hops):
    recorded = scribble(seed, hops)
    view = view_graph(recorded.graph())
    assert write_svg(view) == write_svg(view)
    assert len(hops_of(picture(recorded))) == len(view.nodes)


def test_every_kind_has_an_outline_an_icon_and_a_colour():
    kinds = set(HopKind.__args__)
    assert set(FAMILIES) == set(ICONS) == kinds
    assert len(set(ICONS.values())) == len(kinds)
    for kind in kinds:
        assert outline(kind, 0, 0, HOP_WIDTH, HOP_HEIGHT).startswith("M")


def test_wide_characters_are_cut_by_what_they_take():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {"path": "字" * 40}, (0, 0))
    builder.add("response", [request], {"status": 200}, (0, 0))
    root = ElementTree.fromstring(write_svg(view_graph(graph_of(builder, new_prov_id(0)))))
    words = [text.text for text in hops_of(root)[0].iter(f"{SVG}text")]
    assert words[2] == "字" * 13 + "…"
