"""Writes the test vectors: `python vectors/generate.py [FOLDER]`.

The same files on every machine: nothing in them comes from a clock or from randomness.
"""

import sys
from pathlib import Path

import forge_answers
import forge_edges
import forge_graphs
import forge_heads
import forge_joined
import forge_ledger
import forge_rings
import forge_statements
import forge_streams
import forge_tokens
import msgspec
from forge import Json, Vector

SOURCES = (
    forge_answers,
    forge_tokens,
    forge_statements,
    forge_graphs,
    forge_joined,
    forge_streams,
    forge_heads,
    forge_edges,
    forge_ledger,
    forge_rings,
)


def vectors() -> list[Vector]:
    """Return all vectors by name.

    Raises:
        ValueError: two of them have one name.
    """
    found = sorted((v for source in SOURCES for v in source.vectors()), key=lambda v: v.name)
    names = [vector.name for vector in found]
    if len(set(names)) != len(names):
        raise ValueError(f"a name stands twice: {sorted(n for n in names if names.count(n) > 1)}")
    return found


def files() -> dict[str, bytes]:
    """Return every file's name and content, the index among them."""
    index: dict[str, Json] = {}
    written: dict[str, bytes] = {}
    for vector in vectors():
        document = vector.document()
        written[f"{vector.name}.json"] = _pretty(document)
        index[vector.name] = {k: document[k] for k in ("shows", "verdict", "events", "fails")}
    written["index.json"] = _pretty(index)
    return written


def _pretty(value: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def main(folder: Path) -> None:
    """Write all files into a folder and remove vectors that are no longer made."""
    made = files()
    for stale in folder.glob("*.json"):
        if stale.name not in made:
            stale.unlink()
    for name, content in made.items():
        (folder / name).write_bytes(content)
    sys.stdout.write(f"{len(made) - 1} vectors\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
