"""Who may do what: keys, tenants' separation, policy, enforcement, erasure, and what is kept."""

import json
import logging
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from tests.support.gateway import CHAT, Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import at_best, until

from verismo.adapters.vault_file import FileVault
from verismo.attest.commitment import commit
from verismo.attest.statement import read_statement
from verismo.gateway.capture import Captured
from verismo.model.ids import ProvId, TenantId
from verismo.wiring.backup import back_up, restore
from verismo.wiring.firststart import key_files
from verismo.wiring.state import open_directory
from verismo.wiring.vault import record_erasure

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPTURING = Setup(
    edits={'enforcement = "safelist"\n': 'enforcement = "safelist"\ncapture = true\n'}
)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer vk_aaaaaaaaaa_" + "0" * 43},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer"},
        {"x-api-key": "vk_"},
    ],
)
async def test_stranger_gets_an_unsigned_401_and_no_record(gateway: Gateway, headers):
    before = len(gateway.records())
    refused = gateway.telemetry.refused["unauthenticated"]
    answer = await gateway.send(
        "POST", "/v1/chat/completions", chat_body(), key=None, headers=headers
    )
    assert answer.status == 401
    assert not answer.is_signed
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert len(gateway.records()) == before
    assert gateway.telemetry.refused["unauthenticated"] == refused + 1


async def test_each_way_to_present_a_key_is_taken(gateway: Gateway):
    text = gateway.keys["TENANT_001"]
    for headers in (
        {"authorization": f"bearer {text}"},
        {"x-api-key": text},
        {"api-key": text},
    ):
        answer = await gateway.send("GET", "/v1/models", key=None, headers=headers)
        assert answer.status == 200, headers


async def test_wrong_secret_under_a_known_id_is_refused(gateway: Gateway):
    text = gateway.keys["TENANT_001"]
    other = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert (await gateway.chat(key=other)).status == 401


@pytest.mark.slow
async def test_expired_key_is_refused_and_a_future_expiry_is_not(gateway: Gateway):
    now_ms = time.time_ns() // 1_000_000
    _, late = gateway.add_key("TENANT_001", expires_ms=now_ms - 1)
    _, good = gateway.add_key("TENANT_001", expires_ms=now_ms + 600_000)
    await eventually(gateway, good, 200)
    assert (await gateway.chat(key=late)).status == 401


async def eventually(gateway: Gateway, key: str, status: int) -> float:
    """Wait until a key is answered with a status; returns how long it took, seconds."""
    began = time.monotonic()

    async def is_so() -> bool:
        return (await gateway.send("GET", "/v1/models", key=key)).status == status

    await until(is_so)
    return time.monotonic() - began


@pytest.mark.slow
async def test_revoked_key_is_refused_within_a_second(gateway: Gateway):
    async def took_s() -> float:
        key_id, text = gateway.add_key("TENANT_001")
        await eventually(gateway, text, 200)
        open_directory(gateway.config.data).revoke_api_key(key_id, time.time_ns() // 1_000_000)
        return await eventually(gateway, text, 401)

    assert await at_best(took_s, 1.0) <= 1.0


@pytest.mark.slow
async def test_key_of_a_tenant_that_is_not_configured_is_refused(gateway: Gateway):
    _, text = gateway.add_key("TENANT_999")
    _, marker = gateway.add_key("TENANT_001")
    await eventually(gateway, marker, 200)
    assert (await gateway.chat(key=text)).status == 401


@pytest.mark.slow
async def test_purpose_of_a_key_goes_before_the_tenants(gateway: Gateway):
    _, text = gateway.add_key("TENANT_001", purpose="marketing")
    await eventually(gateway, text, 200)
    answer = await gateway.chat(key=text)
    assert answer.status == 403
    assert answer.json()["reasons"] == ["purpose"]


async def test_another_tenants_record_is_as_unknown_as_one_that_never_was(gateway: Gateway):
    answer = await gateway.chat(key="TENANT_001")
    path = f"/v1/prov/{answer.prov_id}"
    foreign = await gateway.send("GET", path, key="TENANT_002")
    last = "0" if path[-1] != "0" else "1"
    never = await gateway.send("GET", path[:-1] + last, key="TENANT_002")
    assert (foreign.status, never.status) == (404, 404)

    def without_ids(answer):
        shown = {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")}
        return shown, re.sub(rb"urn:[^\"]*", b"", answer.body)

    assert without_ids(foreign) == without_ids(never)
    assert (await gateway.send("GET", path, key=None)).status == 401
    own = await gateway.send("GET", path, key="TENANT_001")
    auditor = await gateway.send("GET", path, key="auditor")
    assert own.status == auditor.status == 200
    assert own.body == auditor.body


@pytest.mark.parametrize("text", ["", "x", "../s0.db", "%2e%2e", "0" * 36, "'; DROP TABLE record"])
async def test_prov_path_takes_nothing_but_an_id(gateway: Gateway, text: str):
    assert (await gateway.send("GET", f"/v1/prov/{text}")).status == 404


@pytest.mark.parametrize(
    ("key", "model", "reason"),
    [
        ("TENANT_002", "analytics.summary", "purpose"),
        ("TENANT_003", CHAT, "purpose"),
    ],
)
async def test_policy_refusal_is_signed_and_names_its_rules(gateway: Gateway, key, model, reason):
    requests = gateway.upstream.requests
    answer = await gateway.chat("secret words", key=key, model=model)
    assert answer.status == 403
    assert answer.json()["reasons"] == [reason]
    report = await gateway.proven(answer, key=key)
    assert report.statement.policy.decision == "deny"
    assert report.statement.policy.bundle != "0" * 64
    assert gateway.upstream.requests == requests, "nothing was sent to a provider"
    policy = [hop for hop in gateway.hops(answer) if hop["kind"] == "policy"]
    assert policy[0]["attrs"]["reasons"] == reason


async def test_residency_refuses_a_deployment_outside_the_tenants_region(gateway: Gateway):
    answer = await gateway.send("POST", "/v1/operations/support.echo", b"{}", key="TENANT_002")
    assert answer.status == 403
    assert answer.json()["reasons"] == ["residency"]
    await gateway.proven(answer, key="TENANT_002")


async def test_tenants_region_decides_where_a_call_goes(gateway: Gateway):
    for key, region in (("TENANT_001", "us"), ("TENANT_002", "eu")):
        answer = await gateway.chat(key=key)
        report = await gateway.proven(answer, key=key)
        assert report.statement.region == region
        models = [hop["attrs"] for hop in gateway.hops(answer) if hop["kind"] == "model"]
        assert [hop["region"] for hop in models] == [region]


async def test_handle_of_a_tenant_is_stable_and_names_nobody(gateway: Gateway):
    first, second = [(await gateway.chat()).statement for _ in range(2)]
    other = (await gateway.chat(key="TENANT_002")).statement
    assert first.aud == second.aud != other.aud
    assert "TENANT" not in first.aud


@pytest.mark.slow
async def test_model_outside_a_tenants_list_is_refused(tmp_path_factory):
    setup = Setup(
        more='\n[deployments.big-us]\nprovider = "simulator"\nmodel = "o1-pro"\nregion = "us"\n',
        files={
            "operations/big.toml": '[operations.big]\nkind = "chat"\npurpose = "support"\n'
            'deployments = ["big-us"]\n'
        },
    )
    async with running_gateway(tmp_path_factory.mktemp("model"), setup) as gateway:
        answer = await gateway.chat(model="big")
        assert answer.status == 403
        assert answer.json()["reasons"] == ["model"]
        await gateway.proven(answer)


@pytest.mark.slow
async def test_id_only_tenant_runs_ids_but_no_alias_and_no_text(tmp_path_factory, user_document):
    setup = Setup(edits={'enforcement = "safelist"': 'enforcement = "id-only"'})
    async with running_gateway(tmp_path_factory.mktemp("id-only"), setup) as gateway:
        key = "TENANT_002"
        assert (await gateway.chat(key=key)).status == 200
        by_alias = await gateway.chat(key=key, model="gpt-4o")
        assert by_alias.status == 404
        assert CHAT in by_alias.json()["detail"]
        await gateway.proven(by_alias, key=key)
        body = {"query": user_document.text, "variables": {"id": "1"}}
        by_text = await gateway.send("POST", "/graphql", json.dumps(body).encode(), key=key)
        assert by_text.status == 404
        body = {"documentId": user_document.id, "variables": {"id": "1"}}
        by_id = await gateway.send("POST", "/graphql", json.dumps(body).encode(), key=key)
        assert by_id.status == 200
        listed = await gateway.send("GET", "/v1/models", key=key)
        assert "gpt-4o" not in {model["id"] for model in listed.json()["data"]}


async def test_safelist_runs_the_registered_text_and_no_other(gateway: Gateway, user_document):
    changed = user_document.text.replace("name", "email")
    for text, status in ((user_document.text, 200), (changed, 404), (f" {changed}", 404)):
        body = {"query": text, "variables": {"id": "1"}}
        answer = await gateway.send("POST", "/graphql", json.dumps(body).encode(), key="TENANT_002")
        assert answer.status == status
        await gateway.proven(answer, key="TENANT_002")


@pytest.mark.parametrize("end", ["\n", " \r\n\t"])
async def test_white_space_at_the_end_of_a_registered_text_makes_no_other_document(
    gateway: Gateway, user_document, end
):
    body = json.dumps({"query": user_document.text + end, "variables": {"id": "1"}}).encode()
    answer = await gateway.send("POST", "/graphql", body, key="TENANT_002")
    assert answer.status == 200
    report = await gateway.proven(answer, key="TENANT_002")
    assert report.statement.op == report.statement.req.doc == user_document.id
    sent = json.loads(gateway.upstream.kept[-1].body)["query"]
    assert sent == user_document.text, "the upstream gets the registered text"
    refused = await gateway.send("POST", "/graphql", body, key="TENANT_003")
    assert refused.status == 404, "id-only takes no text"


@pytest.mark.slow
async def test_observe_runs_the_unregistered_signs_it_and_notes_names_but_no_content(
    gateway: Gateway,
):
    marker = os.urandom(12).hex()
    chat = await gateway.chat(marker, model="gpt-unheard-of")
    report = await gateway.proven(chat)
    assert report.statement.op == "unregistered"
    text = "query Seen($id: ID!) { user(id: $id) { id } }"
    names = {"query": text, "variables": {"id": marker}, "operationName": "Seen"}
    assert (await gateway.send("POST", "/graphql", json.dumps(names).encode())).status == 200
    directory = open_directory(gateway.config.data)
    await until(lambda: len(directory.observations(TenantId("TENANT_001"))) >= 2)
    seen = directory.observations(TenantId("TENANT_001"))
    assert ("gpt-unheard-of", "") in {(one.name, one.document) for one in seen}
    assert ("Seen", text) in {(one.name, one.document) for one in seen}
    assert marker not in repr(seen)


async def test_observed_call_goes_to_a_deployment_of_its_kind(gateway: Gateway):
    body = json.dumps({"model": "text-embedding-3-large", "input": "hello"}).encode()
    answer = await gateway.send("POST", "/v1/embeddings", body)
    assert answer.status == 200
    assert answer.json()["model"] == "text-embedding-3-small", "the deployment's, not the client's"
    called = [hop["attrs"]["model"] for hop in gateway.hops(answer) if hop["kind"] == "model"]
    assert called == ["text-embedding-3-small"]


@pytest.mark.slow
async def test_observed_call_of_a_kind_without_a_deployment_is_refused(tmp_path_factory):
    edits = {'embedding = ["embedding-us", "embedding-eu"]\n': "embedding = []\n"}
    async with running_gateway(tmp_path_factory.mktemp("kind"), Setup(edits=edits)) as gateway:
        body = json.dumps({"model": "text-embedding-3-large", "input": "hello"}).encode()
        answer = await gateway.send("POST", "/v1/embeddings", body)
        assert answer.status == 404
        assert "[observe] names no deployment for embedding" in answer.json()["detail"]
        assert gateway.upstream.requests == 0
        await gateway.proven(answer)


@pytest.mark.slow
async def test_observed_documents_are_kept_without_values_and_without_the_clients_words(
    tmp_path_factory, caplog, capfd
):
    marker = "TOPSECRET" + os.urandom(12).hex()
    caplog.set_level(logging.DEBUG)
    number = str(int.from_bytes(os.urandom(7)))
    text = (
        f'query Sek($s: String) {{ user(id: "{marker}", n: {number}, s: $s) {{ id }} }} # {marker}'
    )
    requests = [
        {"query": text, "variables": {"s": marker}, "operationName": marker},
        {"query": text.replace("Sek", "Other"), "extensions": {"note": marker}},
        {"query": f"{{ user(id: '{marker}') {{ id }} }}"},
    ]
    async with running_gateway(tmp_path_factory.mktemp("values")) as gateway:
        for body in requests:
            await gateway.send("POST", "/graphql", json.dumps(body).encode())
        await gateway.send("GET", f"/graphql?{urlencode({'query': text})}")
        directory = open_directory(gateway.config.data)
        await until(lambda: sum(one.count for one in directory.observations()) == 4)
        kept = 'query {}($s: String) {{ user(id: "?", n: 0, s: $s) {{ id }} }} #'
        assert {(one.name, one.document, one.count) for one in directory.observations()} == {
            ("Sek", kept.format("Sek"), 2),
            ("Other", kept.format("Other"), 1),
            ("", "", 1),
        }
        # While it runs: the database's write-ahead log is among the files.
        files = b"".join(one.read_bytes() for one in every_file(gateway.config.data))
    files += b"".join(one.read_bytes() for one in every_file(gateway.config.data))
    # The test's own HTTP client logs what it asks.
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    logged = repr(ours).encode() + "".join(capfd.readouterr()).encode()
    for word in (marker, number):
        assert word.encode() not in files + logged


@pytest.mark.slow
async def test_observe_puts_nothing_in_the_place_of_what_is_registered_as_another_kind(
    gateway: Gateway,
):
    for name, path in (
        ("support.embedding", "/v1/embeddings"),
        ("support.echo", "/v1/operations/"),
    ):
        refused = await gateway.chat(model=name)
        assert refused.status == 404
        assert path in refused.json()["detail"]
        await gateway.proven(refused)


@pytest.mark.slow
async def test_lone_surrogate_as_a_name_does_not_end_the_observing(gateway: Gateway):
    """Observations are written by a loop that lives as long as the worker."""
    body = b'{"query":"query L { user(id: 1) { id } }","operationName":"L\\ud800"}'
    await gateway.send("POST", "/graphql", body)
    await gateway.chat(model="after\ud800the-surrogate")
    await gateway.chat(model="the-one-after")
    directory = open_directory(gateway.config.data)
    await until(lambda: "the-one-after" in {one.name for one in directory.observations()})


@pytest.mark.slow
@pytest.mark.parametrize("is_marked", [False, True], ids=["recorded", "marked-as-before"])
async def test_erased_tenant_has_no_readable_record_and_the_proof_stands(
    tmp_path_factory, is_marked
):
    async with running_gateway(tmp_path_factory.mktemp("erase")) as gateway:
        answer = await gateway.chat(key="TENANT_002")
        folder = key_files(gateway.config.data).tenants
        if is_marked:
            folder.mkdir(parents=True)
            (folder / "TENANT_002.erased").touch()
        else:
            record_erasure(gateway.config.data, TenantId("TENANT_002"), 1)
        for key in ("TENANT_002", "auditor"):
            read = await gateway.send("GET", f"/v1/prov/{answer.prov_id}", key=key)
            assert (read.status, read.json()["code"]) == (410, "erased")
        foreign = await gateway.send("GET", f"/v1/prov/{answer.prov_id}", key="TENANT_001")
        assert foreign.status == 404, "not even the erasure shows"
        assert answer.report(gateway.public).verdict == "VERIFIED"


@pytest.mark.slow
async def test_while_erasures_cannot_be_read_nobody_is_taken_for_not_erased(tmp_path_factory):
    async with running_gateway(tmp_path_factory.mktemp("unknown"), CAPTURING) as gateway:
        answer = await gateway.chat(key="TENANT_001")
        with closing(sqlite3.connect(gateway.config.data / "state.db")) as state:
            state.execute("ALTER TABLE erasure RENAME TO lost")
            read = await gateway.send("GET", f"/v1/prov/{answer.prov_id}", key="TENANT_001")
            assert (read.status, read.json()["code"]) == (503, "overloaded")
            assert "state.db" not in read.body.decode()
            refused = await gateway.chat(key="TENANT_002")
            assert (refused.status, refused.json()["code"]) == (503, "attestation_unavailable")
            state.execute("ALTER TABLE lost RENAME TO erasure")
        read = await gateway.send("GET", f"/v1/prov/{answer.prov_id}", key="TENANT_001")
        assert read.status == 200


@pytest.mark.slow
async def test_restored_backup_without_keys_has_not_forgotten_an_erasure(tmp_path_factory):
    folder, other = tmp_path_factory.mktemp("erased"), tmp_path_factory.mktemp("restored")
    async with running_gateway(folder) as gateway:
        answers = [await gateway.chat(key=key) for key in ("TENANT_001", "TENANT_002")]
        data = gateway.config.data
        record_erasure(data, TenantId("TENANT_002"), 1)
    back_up(data, other / "copy", with_keys=False)
    restore(other / "copy", other / data.name)
    # The operator's own copy, of before the erasure.
    shutil.copytree(data / "keys", other / data.name / "keys")
    async with running_gateway(other, Setup(checked=False)) as gateway:
        read = [
            await gateway.send("GET", f"/v1/prov/{one.prov_id}", key="auditor") for one in answers
        ]
        assert [one.status for one in read] == [200, 410]


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
async def test_captured_content_decrypts_and_is_what_was_committed_to(tmp_path_factory, streamed):
    async with running_gateway(tmp_path_factory.mktemp("capture"), CAPTURING) as gateway:
        answer = await gateway.chat("kept words", key="TENANT_002", stream=streamed)
        record = gateway.record_of(answer)
        assert b"kept words" not in record.captured
        vault = FileVault(key_files(gateway.config.data).tenants)
        tenant, prov_id = TenantId("TENANT_002"), ProvId(answer.prov_id)
        content = msgspec.msgpack.decode(
            vault.open(tenant, prov_id, record.captured), type=Captured
        )
        statement = read_statement(record.statement)
        assert commit("req", content.salt, content.request) == statement.req.commit
        assert b"kept words" in content.request
        if streamed:
            events = [part for part in answer.body.split(b"\n\n") if part.startswith(b"data: ")]
            assert content.response.split(b"\n\n")[:-1] == events
        else:
            assert commit("res", content.salt, content.response) == statement.res.commit
        other = await gateway.chat(key="TENANT_001")
        assert gateway.record_of(other).captured == b""


@pytest.mark.slow
async def test_a_capturing_tenant_that_was_erased_is_refused_before_anything_runs(tmp_path_factory):
    async with running_gateway(tmp_path_factory.mktemp("gone"), CAPTURING) as gateway:
        record_erasure(gateway.config.data, TenantId("TENANT_002"), 1)
        answer = await gateway.chat(key="TENANT_002")
        assert answer.status == 410
        assert answer.json()["code"] == "erased"
        assert answer.is_signed
        assert gateway.upstream.requests == 0
        assert (await gateway.chat(key="TENANT_001")).status == 200


@pytest.mark.slow
async def test_answer_that_cannot_be_kept_for_a_capturing_tenant_is_withheld(tmp_path_factory):
    """Serving it all the same would break what the tenant was promised."""
    async with running_gateway(tmp_path_factory.mktemp("unkept"), CAPTURING) as gateway:
        assert (await gateway.chat(key="TENANT_002")).status == 200
        key_file = key_files(gateway.config.data).tenants / "TENANT_002.key"
        key_file.chmod(0o644)
        withheld = await gateway.chat(key="TENANT_002")
        assert (withheld.status, withheld.json()["code"]) == (503, "attestation_unavailable")
        assert not withheld.is_signed
        assert int(withheld.headers["retry-after"]) >= 1
        assert (await gateway.chat(key="TENANT_001")).status == 200
        key_file.chmod(0o600)
        await gateway.proven(await gateway.chat(key="TENANT_002"), key="TENANT_002")


@pytest.mark.slow
async def test_without_capture_no_content_is_stored_and_nowhere_a_credential(
    tmp_path_factory, caplog, capfd
):
    """A random marker in prompt, answer and credential is looked for in every file and log."""
    prompt, credential = "prompt" + os.urandom(12).hex(), "sk-" + os.urandom(12).hex()
    setup = Setup(
        edits={'kind = "openai"\nb': 'kind = "openai"\napi_key_env = "PROVIDER_KEY"\nb'},
        environ={"PROVIDER_KEY": credential},
    )
    folder = tmp_path_factory.mktemp("marker")
    caplog.set_level(0)
    shown = b""
    async with running_gateway(folder, setup) as gateway:
        for content in (prompt, f"{prompt} [simulate: error=500]", f"{prompt} [simulate: garbage]"):
            for streamed in (False, True):
                answer = await gateway.chat(content, stream=streamed)
                shown += answer.body + repr(answer.headers).encode()
        sent = [seen.header("authorization") for seen in gateway.upstream.kept]
        assert sent == [f"Bearer {credential}"] * len(sent)
        words = re.findall(rb'"content":"([^"]{12,})', shown)
        assert words, "the simulator's answer says something"
        shown += repr(gateway.config).encode() + repr(gateway.worker).encode()
        shown += msgspec.json.encode(gateway.config.plan)
        shown += repr(gateway.telemetry.finished).encode()
    logged = caplog.text.encode() + "".join(capfd.readouterr()).encode()
    files = b"".join(one.read_bytes() for one in every_file(gateway.config.data))
    assert len(files) > 10_000
    assert credential.encode() not in shown + logged + files
    assert prompt.encode() not in logged + files
    for word in words:
        assert word not in logged + files


def every_file(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
