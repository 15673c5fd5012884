"""The verifier's page in the package is the one that its sources make, and it is closed."""

import base64
import hashlib
import re
import subprocess
import sys

import pytest
from scripts.verify_page import FOLDER, PAGE, PageRefused, joined, page
from tests.tidy.source import ROOT

TEXT = PAGE.read_text(encoding="utf-8")
SCRIPTS = re.findall(r"(?s)<script[^>]*>(.*?)</script>", TEXT)
STYLES = re.findall(r"(?s)<style[^>]*>(.*?)</style>", TEXT)
MODULES = sorted((FOLDER / "page").glob("*.js"))
LINES_MAX = 400


@pytest.mark.slow
def test_making_the_page_again_changes_nothing():
    script = ROOT / "scripts" / "verify_page.py"
    ran = subprocess.run([sys.executable, script, "--check"], check=False)
    assert ran.returncode == 0, "run: make verify-page"


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_names_the_one_script_and_the_one_style():
    policy = TEXT.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    directives = dict(one.split(" ", 1) for one in policy.split("; "))
    assert [digest(text) for text in SCRIPTS] == [directives["script-src"]]
    assert [digest(text) for text in STYLES] == [directives["style-src"]]
    assert directives["default-src"] == "'none'"


def test_the_page_loads_nothing_and_runs_nothing_in_attributes():
    outside = TEXT.replace(SCRIPTS[0], "").replace(STYLES[0], "")
    assert re.findall(r"\son\w+=|\sstyle=|\ssrc=", outside) == []
    assert re.findall(r'href="(?!#|data:)[^"]*"', outside) == []
    assert "@import" not in STYLES[0]
    assert "url(" not in STYLES[0]


@pytest.mark.parametrize(
    "call",
    [
        *(
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ),
        *("localStorage", "sessionStorage", "indexedDB", "document.cookie", "sendBeacon"),
    ],
)
def test_the_page_never_parses_markup_and_keeps_nothing(call):
    assert call not in SCRIPTS[0]


def test_the_page_asks_the_network_in_one_place():
    network = re.compile(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\(")
    own = [path.name for path in MODULES if network.search(path.read_text(encoding="utf-8"))]
    assert own == ["gateway.js"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_of_the_page_stays_within_its_length_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    assert text.startswith("/**")


@pytest.mark.parametrize(
    "source",
    [
        'import { a as b } from "./other.js";\n',
        'import other from "./other.js";\n',
        "export { a };\nconst a = 1;\n",
        "export default 1;\n",
        'const other = await import("./other.js");\n',
        'import { a } from "./entry.js";\n',
    ],
)
def test_what_the_joiner_does_not_know_is_refused(tmp_path, monkeypatch, source):
    monkeypatch.setattr("scripts.verify_page.FOLDER", tmp_path)
    (tmp_path / "other.js").write_text("export const a = 1;\n")
    (tmp_path / "entry.js").write_text(source)
    with pytest.raises(PageRefused):
        joined(tmp_path / "entry.js")


def test_the_page_is_small_enough_to_be_mailed():
    assert len(page().encode()) < 400_000
