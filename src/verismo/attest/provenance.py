"""The provenance graph: what produced an answer, as content-addressed nodes under one root.

A node's id is the hash of the node, and a node names its inputs by id, so the root's id fixes the
whole graph and one signature covers it. A cycle would need a hash collision. Nodes hold facts and
commitments, never content.

The graph of an agent's answer holds the graphs of its calls, node for node: what was signed as the
root of a call's graph is a node here.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from verismo.model import canonical
from verismo.model.hop import Attribute, HopKind
from verismo.model.ids import is_prov_id

VERSION = 1
NODES_MAX = 1_000
"""notes-attest 5.4; a verifier refuses larger graphs."""
GRAPH_BYTES_MAX = 1_048_576
PARENTS_MAX = 64
ATTRIBUTES_MAX = 32
ATTRIBUTE_CHARS_MAX = 512

_NODE_DOMAIN = b"attest/v1/node\0"
_encode = msgspec.json.Encoder(order="sorted").encode


class GraphRefused(ValueError):
    """The graph is not well formed, too large, or not the one that was signed; and why."""


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hop.

    Args:
        v: format version, 1.
        kind: what kind of hop.
        inputs: ids of the nodes it used, hex, spelled `in`.
        attrs: facts about it; keys ASCII.
        t0, t1: when it began and ended, Unix ms; not negative.
        commit: salted commitment to the bytes it produced or took, hex.
    """

    v: int
    kind: HopKind
    inputs: tuple[str, ...] = msgspec.field(name="in")
    attrs: dict[str, Attribute]
    t0: int
    t1: int
    commit: str | UnsetType = UNSET


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole graph as it is stored and served.

    Args:
        v: format version, 1.
        prov_id: the answer it belongs to.
        nodes: inputs before the nodes that use them; the last one is the root.
    """

    v: int
    prov_id: str
    nodes: tuple[Node, ...]


class _Verbatim(msgspec.Struct, frozen=True):
    """The nodes of a graph as they are spelt."""

    nodes: tuple[msgspec.Raw, ...]


def node_id(node: Node) -> str:
    """Return a node's id: hex SHA-256 over its domain prefix and canonical JSON."""
    return _hash(_encode(node))


def split_graph(document: bytes) -> tuple[bytes, ...]:
    """Return the canonical JSON of each node of a graph that the gateway itself has made.

    Raises:
        GraphRefused: it cannot be read, or has no node.
    """
    try:
        nodes = _decode_verbatim(document).nodes
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GraphRefused(f"the graph cannot be read: {error}") from error
    if not nodes:
        raise GraphRefused("a graph without nodes")
    return tuple(bytes(node) for node in nodes)


def root_of(nodes: Sequence[bytes]) -> str:
    """Return the id of the last of some nodes in their canonical JSON."""
    return _hash(nodes[-1])


_decode_node = msgspec.json.Decoder(Node).decode
_decode_verbatim = msgspec.json.Decoder(_Verbatim).decode


class GraphBuilder:
    """Collects the nodes of one answer in the order in which they happen.

    Args:
        prov_id: the answer.
    """

    def __init__(self, prov_id: str) -> None:
        self._prov_id = prov_id
        self._nodes: dict[str, bytes] = {}
        self.root = ""

    def add(
        self,
        kind: HopKind,
        inputs: Sequence[str],
        attrs: dict[str, Attribute],
        span_ms: tuple[int, int],
        commit: str | UnsetType = UNSET,
    ) -> str:
        """Add a hop and return its id; the last one added is the root.

        A hop that equals an earlier one in everything is that hop: it has the same id.

        Args:
            kind: what kind of hop.
            inputs: ids of earlier hops.
            attrs: facts; texts are cut at 512 characters.
            span_ms: when it began and ended, Unix ms.
            commit: commitment to its bytes, hex.

        Raises:
            GraphRefused: the graph would pass its limits.
        """
        if len(self._nodes) >= NODES_MAX:
            raise GraphRefused(f"more than {NODES_MAX} nodes")
        parents = tuple(inputs) if len(inputs) < 2 else tuple(dict.fromkeys(inputs))
        if len(parents) > PARENTS_MAX or len(attrs) > ATTRIBUTES_MAX:
            raise GraphRefused(f"over {PARENTS_MAX} inputs or {ATTRIBUTES_MAX} attributes")
        node = Node(VERSION, kind, parents, attrs, *span_ms, commit)
        encoded = _encode(node)
        if len(encoded) > ATTRIBUTE_CHARS_MAX:  # else no attribute can be longer than that
            cut = {name: _cut(value) for name, value in attrs.items()}
            encoded = _encode(msgspec.structs.replace(node, attrs=cut))
        self.root = _hash(encoded)
        self._nodes[self.root] = encoded
        return self.root

    def embed(self, nodes: Sequence[bytes]) -> str:
        """Add the nodes of another answer's graph as they are and return the id of its root.

        Args:
            nodes: as `split_graph` returns them.

        Raises:
            GraphRefused: the graph would pass its limits.
        """
        if len(self._nodes) + len(nodes) > NODES_MAX:
            raise GraphRefused(f"more than {NODES_MAX} nodes")
        for encoded in nodes:
            self.root = _hash(encoded)
            self._nodes[self.root] = encoded
        return self.root

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the nodes so far."""
        return frozenset(self._nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes so far, in the order in which they were added."""
        return tuple(_decode_node(encoded) for encoded in self._nodes.values())

    def nodes_but(self, skipped: frozenset[str]) -> tuple[Node, ...]:
        """Return the nodes without those of some ids."""
        return tuple(
            _decode_node(encoded) for name, encoded in self._nodes.items() if name not in skipped
        )

    def fork(self) -> "GraphBuilder":
        """Return a copy that can be closed in another way than this one."""
        copy = GraphBuilder(self._prov_id)
        copy._nodes, copy.root = self._nodes.copy(), self.root
        return copy

    def encode(self) -> bytes:
        """Return the graph as canonical JSON."""
        tail = f'],"prov_id":"{self._prov_id}","v":{VERSION}}}'.encode("ascii")
        return b'{"nodes":[' + b",".join(self._nodes.values()) + tail


def read_graph(document: bytes) -> tuple[Graph, str]:
    """Parse a graph strictly and recompute every id.

    Args:
        document: canonical JSON, at most 1 MiB.

    Returns:
        The graph and the id of its root.

    Raises:
        GraphRefused: not canonical, over a limit, a node twice, an input that is not an earlier
            node (so no cycle and no orphan parent), a node the root does not reach, or another
            shape: the answer's request first, its response last, and as many requests as responses
            of calls between them, each call's request naming an answer of its own.
    """
    if len(document) > GRAPH_BYTES_MAX:
        raise GraphRefused(f"longer than {GRAPH_BYTES_MAX} bytes")
    try:
        graph = canonical.decode(document, Graph)
    except canonical.NotCanonical as error:
        raise GraphRefused(str(error)) from error
    if {graph.v, *[node.v for node in graph.nodes]} != {VERSION}:
        raise GraphRefused("a version that is not known here; update the verifier")
    if not is_prov_id(graph.prov_id):
        raise GraphRefused("prov_id is not a canonical UUIDv7")
    if not 0 < len(graph.nodes) <= NODES_MAX:
        raise GraphRefused(f"a graph has 1 to {NODES_MAX} nodes")
    kinds = [node.kind for node in graph.nodes]
    if (kinds[0], kinds[-1]) != ("request", "response"):
        raise GraphRefused("a graph begins with the request and ends with the response")
    if kinds.count("request") != kinds.count("response"):
        raise GraphRefused("a graph has as many requests as responses")
    _check_requests(graph)
    return graph, _check_links(graph.nodes)


def _check_requests(graph: Graph) -> None:
    """The first request is the answer's own; each other one is that of a call with its own name."""
    first, *calls = [node for node in graph.nodes if node.kind == "request"]
    if first.attrs.get("prov_id", graph.prov_id) != graph.prov_id:
        raise GraphRefused("the request is that of another answer")
    names = {graph.prov_id}
    for request in calls:
        name = request.attrs.get("prov_id")
        if not isinstance(name, str) or not is_prov_id(name) or name in names:
            raise GraphRefused("the request of a call does not name an answer of its own")
        if request.inputs:
            raise GraphRefused("the request of a call has inputs")
        names.add(name)


def _check_links(nodes: tuple[Node, ...]) -> str:
    """Recompute ids in order; every input must stand earlier; the root must reach every node."""
    used: set[str] = set()
    seen: set[str] = set()
    root = ""
    for node in nodes:
        _check_size(node)
        root = node_id(node)
        if root in seen:
            raise GraphRefused("a node stands twice")
        if not seen.issuperset(node.inputs):
            raise GraphRefused("a node names an input that is not an earlier node")
        used.update(node.inputs)
        seen.add(root)
    unreached = seen - used - {root}
    if unreached:
        raise GraphRefused(f"{len(unreached)} nodes are not reached from the root")
    return root


def _hash(encoded: bytes) -> str:
    return hashlib.sha256(_NODE_DOMAIN + encoded).hexdigest()


def _cut(value: Attribute) -> Attribute:
    return value[:ATTRIBUTE_CHARS_MAX] if isinstance(value, str) else value


def _check_size(node: Node) -> None:
    if node.t0 < 0 or node.t1 < 0:
        raise GraphRefused("a node's time is negative")
    if node.commit is not UNSET and not canonical.is_digest(node.commit):
        raise GraphRefused("a commitment is not a SHA-256 in lower-case hex")
    if len(node.inputs) > PARENTS_MAX or len(set(node.inputs)) != len(node.inputs):
        raise GraphRefused(f"a node has at most {PARENTS_MAX} inputs, each once")
    if len(node.attrs) > ATTRIBUTES_MAX:
        raise GraphRefused(f"a node has at most {ATTRIBUTES_MAX} attributes")
    for value in node.attrs.values():
        if isinstance(value, str) and len(value) > ATTRIBUTE_CHARS_MAX:
            raise GraphRefused(f"an attribute is longer than {ATTRIBUTE_CHARS_MAX} characters")
