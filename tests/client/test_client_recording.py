"""A saved exchange proves its answer later, by the command that anybody can run offline."""

import json

import httpx2
import pytest
from click.testing import CliRunner
from signing_gateway import jwks

from verismo.attest.exchange import expectation, read_exchange, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier
from verismo.cli.verify import verify
from verismo.client.recording import ExchangeNotKept, report_of, save_exchange
from verismo.client.settings import FetchedKeys
from verismo.client.transport import VerifyingTransport


def exchange_of(server, settings, **body) -> httpx2.Response:
    with httpx2.Client(transport=VerifyingTransport(settings)) as http:
        return http.post(server.url + "/v1/chat/completions?a=1", json={"model": "m", **body})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fetches", [False, True])
def test_a_saved_exchange_is_verified_offline(stream, fetches, server, trusted, tmp_path):
    changes = {"keys": FetchedKeys()} if fetches else {}
    settings = trusted(keeps_exchanges=True, **changes)
    document = save_exchange(exchange_of(server, settings, stream=stream))
    path, keys = tmp_path / "answer.json", tmp_path / "jwks.json"
    path.write_bytes(document)
    keys.write_bytes(jwks(server.token))
    ran = CliRunner().invoke(verify, [str(path), "--jwks", str(keys), "--json"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.output)[0]
    assert result["verdict"] == "VERIFIED"
    skipped = [check["number"] for check in result["checks"] if check["outcome"] == "skip"]
    assert skipped == [13, *([14] if stream else []), 15, 16, 17]


def test_an_altered_document_is_refused_offline(server, trusted):
    document = save_exchange(exchange_of(server, trusted(keeps_exchanges=True)))
    exchange = json.loads(document)
    exchange["nonce"] = "A" * 43
    saved = read_exchange(json.dumps(exchange).encode())
    report = verify_exchange(Verifier(read_jwks(jwks(server.token))), saved, expectation(saved))
    assert report.verdict == "INVALID"


def test_the_graph_is_saved_as_it_was_served(server, trusted):
    answer = exchange_of(server, trusted(keeps_exchanges=True))
    assert read_exchange(save_exchange(answer, b'{"a": 1}')).graph == '{"a": 1}'


def test_the_proof_is_saved_as_it_was_served(server, trusted):
    answer = exchange_of(server, trusted(keeps_exchanges=True))
    proof = "c2sp.org/tlog-proof@v1\nindex 0\n\n— x\n"
    assert read_exchange(save_exchange(answer, proof=proof.encode())).proof == proof
    assert read_exchange(save_exchange(answer, proof=b"\xff")).proof == "\ufffd"


def test_nothing_is_kept_unless_asked_for(server, trusted):
    answer = exchange_of(server, trusted())
    assert report_of(answer).verdict == "VERIFIED"
    with pytest.raises(ExchangeNotKept):
        save_exchange(answer)


def test_a_stream_over_the_limit_is_verified_but_not_kept(server, trusted):
    answer = exchange_of(server, trusted(keeps_exchanges=True, body_bytes_max=500), stream=True)
    assert report_of(answer).verdict == "VERIFIED"
    with pytest.raises(ExchangeNotKept):
        save_exchange(answer)
