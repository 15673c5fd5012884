"""A gateway with witnesses that others run: an answer's proof has their quorum."""

import json

import pytest
from click.testing import CliRunner
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until
from tests.support.witness import open_place, serving

from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.note import parse_vkey
from verismo.attest.tlogproof import QuorumMissed, read_proof, verify_proof
from verismo.attest.witnesspolicy import read_policy
from verismo.cli.main import cli
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.witness import trusted_log

pytestmark = pytest.mark.slow


def status(config):
    found = CliRunner().invoke(cli, ["ledger", "status", "--config", str(config), "--json"])
    return json.loads(found.output)["logs"] if found.exit_code == 0 else []


async def test_an_answer_is_proven_under_a_checkpoint_that_a_quorum_has_seen(tmp_path):
    clock_s = 1_790_000_000
    alice = open_place(tmp_path / "alice", [], lambda: clock_s, "alice.example/w")
    bob = open_place(tmp_path / "bob", [], lambda: clock_s, "bob.example/w")
    async with serving(alice) as alice_url, serving(bob) as bob_url:
        policy = (
            f"witness alice {alice.key.vkey} {alice_url}\n"
            f"witness bob {bob.key.vkey} {bob_url}\n"
            "group both all alice bob\nquorum both\n"
        )
        setup = Setup(
            edits={'# policy = ""': 'policy = "witnesses"'},
            files={"witnesses": policy},
        )
        gateway = tmp_path / "gateway"
        async with (
            running_upstream(SimulatorSettings(), Record(10)) as upstream,
            serving_process(gateway, upstream, setup) as running,
        ):
            answer = await running.chat("Hello")
            prov_id = answer.prov_id
            await until(lambda: bool(status(running.config.path)), 30)
            logs = status(running.config.path)
            assert {one["witnessed"]["words"] for one in logs} <= {
                "nothing published",
                "NO QUORUM: nobody",
            }
            # The witnesses' operators take the key from the gateway's, once for all logs.
            for witness in (alice, bob):
                vkey = parse_vkey(logs[0]["vkey"]).vkey
                witness._store.trust([trusted_log(vkey, every_log=True)])

            headers = {"authorization": f"Bearer {running.keys['TENANT_001']}"}
            url = f"{running.url}/v1/attest/{prov_id}/proof"
            [record] = [one for one in running.records() if one.prov_id == prov_id]
            entry = leaf_entry(LeafType.ANSWER, record.statement, record.jws)
            proven = []

            async def is_proven():
                served = await running.client.get(url, headers=headers)
                if served.status_code == 409:
                    return False
                proof = read_proof(served.content)
                [vkey] = [
                    one["vkey"]
                    for one in status(running.config.path)
                    if one["origin"] in proof.checkpoint.decode()
                ]
                try:
                    policy_read = read_policy(policy.encode())
                    proven.append(verify_proof(proof, entry, parse_vkey(vkey), policy_read))
                except QuorumMissed:
                    return False
                return True

            await until(is_proven, 60)
            assert proven[0].cosigned.names == ("alice", "bob")
            assert proven[0].cosigned.quorum_at_s == clock_s
            found = [one["witnessed"] for one in status(running.config.path)]
            assert any(one["newest"] for one in found)
