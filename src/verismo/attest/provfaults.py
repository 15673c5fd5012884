"""Where a graph that verifiers refuse does not hang together, told for people.

`read_graph` says that a graph is refused and ends there. A node's id is the hash of the node, so
one that was altered, left out or moved shows elsewhere too: what used it names an id that is not
before it, and it is used by nothing itself. This finds both ends.
"""

from typing import Final

import msgspec

from verismo.attest.provenance import Node, node_id

FAULTS_MAX: Final = 8
"""More would tell no more: after so many the graph is another one."""
_ID_CHARS: Final = 16


class Claim(msgspec.Struct, frozen=True):
    """What has the shape of a graph, whatever its nodes are.

    Args:
        prov_id: the answer that it says it belongs to; any text.
        nodes: as they are spelt.
    """

    prov_id: str
    nodes: tuple[msgspec.Raw, ...]


_decode_claim = msgspec.json.Decoder(Claim).decode
_decode_node = msgspec.json.Decoder(Node).decode


def read_claim(document: bytes) -> Claim | None:
    """Return a document as a graph that is yet to be checked; None if it is no graph at all.

    Args:
        document: any octets.
    """
    try:
        return _decode_claim(document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def find_faults(claim: Claim) -> tuple[str, ...]:
    """Return where the nodes of a graph do not hang together, a sentence for each place.

    Args:
        claim: as `read_claim` returns it.

    Returns:
        At most 8, in the order of the graph; none if the nodes fit each other, so that a graph that
        was refused is spelt otherwise or has another shape. Nodes count from 1.
    """
    faults: list[str] = []
    nodes: list[Node | None] = []
    for number, spelt in enumerate(claim.nodes, start=1):
        try:
            nodes.append(_decode_node(spelt))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            nodes.append(None)
            faults.append(f"node {number} is no node: {error}")
    if faults:
        return tuple(faults[:FAULTS_MAX])
    return _loose_ends([node for node in nodes if node is not None])


def _loose_ends(nodes: list[Node]) -> tuple[str, ...]:
    ids = [node_id(node) for node in nodes]
    places: dict[str, int] = {}
    for number, one in enumerate(ids, start=1):
        places.setdefault(one, number)
    used = {one for node in nodes for one in node.inputs}
    faults: list[str] = []
    for number, (node, own) in enumerate(zip(nodes, ids, strict=True), start=1):
        if places[own] != number:
            faults.append(f"node {number} is node {places[own]} once more")
        for one in node.inputs:
            place = places.get(one)
            if place is None:
                faults.append(f"node {number} uses {one[:_ID_CHARS]}..., and no node has that id")
            elif place >= number:
                faults.append(f"node {number} uses node {place}, which does not stand before it")
        if own not in used and number < len(nodes):
            faults.append(f"node {number} ({node.kind}) is used by no node")
    return tuple(faults[:FAULTS_MAX])
