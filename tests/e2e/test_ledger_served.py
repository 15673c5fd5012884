"""From an answer to its proof, with the real processes: served log, proof file, metrics."""

import pytest
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until

from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.keyentry import public_key
from verismo.attest.keyring import read_keyring
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.note import read_note, verifier_key
from verismo.attest.tile import read_bundle
from verismo.attest.tlogproof import read_proof, verify_proof
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow


async def log_key(serving, origin):
    """Return the verifier key of a log, from the key ring that the gateway publishes."""
    response = await serving.client.get(f"{serving.url}/.well-known/attest/keyring.json")
    ring = read_keyring(response.content)[-1].ring
    [entry] = [entry for entry in ring.keys if entry.role == "log"]
    return verifier_key(origin, public_key(entry).raw)


async def proof_of(serving, answer, key="TENANT_001"):
    """Return the answer that brings the proof file, once it is there."""
    headers = {"authorization": f"Bearer {serving.keys[key]}"}
    url = f"{serving.url}/v1/attest/{answer.prov_id}/proof"
    found = []

    async def is_there():
        response = await serving.client.get(url, headers=headers)
        if response.status_code == 409:
            assert response.headers["retry-after"] == "1"
            assert response.json()["error"]["code"] == "proof_pending"
            return False
        assert response.status_code == 200, response.text
        found.append(response)
        return True

    await until(is_there, 15.0)
    return found[0]


async def test_an_answer_gets_a_proof_that_verifies_with_the_key_ring_alone(tmp_path):
    async with (
        running_upstream(SimulatorSettings(), Record(10)) as upstream,
        serving_process(tmp_path, upstream, Setup()) as serving,
    ):
        answer = await serving.chat("hello")
        response = await proof_of(serving, answer)
        assert response.headers["content-type"] == "application/vnd.c2sp.tlog-proof"
        [record] = serving.records()
        proof = read_proof(response.content)
        origin = read_note(proof.checkpoint).text.split("\n")[0]
        assert origin.startswith("verismo/log/us/")
        entry = leaf_entry(LeafType.ANSWER, record.statement, record.jws)
        key = await log_key(serving, origin)
        assert verify_proof(proof, entry, key).origin == origin

        base = serving.url + origin.removeprefix("verismo")
        served = await serving.client.get(f"{base}/checkpoint")
        checkpoint, _ = open_checkpoint(served.content, key)
        path = f"{base}/tile/entries/000.p/{checkpoint.size}"
        assert entry in read_bundle((await serving.client.get(path)).content)
