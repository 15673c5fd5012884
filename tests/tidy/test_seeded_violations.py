"""Each gate is seen to close: every kind of violation is seeded once, in a copy, and caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from tests.tidy import conduct_rules, shape_rules
from tests.tidy.source import ROOT, Source

BIN = Path(sys.executable).parent

LINTED = {
    "BLE001": "try:\n    open('x')\nexcept Exception:\n    print('went on')\n",
    "S110": "try:\n    open('x')\nexcept OSError:\n    pass\nexcept Exception:\n    pass\n",
    "S112": "for x in 'ab':\n    try:\n        open(x)\n    except Exception:\n        continue\n",
    "S101": "def check(given: int) -> None:\n    assert given > 0\n",
    "PLC0415": "def lazy() -> str:\n    import json\n\n    return json.dumps(1)\n",
    "PLW0603": "count = 0\n\n\ndef add() -> None:\n    global count\n    count += 1\n",
    "PLR0913": "def many(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None: ...\n",
    "PLR0915": "def long() -> None:\n" + "".join(f"    x{n} = {n}\n" for n in range(41)),
    "C901": "def tangled(n: int) -> int:\n"
    + "".join(f"    if n == {n}:\n        return {n}\n" for n in range(11))
    + "    return n\n",
    "T201": "print('seen')\n",
    "FIX002": "# TO" + "DO: later\n",
    "ERA001": "# x = compute(1)\n",
    "D100": "x = 1\n",
    "D103": "def public() -> None: ...\n",
    "D417": 'def two(a: int, b: int) -> None:\n    """Do.\n\n    Args:\n        a: one.\n    """\n',
    "ANN401": "from typing import Any\n\n\ndef loose(value: Any) -> None: ...\n",
    "ANN001": "def bare(value) -> None: ...\n",
    "TID251": "import os\n\nhome = os.environ['HOME']\n",
    "TID252": "from ..model import ids\n",
    "DTZ005": "import datetime\n\nnow = datetime.datetime.now()\n",
    "F401": "import json\n",
    "B006": "def share(items: list[int] = []) -> None: ...\n",
    "N802": "def camelCase() -> None: ...\n",
    "ASYNC251": "import time\n\n\nasync def wait() -> None:\n    time.sleep(1)\n",
    "I001": "import os\nimport json\n",
    "E501": "x = '" + "a" * 100 + "'\n",
}

IMPORTED = {
    "adapter in the gateway": ("gateway/seed.py", "import verismo.adapters.state_sqlite"),
    "control in the gateway": ("gateway/seed.py", "import verismo.control.supervisor"),
    "gateway in an adapter": ("adapters/seed.py", "import verismo.gateway.pipeline"),
    "adapter in attest": ("attest/seed.py", "import verismo.adapters.signer_file"),
    "configuration in model": ("model/seed.py", "import verismo.config.load"),
    "wiring in config": ("config/seed.py", "import verismo.wiring.state"),
    "command line in wiring": ("wiring/seed.py", "import verismo.cli.options"),
    "time in a core": ("attest/seed.py", "import time"),
    "environment in a core": ("model/seed.py", "import os"),
    "randomness in a core": ("model/seed.py", "import secrets"),
    "network in a core": ("attest/seed.py", "import socket"),
    "client library in a core": ("attest/seed.py", "import httpx2"),
    "port in a core": ("attest/seed.py", "import verismo.ports.journal"),
    "client in the verifier": ("attest/verify_claims.py", "import verismo.client"),
}

TIDY = {
    "module_length": ("model/seed.py", "x = 1\n" * 501),
    "class_length": ("model/seed.py", "class Long:\n" + "    x = 1\n" * 301),
    "body_length": ("model/seed.py", 'def long():\n    """Do."""\n' + "    x = 1\n" * 71),
    "parameter_count": ("model/seed.py", "def many(a, b, c, d, e, f, *, g): ...\n"),
    "banned_names": ("model/utils.py", "x = 1\n"),
    "empty_root": ("__init__.py", '"""Root."""\n\n__version__ = "1"\nimport os\n'),
    "root_import": ("model/seed.py", "import verismo\n"),
    "inner_import": ("gateway/seed.py", "def lazy():\n    import json\n"),
    "printing": ("gateway/seed.py", "print(1)\n"),
    "environment_read": ("gateway/seed.py", "import os\nhome = os.environ['HOME']\n"),
    "clock_read": ("attest/seed.py", "import time\nnow = time.time()\n"),
    "global_statement": ("gateway/seed.py", "def f():\n    global x\n    x = 1\n"),
    "mutable_state": ("gateway/seed.py", "SEEN = {}\ndef f(x):\n    SEEN[x] = 1\n"),
    "unfinished": ("gateway/seed.py", "x = 1  # FIX" + "ME\n"),
    "broad_except": ("gateway/seed.py", "try:\n    f()\nexcept Exception:\n    g()\n"),
    "silent_skip": ("tests/test_seed.py", "@pytest.mark.skip\ndef test_x(): ...\n"),
    "mocking": ("tests/test_seed.py", "from unittest import mock\n"),
    "sleeping": ("tests/test_seed.py", "def test_x():\n    time.sleep(1)\n"),
}

SUBTLE = {
    "a module that carries its history": ("banned_names", "client_v2.py", "x = 1\n"),
    "a class that carries its history": ("banned_names", "seed.py", "class Pool_old: ...\n"),
    "a list without a constant's name": ("mutable_state", "seed.py", "seen = []\n"),
    "an environment under another name": ("environment_read", "seed.py", "from os import getenv\n"),
    "everything in a tuple": (
        "broad_except",
        "seed.py",
        "try:\n    f()\nexcept (OSError, BaseException):\n    g()\n",
    ),
    "everything suppressed": (
        "broad_except",
        "seed.py",
        "with contextlib.suppress(Exception):\n    f()\n",
    ),
    "the package's parts from its root": ("root_import", "seed.py", "from verismo import model\n"),
}

FINE = {
    "root_import": "from verismo import __version__\n",
    "mutable_state": "NAMES = {1: 'a'}\nname = NAMES[1]\n",
    "broad_except": "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
    "unfinished": "x = 'To" + "do lists are content'\n",
    "parameter_count": "class A:\n    def f(self, a, b, c, d, e, f): ...\n",
    "sleeping": "async def test_x():\n    while not done():\n        await asyncio.sleep(0.01)\n",
}


def rule_named(name: str):
    rules = (*shape_rules.RULES, *conduct_rules.SOURCE_RULES, *conduct_rules.TEST_RULES)
    return next(rule for rule in rules if rule.__name__ == name)


def seeded(place: str, text: str) -> Source:
    folder = "" if place.startswith("tests/") else "src/verismo/"
    return Source(PurePosixPath(f"{folder}{place}"), text)


@pytest.mark.parametrize("rule", TIDY)
def test_a_breach_of_tidiness_is_caught(rule):
    place, text = TIDY[rule]
    assert list(rule_named(rule)(seeded(place, text)))


@pytest.mark.parametrize("case", SUBTLE)
def test_a_subtle_breach_of_tidiness_is_caught(case):
    rule, name, text = SUBTLE[case]
    assert list(rule_named(rule)(seeded(f"gateway/{name}", text)))


@pytest.mark.parametrize("rule", FINE)
def test_what_is_allowed_is_not_reported(rule):
    assert list(rule_named(rule)(seeded("gateway/seed.py", FINE[rule]))) == []


def test_every_rule_of_tidiness_is_seeded():
    rules = (*shape_rules.RULES, *conduct_rules.SOURCE_RULES, *conduct_rules.TEST_RULES)
    assert {rule.__name__ for rule in rules} == set(TIDY)


@pytest.mark.slow
def test_the_linter_catches_each_kind_of_violation(tmp_path):
    package = tmp_path / "src" / "verismo" / "gateway"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for code, text in LINTED.items():
        (package / f"seed_{code.lower()}.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [BIN / "ruff", "check", "--output-format=concise", "--no-cache", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    missed = [
        code
        for code in LINTED
        if not any(
            f"seed_{code.lower()}.py" in line and f" {code} " in line
            for line in ran.stdout.splitlines()
        )
    ]
    assert missed == []


@pytest.mark.slow
def test_the_formatter_catches_another_layout(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "seed.py").write_text("x = {  'a':1 }\n", encoding="utf-8")
    ran = subprocess.run(
        [BIN / "ruff", "format", "--check", "--no-cache", "."],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1


@pytest.mark.slow
def test_the_type_checker_catches_a_wrong_type(tmp_path):
    (tmp_path / "seed.py").write_text(
        "def double(value: int) -> str:\n    return value * 2\n", encoding="utf-8"
    )
    ran = subprocess.run(
        [
            BIN / "mypy",
            "--config-file",
            ROOT / "pyproject.toml",
            "--cache-dir",
            tmp_path,
            "seed.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "[return-value]" in ran.stdout


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package that import-linter reads instead of the installed one."""
    copy = tmp_path_factory.mktemp("layers")
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(
        ROOT / "src" / "verismo",
        copy / "src" / "verismo",
        ignore=shutil.ignore_patterns("__pycache__", "templates"),
    )
    return copy


def lint_imports(copy: Path) -> tuple[int, str]:
    """Return the exit code and what is printed, with one space between words."""
    ran = subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--config", copy / "pyproject.toml"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, " ".join(ran.stdout.split())


@pytest.mark.slow
def test_the_copy_keeps_the_layers(layers):
    code, printed = lint_imports(layers)
    assert code == 0, printed
    assert " 0 broken" in printed


@pytest.fixture(scope="module")
def against_the_layers(layers: Path) -> str:
    """Return what import-linter says of a copy with all of IMPORTED in it."""
    before: dict[Path, str | None] = {}
    try:
        for place, line in IMPORTED.values():
            file = layers / "src" / "verismo" / place
            text = file.read_text(encoding="utf-8") if file.exists() else None
            before.setdefault(file, text)
            file.write_text(f"{text or ''}\n{line}\n", encoding="utf-8")
        code, printed = lint_imports(layers)
    finally:
        for file, text in before.items():
            if text is None:
                file.unlink()
            else:
                file.write_text(text, encoding="utf-8")
    assert code == 1, printed
    return printed


@pytest.mark.slow
@pytest.mark.parametrize("case", IMPORTED)
def test_an_import_against_the_layers_is_caught(against_the_layers, case):
    place, line = IMPORTED[case]
    importer = "verismo." + place.removesuffix(".py").replace("/", ".")
    imported = line.removeprefix("import ")
    assert f"- {importer} -> {imported} (l." in against_the_layers


@pytest.mark.slow
def test_a_cycle_among_siblings_is_caught(layers):
    one = layers / "src" / "verismo" / "model" / "seed_one.py"
    two = layers / "src" / "verismo" / "ports" / "seed_two.py"
    try:
        one.write_text("import verismo.ports.seed_two\n", encoding="utf-8")
        two.write_text("import verismo.model.seed_one\n", encoding="utf-8")
        code, printed = lint_imports(layers)
    finally:
        one.unlink()
        two.unlink()
    assert code == 1
    assert "No cycles among siblings BROKEN" in printed
