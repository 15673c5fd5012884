"""`docs/ledger-format.md` says what the code does: types, limits, and an example that verifies."""

import re
import textwrap
from pathlib import Path

import forge
import pytest
from tests.support.tilelog import TileLog, witness_key

from verismo.attest import merkle, note, tile, tlogproof, witnesspolicy
from verismo.attest.leaf import LEAF_BYTES, LeafType, leaf_entry
from verismo.attest.note import parse_vkey, vkey
from verismo.attest.statement import read_statement
from verismo.attest.tlogproof import read_proof, verify_proof
from verismo.attest.witnesspolicy import read_policy
from verismo.model.ledger import LogId, origin_of, year_of

TEXT = (Path(__file__).parents[2] / "docs" / "ledger-format.md").read_text(encoding="utf-8")
EXAMPLE = TEXT.split("## 12. An example")[1]
SIGNED = forge.signed_bytes()
ENTRY = leaf_entry(LeafType.ANSWER, SIGNED, forge.whole()["attest-signature"].encode())
LOG_VKEY, WITNESS_VKEY = re.findall(r"^    (\S+\+[0-9a-f]{8}\+\S+)$", EXAMPLE, re.MULTILINE)
PROOF = textwrap.dedent("    c2sp" + EXAMPLE.split("    c2sp")[1]).encode()


def test_every_type_of_leaf_has_its_documented_number():
    rows = re.findall(r"^\| (\d) \| `([A-Z_]+)` \|", TEXT, re.MULTILINE)
    assert {name: int(number) for number, name in rows} == {one.name: one for one in LeafType}


@pytest.mark.parametrize(
    "limit",
    [
        LEAF_BYTES,
        merkle.INCLUSION_HASHES_MAX,
        merkle.CONSISTENCY_HASHES_MAX,
        tile.TILE_WIDTH,
        tile.TILE_WIDTH * merkle.HASH_BYTES,
        tile.ENTRY_BYTES_MAX,
        tile.TILE_LEVEL_MAX,
        note.NOTE_BYTES_MAX,
        note.SIGNATURES_MAX,
        note.NAME_CHARS_MAX,
        witnesspolicy.POLICY_BYTES_MAX,
        witnesspolicy.LOGS_MAX,
        tlogproof.EXTRA_BYTES_MAX,
        tlogproof.PROOF_BYTES_MAX,
    ],
)
def test_every_limit_is_named(limit):
    assert re.search(rf"\b{limit:,}\b", TEXT)


def test_limits_that_the_page_names_once_are_equal():
    assert witnesspolicy.LOGS_MAX == witnesspolicy.WITNESSES_MAX == witnesspolicy.GROUPS_MAX
    assert merkle.SIZE_MAX == 2**63 - 1


def test_the_example_s_leaf_is_that_of_the_vector():
    assert ENTRY.hex() in EXAMPLE
    assert merkle.leaf_hash(ENTRY).hex() in EXAMPLE
    assert merkle.EMPTY_ROOT.hex().startswith("e3b0c442")
    assert merkle.EMPTY_ROOT.hex().endswith("b855")


def test_the_example_s_log_is_that_of_its_statement():
    stated = read_statement(SIGNED)
    origin = origin_of(stated.iss, LogId(stated.region, year_of(stated.iat)))
    assert parse_vkey(LOG_VKEY).name == origin
    assert f"`{origin}`" in TEXT


def test_the_example_s_proof_verifies_as_the_page_says():
    policy = read_policy(f"witness w1 {WITNESS_VKEY}\nquorum w1\n".encode())
    proven = verify_proof(read_proof(PROOF), ENTRY, parse_vkey(LOG_VKEY), policy)
    assert (proven.index, proven.size) == (0, 2)
    assert proven.cosigned is not None
    assert proven.cosigned.quorum_at_s == 1_790_000_060
    assert read_proof(PROOF).encode() == PROOF


def test_the_example_can_be_made_again():
    log = TileLog(parse_vkey(LOG_VKEY).name)
    other = re.search(r"^    (01[0-9a-f]{64})$", EXAMPLE.split("two\nleaves")[1], re.MULTILINE)
    assert other is not None
    log.add([ENTRY, bytes.fromhex(other[1])])
    witness = witness_key("witness.example/w1")
    assert (log.log.key.vkey, witness.key.vkey) == (LOG_VKEY, WITNESS_VKEY)
    assert log.proof(0, {witness: 1_790_000_060}).encode() == PROOF


def test_the_vkey_of_another_log_follows_from_the_public_key_and_its_origin():
    key = parse_vkey(LOG_VKEY)
    other = parse_vkey(vkey("gateway.example/log/us/2026", key.raw))
    assert other.raw == key.raw
    assert other.key_hash != key.key_hash
