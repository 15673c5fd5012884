"""The test vectors through Python, Node and Chromium: one answer, check for check."""

import functools
import json
import subprocess
import sys

import generate
import msgspec
import pytest
from tests.support.conformance import by_verdict, conforms, counted, joined
from tests.support.verifyjs import (
    COMMAND,
    VECTORS,
    disagreements,
    in_chromium,
    in_node,
    needs_node,
    run_node,
    vector_deed,
    vector_documents,
)

from verismo.cli.vectors import Vector, differs, run_vector

SECTION = "Our vectors"


@functools.cache
def groups() -> dict[str, str]:
    """Return the module that forges each vector, without what all of their names begin with."""
    return {
        vector.name: source.__name__.removeprefix("forge_")
        for source in generate.SOURCES
        for vector in source.vectors()
    }


def group_of(name: str) -> str:
    return groups()[name]


@pytest.mark.slow
def test_python_says_of_each_vector_what_it_demands():
    read = {
        name: msgspec.json.decode(document, type=Vector)
        for name, document in vector_documents().items()
    }
    right = [name for name, vector in read.items() if not differs(vector, run_vector(vector))]
    assert right == list(read)
    demanded = by_verdict({name: vector.verdict for name, vector in read.items()}, group_of)
    found = joined(counted(read, group_of, "vectors"), demanded, counted(right, group_of, "Python"))
    conforms(SECTION, found)


@needs_node
@pytest.mark.slow
def test_node_says_of_each_vector_what_it_demands_and_what_python_says():
    documents = vector_documents()
    assert len(documents) > 600
    found = in_node([vector_deed(document) for document in documents.values()])
    for (name, document), said in zip(documents.items(), found, strict=True):
        demanded = json.loads(document)
        fails = [at for at, outcome in enumerate(said["outcomes"], 1) if outcome == "fail"]
        expected = (demanded["verdict"], demanded["events"], demanded["fails"])
        assert (said["verdict"], said["events"], fails) == expected, name
    differing = disagreements(documents, lambda _: found)
    assert differing == {}
    conforms(SECTION, counted(documents.keys() - differing, group_of, "Node"))


@pytest.mark.external("chromium")
@pytest.mark.slow
def test_chromium_says_of_each_vector_what_python_says():
    documents = vector_documents()
    differing = disagreements(documents, in_chromium)
    assert differing == {}
    conforms(SECTION, counted(documents.keys() - differing, group_of, "Chromium"))


@needs_node
@pytest.mark.slow
def test_the_command_prints_the_same_octets_as_verismo_verify():
    words = ("--vectors", str(VECTORS), "--json")
    theirs = run_node(str(COMMAND), *words)
    mine = subprocess.run(
        [sys.executable, "-m", "verismo", "verify", *words], capture_output=True, check=False
    )
    assert (theirs.returncode, theirs.stdout) == (mine.returncode, mine.stdout) == (0, mine.stdout)


@needs_node
@pytest.mark.slow
def test_a_vector_that_demands_something_else_makes_the_command_exit_with_1(tmp_path):
    vector = json.loads(vector_documents()["whole"])
    for name, events in (("right", None), ("wrong", 3)):
        document = {**vector, "name": name, "events": events}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    done = run_node(str(COMMAND), "--vectors", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "ok      VERIFIED         right",
        "DIFFERS VERIFIED         wrong",
        "1 of 2 vectors as expected",
    ]
