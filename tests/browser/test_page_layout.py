"""The layout of graphs in the page: nothing overlaps, inputs stand above, frames hold their own."""

import json
import random
from dataclasses import dataclass

import pytest
from tests.support.shapes import SHAPES
from tests.support.verifyjs import ROOT, needs_node, run_node

from verismo.attest.provview import view_graph

pytestmark = [needs_node, pytest.mark.slow]

LAYOUT = (ROOT / "verify-js" / "page" / "layout.js").as_uri()
SCRIPT = f"""
import {{ readFileSync }} from "node:fs";
import {{ layOut }} from "{LAYOUT}";
const graphs = JSON.parse(readFileSync(0, "utf8"));
const laid = graphs.map(({{ leaves, frames, columns }}) => {{
  const {{ width, height, cards, frames: places, edges }} = layOut(leaves, frames, columns);
  return {{ width, height, cards: [...cards], frames: [...places], edges }};
}});
console.log(JSON.stringify(laid));
"""
GRAPHS = 60
ROUNDING = 0.01


@dataclass(frozen=True)
class Box:
    """Where a card or frame stands."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether two share any place."""
        return (
            self.x + self.width > other.x + ROUNDING
            and other.x + other.width > self.x + ROUNDING
            and self.y + self.height > other.y + ROUNDING
            and other.y + other.height > self.y + ROUNDING
        )

    def holds(self, other: "Box") -> bool:
        """Whether another stands within."""
        return (
            self.x <= other.x + ROUNDING
            and self.y <= other.y + ROUNDING
            and self.x + self.width + ROUNDING >= other.x + other.width
            and self.y + self.height + ROUNDING >= other.y + other.height
        )


def graph(seed: int) -> dict:
    """Return a graph as the page has it: calls, some within others, between steps of all sorts."""
    chance = random.Random(seed)
    frames: list[dict] = []
    leaves: list[dict] = []

    def add(inputs: list[str], frame: str | None) -> str:
        leaves.append({"id": f"n{len(leaves)}", "inputs": sorted(set(inputs)), "frame": frame})
        return leaves[-1]["id"]

    def call(frame: str | None, depth: int) -> str:
        known = [add([], frame)]
        for _ in range(chance.randrange(12)):
            if depth < 3 and chance.random() < 0.2:
                inner = f"f{len(frames)}"
                frames.append({"id": inner, "frame": frame, "folded": chance.random() < 0.4})
                known.append(call(inner, depth + 1))
            else:
                used = chance.choices(known, k=chance.randrange(4))
                known.append(add(used, frame))
        used = {one for leaf in leaves for one in leaf["inputs"]}
        return add([one for one in known if one not in used] or known[-1:], frame)

    call(None, 0)
    return {"leaves": leaves, "frames": frames, "columns": chance.randrange(1, 6)}


@pytest.fixture(scope="module")
def laid():
    """Graphs with their layouts."""
    graphs = [graph(seed) for seed in range(GRAPHS)]
    return list(zip(graphs, lay_out(graphs), strict=True))


def lay_out(graphs: list[dict]) -> list[dict]:
    """Return what the page's layout makes of graphs."""
    done = run_node("--input-type=module", "-e", SCRIPT, given=json.dumps(graphs).encode())
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def boxes(places: list) -> dict[str, Box]:
    return {name: Box(**place) for name, place in places}


def around(graph: dict) -> dict[str, list[str]]:
    """Return the frames around everything, innermost first."""
    frames = {one["id"]: one["frame"] for one in graph["frames"]}
    found = {}
    for one in [*graph["leaves"], *graph["frames"]]:
        chain, at = [], one["frame"]
        while at is not None:
            chain.append(at)
            at = frames[at]
        found[one["id"]] = chain
    return found


def test_the_graphs_are_worth_testing_with(laid):
    frames = [frame for graph, _ in laid for frame in graph["frames"]]
    assert {frame["folded"] for frame in frames} == {True, False}
    assert any(frame["frame"] is not None for frame in frames)
    assert max(len(graph["leaves"]) for graph, _ in laid) > 30


def test_no_two_cards_overlap(laid):
    for graph, found in laid:
        cards = list(boxes(found["cards"]).values())
        folded = {one["id"] for one in graph["frames"] if one["folded"]}
        cards += [box for name, box in boxes(found["frames"]).items() if name in folded]
        for number, one in enumerate(cards):
            assert not any(one.overlaps(other) for other in cards[number + 1 :])


def test_a_card_is_drawn_unless_a_folded_call_hides_it(laid):
    for graph, found in laid:
        folded = {one["id"] for one in graph["frames"] if one["folded"]}
        chains = around(graph)
        for kind, drawn in (("leaves", found["cards"]), ("frames", found["frames"])):
            wanted = [one["id"] for one in graph[kind] if not folded & set(chains[one["id"]])]
            assert sorted(wanted) == sorted(name for name, _ in drawn)


def test_what_was_used_stands_above(laid):
    for graph, found in laid:
        cards = boxes(found["cards"])
        for leaf in graph["leaves"]:
            for name in leaf["inputs"]:
                if name in cards and leaf["id"] in cards:
                    assert cards[name].y + cards[name].height < cards[leaf["id"]].y


def test_a_frame_holds_its_own_and_nothing_else(laid):
    for graph, found in laid:
        frames, chains = boxes(found["frames"]), around(graph)
        placed = {**boxes(found["cards"]), **frames}
        for name, frame in frames.items():
            for other, box in placed.items():
                if name in chains[other]:
                    assert frame.holds(box)
                elif other != name and other not in chains[name]:
                    assert not frame.overlaps(box)


def test_everything_stands_within_the_drawing(laid):
    for _, found in laid:
        whole = Box(0, 0, found["width"], found["height"])
        assert all(whole.holds(box) for box in boxes(found["cards"]).values())
        points = [point for edge in found["edges"] for point in edge["points"]]
        assert all(whole.holds(Box(x, y, 0, 0)) for x, y in points)


def test_an_edge_goes_down_and_runs_through_no_card(laid):
    for _, found in laid:
        placed = {**boxes(found["cards"]), **boxes(found["frames"])}
        for edge in found["edges"]:
            heights = [y for _, y in edge["points"]]
            assert heights == sorted(heights)
            ends = (placed[edge["from"]], placed[edge["to"]])
            straight = list(zip(edge["points"][::2], edge["points"][1::2], strict=True))
            for (x, top), (_, bottom) in straight:
                line = Box(x, top, 0, bottom - top)
                crossed = [box for _, box in boxes(found["cards"]).items() if box.overlaps(line)]
                assert all(box in ends for box in crossed)


@pytest.mark.parametrize("shape", ["flat", "shallow", "deep", "chains", "sources"])
def test_a_run_with_many_siblings_is_as_wide_as_its_columns(shape):
    columns, place = 6, 184 + 22
    graphs = []
    for hops in (10, 60, 200):
        leaves = [
            {"id": str(hop), "inputs": [str(one) for one in used], "frame": None}
            for hop, used in enumerate(view_graph(SHAPES[shape](hops).graph()).inputs)
        ]
        graphs.append({"leaves": leaves, "frames": [], "columns": columns})
    for found in lay_out(graphs):
        assert found["width"] < 1.25 * columns * place
