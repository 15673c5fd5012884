"""`verismo verify` with the ledger: proofs, tiles, log keys, witnesses, the remembered ring."""

import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.pool import ThreadPool
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "vectors"))

import forge
import forge_ledger
import forge_rings
from forge_ledger import ALICE, BOB, INDEX, ORIGIN, POLICY, SEEN_S, VKEY, Log, NoteKey
from tests.support.tilelog import TileLog

from verismo.attest.keyring import write_keyring
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import leaf_hash
from verismo.attest.tile import encode_bundle, entries_path, grown_tiles
from verismo.cli import live as live_module
from verismo.cli.main import cli
from verismo.cli.trust import read_witness_policy
from verismo.model.errors import OperatorError

CASE = forge.whole()
LOG = Log(forge_ledger.entry(CASE), witnesses=((ALICE, SEEN_S), (BOB, SEEN_S + 1)))
PLAIN = forge_rings.key_entry(forge.TOKEN, "token")
FIRST = forge_rings.history((forge_rings.BEGUN_MS, [PLAIN, forge_rings.log_entry()]))
GROWN = forge_rings.history(
    (forge_rings.BEGUN_MS, [PLAIN, forge_rings.log_entry()]),
    (forge.TIME_MS, [PLAIN, forge_rings.log_entry()]),
)


def run(*arguments):
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def checks(result):
    return {c["number"]: c["outcome"] for c in json.loads(result.output)[0]["checks"]}


def advice(*arguments):
    error = run(*arguments).exception
    assert isinstance(error, OperatorError), error
    assert error.advice
    return error.detail


@pytest.fixture
def files(tmp_path):
    """What somebody took to another machine."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    write("answer.json", msgspec.json.encode(CASE.document()))
    write("with-proof.json", msgspec.json.encode({**CASE.document(), "proof": LOG.proof()}))
    write("jwks.json", msgspec.json.encode({"keys": [forge.TOKEN.jwk]}))
    write("answer.tlog-proof", LOG.proof())
    write("witnesses.policy", POLICY)
    write("keyring.json", write_keyring(GROWN))
    write("older.json", write_keyring(FIRST))
    return tmp_path


def basic(files, answer="answer.json"):
    return (files / answer, "--jwks", files / "jwks.json", "--json")


def test_an_answer_is_proven_by_a_file_and_the_public_keys(files):
    proof = ("--proof", files / "answer.tlog-proof", "--log-key", VKEY)
    result = run(*basic(files), *proof)
    assert (result.exit_code, checks(result)[15], checks(result)[16]) == (0, "pass", "skip")
    witnessed = (*proof, "--witness-policy", files / "witnesses.policy")
    ringed = (*witnessed, "--keyring", files / "keyring.json")
    assert list(checks(run(*basic(files), *ringed)).values())[-3:] == ["pass"] * 3
    lines = run(files / "answer.json", "--jwks", files / "jwks.json", *ringed).output.splitlines()
    assert f" 15 ledger          pass  entry {INDEX} of 300 in {ORIGIN}" in lines


def test_a_proof_in_the_exchange_is_verified_by_a_key_that_is_not_in_it(files):
    result = run(*basic(files, "with-proof.json"), "--log-key", VKEY)
    assert (result.exit_code, checks(result)[15]) == (0, "pass")
    result = run(*basic(files, "with-proof.json"))
    assert (result.exit_code, checks(result)[15]) == (0, "skip")
    other = NoteKey(ORIGIN, seed_name="other").key.vkey
    result = run(*basic(files, "with-proof.json"), "--log-key", other)
    assert (result.exit_code, checks(result)[15]) == (1, "fail")


def test_a_stripped_proof_is_exit_code_1(files):
    result = run(*basic(files), "--log-key", VKEY)
    assert (result.exit_code, json.loads(result.output)[0]["verdict"]) == (1, "INVALID")


def test_a_file_that_brings_its_keys_is_trusted_by_a_ring_of_ones_own(files):
    answer = files / "own.json"
    answer.write_bytes(
        msgspec.json.encode({**CASE.document(), "jwks": {"keys": [forge.OTHER.jwk]}})
    )
    result = run(answer, "--keyring", files / "keyring.json", "--json")
    assert (result.exit_code, checks(result)[3], checks(result)[17]) == (0, "pass", "pass")
    assert json.loads(result.output)[0]["trusted"]


def test_log_keys_of_the_ring_count_where_no_others_are_named(files):
    proof = ("--proof", files / "answer.tlog-proof", "--keyring", files / "keyring.json")
    result = run(*basic(files), *proof)
    assert (result.exit_code, checks(result)[15]) == (0, "pass")


def test_the_missed_quorum_is_exit_code_1(files):
    (files / "alone.tlog-proof").write_text(Log(LOG.entry, witnesses=((ALICE, SEEN_S),)).proof())
    policy = ("--witness-policy", files / "witnesses.policy", "--log-key", VKEY)
    result = run(*basic(files), "--proof", files / "alone.tlog-proof", *policy)
    assert (result.exit_code, checks(result)[15], checks(result)[16]) == (1, "pass", "fail")


def test_an_older_ring_than_was_remembered_is_refused_and_the_memory_stays(files):
    memory = files / "seen.json"
    newest = ("--keyring", files / "keyring.json", "--remember", memory)
    assert run(*basic(files), *newest).exit_code == 0
    kept = memory.read_bytes()
    assert json.loads(kept)["version"] == 2
    result = run(*basic(files), "--keyring", files / "older.json", "--remember", memory)
    assert (result.exit_code, checks(result)[17], checks(result)[4]) == (1, "fail", "skip")
    assert "rollback" in result.output
    assert memory.read_bytes() == kept
    assert run(*basic(files), "--keyring", files / "older.json").exit_code == 0


def test_another_ring_than_was_remembered_is_refused(files):
    forked = forge_rings.history(
        (forge_rings.BEGUN_MS, [PLAIN]), (forge.TIME_MS, [PLAIN]), (forge.TIME_MS, [PLAIN])
    )
    (files / "forked.json").write_bytes(write_keyring(forked))
    memory = ("--remember", files / "seen.json")
    assert run(*basic(files), "--keyring", files / "keyring.json", *memory).exit_code == 0
    result = run(*basic(files), "--keyring", files / "forked.json", *memory)
    assert (result.exit_code, "fork: version 2" in result.output) == (1, True)


def test_a_newer_ring_is_remembered_instead(files):
    memory = files / "seen.json"
    assert (
        run(*basic(files), "--keyring", files / "older.json", "--remember", memory).exit_code == 0
    )
    assert json.loads(memory.read_bytes())["version"] == 1
    newest = ("--keyring", files / "keyring.json", "--remember", memory)
    assert run(*basic(files), *newest).exit_code == 0
    assert json.loads(memory.read_bytes())["version"] == 2
    assert sorted(p.name for p in files.glob("*seen*")) == ["seen.json", "seen.json.lock"]


def test_verifications_at_once_never_forget_the_newest_ring(files):
    memory = files / "seen.json"
    rings = ["older.json", "keyring.json"] * 6

    def verify(name):
        command = ["verify", *map(str, basic(files)), "--remember", str(memory)]
        return cli.main(
            [*command, "--keyring", str(files / name)], standalone_mode=False, prog_name="verismo"
        )

    def attempt(name):
        with pytest.raises(SystemExit) as ended:
            verify(name)
        return name, ended.value.code

    with ThreadPool(4) as pool:
        codes = pool.map(attempt, rings)
    assert json.loads(memory.read_bytes())["version"] == 2
    assert all(code == 0 for name, code in codes if name == "keyring.json")


def test_a_damaged_memory_lets_no_ring_pass(files):
    (files / "seen.json").write_text("{}")
    options = ("--keyring", files / "keyring.json", "--remember", files / "seen.json")
    assert "is not what --remember wrote" in advice(*basic(files), *options)
    options = ("--keyring", files / "keyring.json", "--remember", files / "none" / "seen.json")
    assert "cannot be used" in advice(*basic(files), *options)


def test_what_is_no_ring_is_check_17(files):
    result = run(*basic(files), "--keyring", files / "jwks.json")
    assert (result.exit_code, checks(result)[17]) == (1, "fail")


def test_malformed_trust_is_exit_code_2(files):
    proof = ("--proof", files / "answer.tlog-proof")
    assert "--log-key: " in advice(*basic(files), *proof, "--log-key", "x")
    policy = ("--witness-policy", files / "jwks.json")
    assert "of the policy" in advice(*basic(files), *proof, *policy)
    assert "cannot be read" in advice(*basic(files), "--keyring", files / "none")
    with pytest.raises(OperatorError, match="cannot be read: Is a directory"):
        read_witness_policy(files)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--proof", "{proof}"), "says nothing without"),
        (("--tiles", "."), "says nothing without"),
        (("--index", "1", "--log-key", VKEY), "--index belongs to --tiles"),
        (("--tiles", ".", "--index", "1", "--proof", "{proof}", "--log-key", VKEY), "has its own"),
        (("--remember", "x"), "--remember belongs to --keyring"),
        (("--with-proof",), "--with-proof belongs to --url"),
        (("{answer}", "--proof", "{proof}", "--log-key", VKEY), "belong to one EXCHANGE"),
        (("{answer}", "--tiles", ".", "--index", "0", "--log-key", VKEY), "to one EXCHANGE"),
    ],
)
def test_options_that_would_do_nothing_are_refused(files, options, says):
    named = {"proof": files / "answer.tlog-proof", "answer": files / "answer.json"}
    result = run(*basic(files), *(text.format(**named) for text in options))
    assert (result.exit_code, says in result.output) == (2, True), result.output


def published(entry, index=300, origin=ORIGIN, count=700):
    """Return a log's published files; the answer is one of its entries."""
    log = TileLog(origin)
    log.log = NoteKey(origin)
    log.entries = [leaf_entry(LeafType.ANSWER, f"{n}".encode(), b"a..b") for n in range(count)]
    log.entries[index] = entry
    leaves = [leaf_hash(one) for one in log.entries]
    log.range.extend(leaves)
    for tile, octets in grown_tiles(0, leaves, lambda tile: b""):
        log.objects[tile.path] = octets
    for begin in range(0, count, 256):
        bundle = log.entries[begin : begin + 256]
        log.objects[entries_path(begin // 256, len(bundle))] = encode_bundle(bundle)
    text = forge_ledger.Checkpoint(origin, count, log.range.root()).text()
    log.objects["checkpoint"] = f"{text}\n{NoteKey(origin).line(text)}".encode()
    return log


@pytest.fixture
def tiles(files):
    log = published(LOG.entry)
    log.write(files / "log")
    return files / "log"


@pytest.mark.parametrize("options", [(), ("--index", "300")])
def test_tiles_and_the_public_keys_are_enough(files, tiles, options):
    result = run(*basic(files), "--tiles", tiles, "--log-key", VKEY, *options)
    assert (result.exit_code, checks(result)[15]) == (0, "pass")
    assert "entry 300 of 700" in result.output


def test_a_proof_file_says_where_to_look_in_newer_tiles(files, tiles):
    (files / "log" / "tile" / "entries").rename(files / "not-needed")
    moved = LOG.proof().replace(f"index {INDEX}\n", "index 300\n")
    (files / "moved.tlog-proof").write_text(moved)
    options = ("--tiles", tiles, "--log-key", VKEY, "--proof", files / "moved.tlog-proof")
    result = run(*basic(files), *options)
    assert (result.exit_code, checks(result)[15]) == (0, "pass")


@pytest.mark.parametrize(
    ("index", "says"), [("299", "another root"), ("700", "no leaf 700 in a tree of 700")]
)
def test_another_index_is_refused(files, tiles, index, says):
    result = run(*basic(files), "--tiles", tiles, "--log-key", VKEY, "--index", index)
    assert (result.exit_code, checks(result)[15], says in result.output) == (1, "fail", True)


def test_tiles_that_do_not_hold_the_answer_are_refused(files):
    published(bytes(33)).write(files / "other")
    result = run(*basic(files), "--tiles", files / "other", "--log-key", VKEY)
    assert (result.exit_code, checks(result)[15]) == (1, "fail")
    assert "not among the newest 700 entries" in result.output


def test_tampered_tiles_are_refused_and_missing_ones_named(files, tiles):
    tile = tiles / "tile" / "0" / "001"
    octets = bytearray(tile.read_bytes())
    octets[32 * (300 - 256 + 1)] ^= 1
    tile.write_bytes(octets)
    options = ("--tiles", tiles, "--log-key", VKEY, "--index", "300")
    result = run(*basic(files), *options)
    assert (result.exit_code, checks(result)[15]) == (1, "fail")
    tile.unlink()
    assert "tile/0/001" in advice(*basic(files), *options)
    for nowhere in (files / "jwks.json", files / "nothing"):
        assert "no folder" in advice(*basic(files), "--tiles", nowhere, "--log-key", VKEY)
    (files / "odd" / "checkpoint").mkdir(parents=True)
    assert "cannot be read" in advice(*basic(files), "--tiles", files / "odd", "--log-key", VKEY)


def test_nothing_is_looked_up_for_an_answer_that_is_not_signed(files):
    case = forge.whole()
    case.headers = case.headers[:1]
    (files / "answer.json").write_bytes(msgspec.json.encode(case.document()))
    options = ("--tiles", files / "nowhere", "--log-key", VKEY)
    result = run(*basic(files), *options)
    assert (result.exit_code, json.loads(result.output)[0]["verdict"]) == (1, "UNSIGNED")


class Gateway(BaseHTTPRequestHandler):
    """A gateway that signs, has a log, and is late with proofs."""

    def do_GET(self):
        server = self.server
        if self.path == "/.well-known/attest/jwks.json":
            self.reply(200, msgspec.json.encode({"keys": [forge.TOKEN.jwk]}))
        elif self.path.endswith("/proof"):
            server.asked += 1
            if server.asked <= server.pending or server.proof is None:
                self.reply(server.refusal, b"{}", [("retry-after", "0")])
            else:
                self.reply(200, server.proof)
        elif self.path in server.files:
            content = server.files[self.path]
            self.reply(500 if content is None else 200, content or b"")
        else:
            self.reply(404, b"{}")

    def do_POST(self):
        question = self.rfile.read(int(self.headers["content-length"]))
        now = datetime.now(UTC)
        recipe = forge.Recipe(
            question=question,
            nonce=self.headers["attest-nonce"],
            change=lambda stated: stated.update(iat=int(now.timestamp() * 1_000)),
        )
        case = forge.whole(recipe)
        origin = f"gateway.example/log/eu-central/{now.year}"
        proof = Log(forge_ledger.entry(case), origin=origin).proof()
        self.server.proof = b"\xff" if self.server.garbled else proof.encode()
        self.reply(200, case.answer, case.headers)

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def gateway():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.asked, server.pending, server.refusal = 0, 0, 409
    server.files, server.proof, server.garbled = {}, None, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def live(server, *options):
    return ("--url", address(server), "--key", "vk_test", "--model", "m", "--with-proof", *options)


def this_years_key():
    return NoteKey(f"gateway.example/log/eu-central/{datetime.now(UTC).year}").key.vkey


@pytest.mark.parametrize("pending", [0, 2])
def test_a_live_answer_waits_for_its_proof_and_is_saved_with_it(gateway, tmp_path, pending):
    gateway.pending = pending
    saved, keys = tmp_path / "saved.json", tmp_path / "jwks.json"
    result = run(*live(gateway, "--log-key", this_years_key(), "--save", saved, "--json"))
    assert (result.exit_code, checks(result)[15]) == (0, "pass"), result.output
    assert gateway.asked == pending + 1
    keys.write_bytes(msgspec.json.encode({"keys": [forge.TOKEN.jwk]}))
    again = run(saved, "--jwks", keys, "--log-key", this_years_key(), "--json")
    assert (again.exit_code, checks(again)[15]) == (0, "pass")


def test_a_proof_is_not_waited_for_for_ever(gateway, monkeypatch):
    monkeypatch.setattr(live_module, "PROOF_WAIT_S", 0.0)
    gateway.pending = 1_000
    assert "/proof answers 409" in advice(*live(gateway))
    assert gateway.asked == 1


def test_a_gateway_without_a_ledger_is_not_asked_twice(gateway):
    gateway.pending, gateway.refusal = 1, 404
    assert "/proof answers 404" in advice(*live(gateway))
    assert gateway.asked == 1


def test_a_proof_that_is_no_text_is_an_error_of_the_address(gateway):
    gateway.garbled = True
    assert "something else than a proof" in advice(*live(gateway))


def test_tiles_are_read_from_an_address(gateway, files):
    log = published(LOG.entry)
    gateway.files = {f"/log/{path}": octets for path, octets in log.objects.items()}
    place = ("--tiles", f"{address(gateway)}/log/", "--log-key", VKEY)
    result = run(*basic(files), *place)
    assert (result.exit_code, checks(result)[15]) == (0, "pass")
    gateway.files["/log/tile/0/001"] = None
    assert "answers 500" in advice(*basic(files), *place)
    del gateway.files["/log/tile/0/001"]
    assert "is not a whole log: tile/0/001" in advice(*basic(files), *place)


def test_the_ring_is_read_from_an_address(gateway, files):
    gateway.files = {"/ring": write_keyring(GROWN)}
    result = run(*basic(files), "--keyring", f"{address(gateway)}/ring")
    assert (result.exit_code, checks(result)[17]) == (0, "pass")
