"""The verifier for browsers, as tests run it: in Node, and in a page of Chromium."""

import base64
import functools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from scripts.browserprograms import chromium_path, node_path

from verismo.attest.exchange import ExchangeRefused, check_exchange
from verismo.attest.note import NoteRefused
from verismo.attest.witnesspolicy import PolicyRefused
from verismo.cli.vectors import Vector, run_vector

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "vectors"
COMMAND = ROOT / "verify-js" / "cli.js"
LINES = ROOT / "tests" / "browser" / "drive_lines.mjs"
NODE_S_MAX = 300.0
PAGE_DEEDS_MAX = 100
"""As many are handed to the page at once."""

Deed = dict[str, object]


needs_node = pytest.mark.skipif(node_path() is None, reason="not installed: node")


def run_node(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run Node to its end."""
    node = node_path()
    assert node is not None, "mark the test with needs_node"
    return subprocess.run(
        [node, *words], input=given, capture_output=True, timeout=NODE_S_MAX, check=False
    )


def in_node(deeds: Sequence[Deed]) -> list[dict[str, object]]:
    """Have one Node process do what `drive.mjs` knows, and return what came of each."""
    lines = b"".join(json.dumps(deed).encode() + b"\n" for deed in deeds)
    done = run_node(str(LINES), given=lines)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served_tree() -> Iterator[str]:
    """Serve this repository on a local address, which makes a page a secure context."""
    handler = partial(_Handler, directory=str(ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def chromium_page(host: str = "127.0.0.1") -> Iterator["Page"]:
    """Open an empty page of this repository in Chromium, under the name of a host."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where Chromium is

    flags = ["--no-sandbox", f"--host-resolver-rules=MAP {host} 127.0.0.1"]
    with served_tree() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=flags)
        try:
            page = browser.new_page()
            page.goto(f"{url.replace('127.0.0.1', host)}/tests/browser/blank.html")
            yield page
        finally:
            browser.close()


def in_chromium(deeds: Sequence[Deed]) -> list[dict[str, object]]:
    """Have a page of Chromium do what `drive.mjs` knows, and return what came of each."""
    script = """async (deeds) => {
        const { drive } = await import("/tests/browser/drive.mjs");
        const found = [];
        for (const deed of deeds) found.push(await drive(deed));
        return found;
    }"""
    found: list[dict[str, object]] = []
    with chromium_page() as page:
        for at in range(0, len(deeds), PAGE_DEEDS_MAX):
            found += page.evaluate(script, list(deeds[at : at + PAGE_DEEDS_MAX]))
    return found


def octets(data: bytes) -> str:
    """Return octets as a deed carries them."""
    return base64.b64encode(data).decode("ascii")


def vector_deed(document: bytes) -> Deed:
    """Return what has a vector verified."""
    return {"do": "vector", "document": document.decode()}


@functools.cache
def vector_documents() -> dict[str, bytes]:
    """Return all vectors of this repository by name."""
    paths = sorted(path for path in VECTORS.glob("*.json") if path.name != "index.json")
    return {path.stem: path.read_bytes() for path in paths}


def said(found: Mapping[str, object]) -> tuple[object, ...]:
    """Return what both verifiers have to say alike of a vector."""
    if "refused" in found:
        return ("refused",)
    return found["verdict"], found["events"], found["outcomes"]


def said_by_python(document: bytes) -> tuple[object, ...]:
    """Return what the Python verifier says of a vector."""
    try:
        vector = msgspec.json.decode(document, type=Vector)
        check_exchange(vector.exchange)
        report = run_vector(vector)
    except (msgspec.MsgspecError, ExchangeRefused, NoteRefused, PolicyRefused):
        return ("refused",)
    return report.verdict, report.events, [check.outcome for check in report.checks]


def disagreements(
    documents: Mapping[str, bytes], verify: Callable[[Sequence[Deed]], list[dict[str, object]]]
) -> dict[str, tuple[object, object]]:
    """Return the vectors of which another verifier says something else than Python's.

    Args:
        documents: vectors by name.
        verify: `in_node` or `in_chromium`.
    """
    found = verify([vector_deed(document) for document in documents.values()])
    pairs = zip(documents.items(), found, strict=True)
    both = {name: (said_by_python(document), said(one)) for (name, document), one in pairs}
    return {name: (mine, theirs) for name, (mine, theirs) in both.items() if mine != theirs}
