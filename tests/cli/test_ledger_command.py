"""`verismo ledger`: status, proofs and the audit, on the data of a gateway that ran."""

import asyncio
import json
import os
import shutil
import time
from contextlib import closing

import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.gateway import running_gateway

from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.attest.keyring import extend
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.note import parse_vkey, verifier_key
from verismo.attest.tlogproof import read_proof, verify_proof
from verismo.cli.main import cli
from verismo.config.load import load_config
from verismo.model import canonical
from verismo.model.errors import OperatorError
from verismo.model.ledger import LogId
from verismo.ports.keyring import RingVersion
from verismo.wiring.keys import clock_ms, open_rotation
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgertools import LedgerTools, audit_published

pytestmark = pytest.mark.slow
YEAR = time.gmtime().tm_year


def run(*arguments):
    return CliRunner().invoke(cli, ["ledger", *map(str, arguments)])


class Ran:
    """A gateway that answered, and what is left of it."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "verismo.toml"
        self.records = []
        self.proofs = {}


async def ran(folder):
    """Answer a few requests, integrate them as the control process does, and stop."""
    state = Ran(folder)
    async with running_gateway(folder) as gateway:
        loop = LedgerLoop(gateway.config)
        answers = [await gateway.chat(f"hello {number}") for number in range(5)]
        await gateway.chat("refused", key="TENANT_003")
        first = answers[0].prov_id
        pending = await gateway.send("GET", f"/v1/attest/{first}/proof")
        assert (pending.status, pending.headers["retry-after"]) == (409, "1")
        await loop.round()
        for key, status in (("TENANT_001", 200), ("TENANT_002", 404), ("auditor", 200)):
            found = await gateway.send("GET", f"/v1/attest/{first}/proof", key=key)
            assert found.status == status
        unknown = await gateway.send("GET", f"/v1/attest/{first[:-4]}0000/proof")
        assert unknown.status == 404
        assert (await gateway.send("GET", f"/v1/attest/{first}/proof", key=None)).status == 401
        assert (await gateway.send("POST", f"/v1/attest/{first}/proof")).status == 405
        state.proofs[first] = (await gateway.send("GET", f"/v1/attest/{first}/proof")).body
        state.records = gateway.records()
        await check_served(gateway)
        await loop.close()
    return state


async def check_served(gateway):
    """What is served is what lies in the folder, with the headers that caches need."""
    base = f"/log/us/{YEAR}"
    served = await gateway.send("GET", f"{base}/checkpoint", key=None)
    assert served.headers["cache-control"] == "public, max-age=1"
    assert served.headers["content-type"] == "text/plain; charset=utf-8"
    tiles = gateway.config.data / "log" / "us" / str(YEAR)
    assert served.body == (tiles / "checkpoint").read_bytes()
    size = int(served.body.split(b"\n")[1])
    tile = await gateway.send("GET", f"{base}/tile/0/000.p/{size}", key=None)
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert tile.headers["content-type"] == "application/octet-stream"
    assert tile.headers["access-control-allow-origin"] == "*"
    assert len(tile.body) == 32 * size
    raw = await gateway.raw(
        f"HEAD {base}/tile/0/000.p/{size} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {32 * size}".encode() in head
    assert body == b""
    refused = await gateway.send("POST", f"{base}/checkpoint", key=None)
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    for path in (
        f"{base}/tile/0/000",
        f"{base}/tile/0/000.p/{size + 1}",
        f"{base}/tile/0/../../checkpoint",
        f"{base}/tile/0/%2e%2e/checkpoint",
        f"{base}/../../../keys/token.key",
        "/log/../keys/token.key",
        "/log/us/../../keys/token.key",
        f"/log/%75s/{YEAR}/checkpoint",
        f"{base}/.lock",
        f"{base}/.partial/1",
        f"{base}/checkpoint/",
        f"{base}//checkpoint",
        f"{base}/",
        "/log/us/26/checkpoint",
        "/log/",
    ):
        # As it is: a client library would resolve the dots first.
        asked = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert (await gateway.raw(asked.encode())).startswith(b"HTTP/1.1 404"), path
    await asyncio.to_thread(check_over_http, gateway, gateway.url + base)


def check_over_http(gateway, url):
    """An outsider's audit needs the URL and the key alone."""
    with closing(LedgerTools(gateway.config)) as tools:
        vkey = tools.log_key(LogId("us", YEAR)).vkey
    walked = []
    assert list(audit_published(url, vkey, walked.append)) == []
    assert walked[0].size == 6  # five answers and the key ring
    found = list(audit_published(gateway.url + "/log/eu/1999", vkey, walked.append))
    assert [one.detail for one in found] == ["there is no checkpoint"]


@pytest.fixture
async def state(tmp_path):
    return await ran(tmp_path)


async def test_the_commands_on_a_gateway_that_ran(state, tmp_path):
    found = run("status", "--config", state.config, "--json")
    assert found.exit_code == 0, found.output
    [us] = [one for one in json.loads(found.output)["logs"] if "/log/us/" in one["origin"]]
    assert us["size"] == us["signed_size"] == us["published_size"]
    text = run("status", "--config", state.config).output
    assert us["vkey"] in text
    assert "every record has its proof" in text
    assert "integrated by: nobody" in text
    assert us["witnessed"] is None
    assert f"witnesses of {us['origin']}: nobody is asked" in text

    [(prov_id, served)] = state.proofs.items()
    out = tmp_path / "a.tlog-proof"
    assert run("proof", prov_id, "--config", state.config, "--out", out).exit_code == 0
    assert isinstance(
        run("proof", prov_id, "--config", state.config, "--out", out / "x").exception, OperatorError
    )
    assert out.read_bytes() == served
    [record] = [one for one in state.records if one.prov_id == prov_id]
    entry = leaf_entry(LeafType.ANSWER, record.statement, record.jws)
    verify_proof(read_proof(served), entry, parse_vkey(us["vkey"]))

    proof = run("consistency", "2", "--log", f"us/{YEAR}", "--config", state.config)
    assert proof.output.startswith("old 2\n")
    assert run("consistency", "99", "--log", f"us/{YEAR}", "--config", state.config).exit_code != 0

    whole = run("audit", "--config", state.config)
    assert whole.exit_code == 0, whole.output
    assert "everything fits together" in whole.output
    folder = tmp_path / "var" / "log" / LogId("us", YEAR).path
    alone = run("audit", "--tiles", folder, "--log-key", us["vkey"])
    assert alone.exit_code == 0, alone.output
    assert f"walked {us['origin']}: {us['size']} entries" in alone.output

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    [bundle] = (copy / "tile" / "entries").rglob(f"*/{us['size']}")
    content = bytearray(bundle.read_bytes())
    content[20] ^= 1
    bundle.write_bytes(content)
    forged = run("audit", "--tiles", copy, "--log-key", us["vkey"])
    assert forged.exit_code == 1
    assert "root:" in forged.output
    assert run("audit", "--tiles", copy).exit_code != 0
    assert run("proof", "x", "--config", state.config).exit_code != 0


async def test_status_says_what_waits_and_who_integrates(state, tmp_path):
    """Also what a restore leaves: the mark that stops the integrator."""
    (tmp_path / "var" / LEDGER_MARKER).touch()
    found = json.loads(run("status", "--config", state.config, "--json").output)
    assert found["is_restored"] is True
    assert "REFUSED" in run("status", "--config", state.config).output
    (tmp_path / "var" / LEDGER_MARKER).unlink()
    async with running_gateway(state.folder) as gateway:
        await gateway.chat("one more")
        waiting = run("status", "--config", state.config).output
        assert "the oldest record without a proof is" in waiting
        loop = LedgerLoop(gateway.config)
        await loop.round()
        held = json.loads(run("status", "--config", state.config, "--json").output)
        assert f":{os.getpid()}:" in held["integrator"]
        await loop.close()
    assert json.loads(run("status", "--config", state.config, "--json").output)["integrator"] == ""


def test_an_audit_of_nothing_is_no_clean_audit(initialised, verismo):
    outcome = verismo("ledger", "audit")
    assert outcome.code == 2
    assert "no log to walk" in outcome.err
    assert "everything" not in outcome.out


def test_tiles_in_a_folder_that_is_not_there_are_named(initialised, verismo):
    raw = bytes(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    vkey = verifier_key("verismo/log/us/2026", raw).vkey
    outcome = verismo("ledger", "audit", "--tiles", "nowhere", "--log-key", vkey)
    assert outcome.code == 2
    assert "no folder nowhere" in outcome.err


def test_before_the_first_start_the_status_says_so(initialised, verismo):
    outcome = verismo("ledger", "status")
    assert outcome.code == 0
    assert "no log yet" in outcome.out


def test_the_audit_believes_no_version_of_the_key_ring_that_nobody_signed(state):
    config = load_config(state.config)
    files = KeyRingFiles(config.data)
    newest = open_rotation(config.data, config.keys).newest()
    forged = canonical.encode(extend(newest, newest.ring.keys, newest.ring.iat + 1))
    files.append(RingVersion(2, forged, newest.jws.encode(), newest.ring.iat + 1))
    found = run("audit", "--config", state.config)
    assert found.exit_code == 1
    assert "key: @keyring: version 2 of the key ring cannot be believed" in found.output


async def test_the_audit_knows_what_a_log_key_signed_before_it_was_revoked(state):
    config = load_config(state.config)
    rotation = open_rotation(config.data, config.keys)
    [kid] = [one.kid for one in rotation.newest().ring.keys if one.role == "log"]
    rotation.revoke(kid, clock_ms(), "copied")

    def found():
        lines = run("audit", "--config", state.config).output.splitlines()
        return sorted(line for line in lines if not line.startswith("walked"))

    words = f"its checkpoint is signed with {kid}, which was revoked"
    refused = [f"key: {config.plan.issuer}/log/{name}/{YEAR}: {words}" for name in ("ap", "us")]
    assert found() == ["2 problems", *refused]
    hurried = msgspec.structs.replace(config.ledger, checkpoint_interval_ms=1)
    loop = LedgerLoop(msgspec.structs.replace(config, ledger=hurried))
    await loop.round()  # every log is signed again, also one that has nothing new
    await loop.close()
    assert [line for line in found() if "problem" in line or "key:" in line] == []
