"""A log of ours, checked by aics-tlog: somebody else's reader of C2SP tiled logs.

scripts/test-tools puts it beside this environment where a Python of 3.12 or newer is at hand.
"""

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support.tilelog import TileLog, entry_of, witness_key

from verismo.attest.merkle import consistency_proof
from verismo.attest.tile import Tile, entries_path

pytestmark = pytest.mark.slow

ORACLE = Path(sys.prefix) / "oracle-tlog" / "bin" / "aics-tlog"
RUN_S_MAX = 60.0
ALICE, BOB = witness_key("alice.example"), witness_key("bob.example")
SIZES = (1, 255, 256, 257, 70_000)
"""Checkpoints that the log published while it grew."""


class Verdict(msgspec.Struct, frozen=True):
    """What the oracle prints, as far as it matters here."""

    ok: bool
    size: int = 0
    origin: str = ""
    cosignatures: int = 0


def ask(command: str, *arguments: object) -> Verdict:
    """Run the oracle; its exit code and what it prints have to agree."""
    done = subprocess.run(
        [str(ORACLE), command, *map(str, arguments)],
        capture_output=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    verdict = msgspec.json.decode(done.stdout, type=Verdict)
    assert done.returncode == (0 if verdict.ok else 1), done
    return verdict


class Published:
    """A log in a folder, with the checkpoints it once had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = TileLog()
        self.old: dict[int, Path] = {}
        for size in SIZES:
            self.log.grow(size - self.log.size)
            self.old[size] = folder.parent / f"checkpoint.{size}"
            self.old[size].write_bytes(self.log.objects["checkpoint"])
        self.log.write(folder)

    @property
    def source(self) -> tuple[object, ...]:
        """The arguments that name it."""
        return ("--tiles", self.folder, "--log-key", self.log.log.key.vkey)


def published_in(folder: Path) -> Published:
    if not ORACLE.is_file():
        pytest.skip("not installed: aics-tlog")
    return Published(folder / "log")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return published_in(tmp_path_factory.mktemp("oracle"))


def leaf_file(folder: Path, entry: bytes) -> Path:
    path = folder / "leaf"
    path.write_bytes(entry)
    return path


def test_the_oracle_takes_our_checkpoint_and_our_tiles(published):
    verdict = ask("verify-checkpoint", *published.source)
    assert verdict == Verdict(True, SIZES[-1], published.log.log.key.name, 0)


@pytest.mark.parametrize("index", [0, 255, 256, 65_536, 69_999])
def test_the_oracle_finds_our_entries_in_our_tiles(published, tmp_path, index):
    leaf = leaf_file(tmp_path, entry_of(index))
    assert ask("verify-inclusion", "--leaf", leaf, "--index", index, *published.source).ok
    other = leaf_file(tmp_path, entry_of(index + 1))
    assert not ask("verify-inclusion", "--leaf", other, "--index", index, *published.source).ok


@pytest.mark.parametrize("index", [0, 256, 69_999])
def test_the_oracle_reads_our_entry_bundles(published, tmp_path, index):
    out = tmp_path / "entry"
    assert ask("verify-inclusion", "--index", index, "--entry-out", out, *published.source).ok
    assert out.read_bytes() == entry_of(index)


@pytest.mark.parametrize("size", SIZES)
def test_the_oracle_sees_that_our_log_only_grew(published, size):
    old = published.old[size]
    assert ask("verify-consistency", "--old-checkpoint", old, *published.source).ok


@pytest.mark.parametrize("index", [0, 256, 69_999])
def test_the_oracle_verifies_the_path_of_our_proof_file(published, tmp_path, index):
    log, path = published.log, tmp_path / "path"
    proof = log.proof(index)
    lines = [base64.b64encode(one).decode() for one in proof.hashes]
    path.write_text("\n".join(lines) + "\n")
    root = base64.b64encode(log.range.root()).decode()
    tree = ("--size", log.size, "--root", root, "--proof", path)
    leaf = leaf_file(tmp_path, entry_of(index))
    assert ask("verify-inclusion", "--leaf", leaf, "--index", index, *tree).ok
    assert not ask("verify-inclusion", "--leaf", leaf, "--index", index + 1, *tree).ok


def test_the_oracle_verifies_our_consistency_proof(published, tmp_path):
    log, path = published.log, tmp_path / "path"
    older = TileLog()
    older.grow(257)
    proof = consistency_proof(257, log.size, log.tree)
    path.write_text("\n".join(base64.b64encode(one).decode() for one in proof) + "\n")
    roots = [base64.b64encode(one.range.root()).decode() for one in (older, log)]
    sizes = ("--old-size", 257, "--new-size", log.size, "--proof", path)
    assert ask("verify-consistency", *sizes, "--old-root", roots[0], "--new-root", roots[1]).ok
    assert not ask("verify-consistency", *sizes, "--old-root", roots[1], "--new-root", roots[1]).ok


def test_the_oracle_counts_our_witnesses(published, tmp_path):
    note = tmp_path / "checkpoint"
    note.write_bytes(published.log.checkpoint({ALICE: 1_800_000_000, BOB: 1_800_000_001}).encode())
    asked = ("--note", note, "--log-key", published.log.log.key.vkey, "--quorum", 2)
    witnesses = ("--witness-key", ALICE.key.vkey, "--witness-key", BOB.key.vkey)
    assert ask("verify-checkpoint", *asked, *witnesses).cosignatures == 2
    stranger = witness_key("stranger.example").key.vkey
    witnesses = ("--witness-key", ALICE.key.vkey, "--witness-key", stranger)
    assert not ask("verify-checkpoint", *asked, *witnesses).ok


@pytest.mark.parametrize("what", [Tile(0, 0).path, Tile(2, 0, 1).path, entries_path(0)])
def test_the_oracle_refuses_our_log_with_one_octet_changed(tmp_path, what):
    published = published_in(tmp_path)
    path = published.folder / what
    octets = bytearray(path.read_bytes())
    octets[5] ^= 1
    path.write_bytes(octets)
    out = ("--entry-out", tmp_path / "entry")
    assert not ask("verify-inclusion", "--index", 0, *out, *published.source).ok
