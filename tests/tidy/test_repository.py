"""What must not stand in any file of the repository, and what the locks must hold."""

import re
import tomllib

import pytest
from tests.tidy.source import ROOT, tracked

# In halves, so that this file does not hold what it looks for.
PRIVATE = re.compile(
    r"(?<![\w./-])/(?:wo" r"rk|ro" r"ot|Us" r"ers|ho" r"me/(?!verismo\b))(?:/|\b)(?=[\w.])[\w./-]*"
)
REGISTRY = re.compile(
    r"\b(?:py" r"pi\.org|pythonho" r"sted\.org|registry\.np" r"mjs\.org|cra" r"tes\.io)\b"
)
INDEX_OPTION = re.compile(r"^\s*(?:-i|-f|--(?:extra-)?index-url|--find-links|--trusted-host)\b")
PIN = re.compile(r"([a-z0-9]+(?:[._-][a-z0-9]+)*)==(\S+)")
LOCKS = ("core", "run", "cluster", "dev", "uv", "oracle", "oracle-tlog", "model")
TEXT = [path for path in tracked() if path.suffix not in {".png", ".ico", ".db", ".gz"}]


def pins(text: str) -> dict[str, str]:
    """Return name and version of everything that a lock installs."""
    return dict(match.groups() for line in text.splitlines() if (match := PIN.match(line)))


def lock_faults(text: str) -> list[str]:
    """Return what keeps a lock from meaning the same bytes everywhere."""
    faults = []
    for entry in re.split(r"(?m)^(?=\S)", text):
        lines = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
        faults += [f"index address: {line}" for line in lines if INDEX_OPTION.match(line)]
        faults += [f"address: {line}" for line in lines if "://" in line]
        if lines and not INDEX_OPTION.match(lines[0]):
            if not PIN.match(lines[0]):
                faults.append(f"not pinned: {lines[0]}")
            if not any(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines):
                faults.append(f"no hash: {lines[0]}")
    return faults


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def findings(pattern: re.Pattern[str]) -> list[str]:
    """Return the places in the repository where a pattern matches."""
    found = []
    for path in TEXT:
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
        found += [f"{path}: {match.group()}" for match in pattern.finditer(text)]
    return found


@pytest.mark.slow
def test_no_file_names_a_path_of_somebodys_machine():
    assert findings(PRIVATE) == []


@pytest.mark.slow
def test_no_file_names_a_package_registry():
    assert findings(REGISTRY) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_index(name):
    assert lock_faults(lock(name)) == []
    assert pins(lock(name))


@pytest.mark.parametrize(
    "text",
    [
        "msgspec==0.22.0\n",
        "msgspec>=0.22 --hash=sha256:" + "0" * 64 + "\n",
        "--index-url https://index.example/simple\n",
        "msgspec @ https://files.example/m.whl --hash=sha256:" + "0" * 64 + "\n",
    ],
    ids=["no hash", "no pin", "index", "address"],
)
def test_a_faulty_lock_is_seen(text):
    assert lock_faults(text)


@pytest.mark.parametrize(
    ("small", "large"), [("core", "run"), ("run", "cluster"), ("cluster", "dev")]
)
def test_the_larger_lock_holds_the_smaller_at_equal_versions(small, large):
    assert pins(lock(small)).items() <= pins(lock(large)).items()


def test_the_core_lock_is_what_an_auditor_reads():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[><=\[ ]", one)[0] for one in project["dependencies"]}
    assert wanted == {"click", "cryptography", "httpx2", "msgspec"}
    assert wanted <= set(pins(lock("core")))


def test_private_paths_and_registries_are_seen():
    assert PRIVATE.search("see /" + "work/notes.md")
    assert PRIVATE.search("in /" + "home/someone/x")
    assert REGISTRY.search("from https://py" + "pi.org/simple")
    assert not PRIVATE.search("docs/" + "work/notes.md and https://x.example/" + "home/a")
