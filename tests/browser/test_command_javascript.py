"""The command for Node says what `verismo verify` says, in the same words and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.verifyjs import COMMAND, needs_node, run_node, vector_documents

pytestmark = [needs_node, pytest.mark.slow]


class Kept:
    """A vector's parts as files."""

    def __init__(self, folder: Path, name: str) -> None:
        vector = json.loads(vector_documents()[name])
        ledger = vector.get("ledger", {})
        exchange = vector["exchange"]
        self.log_keys = ledger.get("log_keys", [])
        self.exchange = self._write(folder / f"{name}.json", json.dumps(exchange))
        self.jwks = self._write(folder / f"{name}.jwks", json.dumps(vector["jwks"]))
        self.policy = self._write(folder / f"{name}.policy", ledger.get("witness_policy"))
        self.proof = self._write(folder / f"{name}.proof", exchange.get("proof"))
        self.graph = self._write(folder / f"{name}.graph", exchange.get("graph"))
        ring = ledger.get("keyring")
        self.ring = self._write(folder / f"{name}.ring", None if ring is None else json.dumps(ring))

    @staticmethod
    def _write(path: Path, text: str | None) -> str:
        if text is not None:
            path.write_text(text)
        return str(path)


def both(*words: str) -> tuple[tuple[int, str], tuple[int, str]]:
    """Return exit code and output of the Python command and of Node's."""
    mine = subprocess.run(
        [sys.executable, "-m", "verismo", "verify", *words], capture_output=True, check=False
    )
    theirs = run_node(str(COMMAND), *words)
    return (mine.returncode, mine.stdout.decode()), (theirs.returncode, theirs.stdout.decode())


@pytest.mark.parametrize(
    "name",
    ["whole", "stream", "cut-after-head", "unsigned", "everything-wrong", "header-salt-missing"],
)
def test_a_saved_exchange_is_reported_in_the_same_words(tmp_path, name):
    kept = Kept(tmp_path, name)
    mine, theirs = both(kept.exchange, "--jwks", kept.jwks)
    # What JSON's readers complain of is worded by each of them.
    assert theirs[0] == mine[0]
    assert _without_readers(theirs[1]) == _without_readers(mine[1])


def _without_readers(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith(" 13"))


def test_ledger_options_are_the_same(tmp_path):
    kept = Kept(tmp_path, "witness-both")
    given = [kept.exchange, "--jwks", kept.jwks, "--proof", kept.proof, "--graph", kept.graph]
    log = [word for key in kept.log_keys for word in ("--log-key", key)]
    mine, theirs = both(*given, *log, "--witness-policy", kept.policy)
    assert theirs == mine
    assert mine[0] == 0
    assert " 16 witnesses       pass" in mine[1]


@pytest.mark.parametrize(
    "name",
    ["whole", "whole-query", "whole-document-id", "whole-optional-absent", "stream", "unsigned"],
)
def test_json_for_scripts_is_octet_for_octet_the_same(tmp_path, name):
    kept = Kept(tmp_path, name)
    mine, theirs = both(kept.exchange, "--jwks", kept.jwks, "--json")
    assert theirs == mine
    assert json.loads(mine[1])[0]["source"] == kept.exchange


def test_keys_that_came_along_are_not_trusted(tmp_path):
    kept = Kept(tmp_path, "whole")
    document = json.loads(Path(kept.exchange).read_text())
    document["jwks"] = json.loads(Path(kept.jwks).read_text())
    Path(kept.exchange).write_text(json.dumps(document))
    mine, theirs = both(kept.exchange)
    assert theirs == mine
    assert (mine[0], mine[1].endswith("NOT TRUSTED\n")) == (1, True)
    mine, theirs = both(kept.exchange, "--trust-embedded-keys")
    assert theirs == mine
    assert mine[0] == 0


def test_the_newest_ring_is_remembered_and_an_older_one_refused(tmp_path):
    kept = Kept(tmp_path, "ring-grown")
    memory = tmp_path / "remembered"
    words = (kept.exchange, "--keyring", kept.ring, "--remember", str(memory))
    first = run_node(str(COMMAND), *words)
    assert first.returncode == 0, first.stdout
    seen = json.loads(memory.read_text())
    ring = json.loads(Path(kept.ring).read_text())
    assert seen["version"] == len(ring["versions"]) > 1
    Path(kept.ring).write_text(json.dumps({**ring, "versions": ring["versions"][:1]}))
    again = run_node(str(COMMAND), *words)
    assert again.returncode == 1
    assert b"rollback" in again.stdout
    assert json.loads(memory.read_text()) == seen
    memory.write_text("{}")
    assert run_node(str(COMMAND), *words).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--unknown",),
        ("{exchange}",),
        ("{exchange}", "--vectors", "{folder}"),
        ("--vectors", "{folder}/nothing"),
        ("{folder}/nothing.json", "--jwks", "{jwks}"),
        ("{jwks}", "--jwks", "{jwks}"),
        ("{exchange}", "--jwks", "{folder}/nothing"),
        ("{exchange}", "--jwks", "{jwks}", "--proof", "{jwks}"),
        ("{exchange}", "--jwks", "{jwks}", "--remember", "{folder}/memory"),
        ("{exchange}", "--jwks", "{jwks}", "--max-age", "soon"),
        ("{exchange}", "--jwks", "{jwks}", "--log-key", "x"),
        ("{exchange}", "--jwks", "{jwks}", "--witness-policy", "{jwks}"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(tmp_path, words):
    kept = Kept(tmp_path, "whole")
    places = {"exchange": kept.exchange, "jwks": kept.jwks, "folder": str(tmp_path)}
    mine, theirs = both(*(word.format(**places) for word in words))
    assert (mine[0], theirs[0]) == (2, 2)


def test_old_answer_is_refused_by_its_age(tmp_path):
    kept = Kept(tmp_path, "whole")
    done = run_node(str(COMMAND), kept.exchange, "--jwks", kept.jwks, "--max-age", "5")
    assert (done.returncode, b"  9 time            fail" in done.stdout) == (1, True)
