"""Records without their answer (`/v1/prov/`): who signed what, and the graph; as Python says it."""

import json

import pytest
from tests.support.verifyjs import VECTORS, in_node, needs_node, said

from verismo.attest.exchange import fold
from verismo.attest.headers import ProofHeaders, read_proof_headers
from verismo.attest.keys import read_jwks
from verismo.attest.report import Expectation
from verismo.attest.verify import Verifier
from verismo.cli.vectors import Vector, read_vectors, run_vector
from verismo.model import base64url

NAMES = ("whole", "whole-optional-absent", "statement-taken-out-early", "statement-taken-out")
STREAM_NAMES = ("stream", "stream-no-marker", "ended-early")


def proof_of(vector: Vector) -> ProofHeaders:
    """Return statement and signature of a vector's answer, without the salt."""
    if vector.name in STREAM_NAMES:
        report = run_vector(vector)
        return ProofHeaders(report.prov_id, b"", report.payload, report.jws)
    proof = read_proof_headers(fold(vector.exchange.response.headers))
    assert proof is not None
    return ProofHeaders(proof.prov_id, b"", proof.statement, proof.jws)


def changes(proof: ProofHeaders, graph: str) -> list[tuple[ProofHeaders, str]]:
    """Return a record as it is, and forged in each of its parts."""
    other_id = proof.prov_id[:-1] + ("0" if proof.prov_id[-1] != "0" else "1")
    flipped = ("A" if proof.jws[-4] != "A" else "B").join((proof.jws[:-4], proof.jws[-3:]))
    return [
        (proof, graph),
        (proof, graph.replace('"number":0', '"number":7')),
        (proof, "{}"),
        (ProofHeaders(other_id, b"", proof.statement, proof.jws), graph),
        (ProofHeaders(proof.prov_id, b"", proof.statement + b" ", proof.jws), graph),
        (ProofHeaders(proof.prov_id, b"", b"", proof.jws), graph),
        (ProofHeaders(proof.prov_id, b"", proof.statement, flipped), graph),
        (ProofHeaders(proof.prov_id, b"", proof.statement, ""), graph),
    ]


@needs_node
@pytest.mark.slow
def test_records_are_judged_as_python_judges_them():
    vectors = [one for one in read_vectors(VECTORS) if one.name in (*NAMES, *STREAM_NAMES)]
    assert len(vectors) == len(NAMES) + len(STREAM_NAMES)
    deeds, demanded = [], []
    for vector in vectors:
        verifier = Verifier(read_jwks(bytes(vector.jwks)))
        assert vector.exchange.graph is not None
        for proof, graph in changes(proof_of(vector), vector.exchange.graph):
            report = verifier.answer(proof, None, None, Expectation(), graph.encode())
            outcomes = [check.outcome for check in report.checks]
            demanded.append((report.verdict, report.events, outcomes))
            statement = base64url.encode(proof.statement)
            record = {"prov_id": proof.prov_id, "statement": statement, "signature": proof.jws}
            document = f'{json.dumps(record)[:-1]}, "graph": {graph} }}'
            deeds.append(
                {"do": "record", "document": document, "jwks": bytes(vector.jwks).decode()}
            )
    assert [said(one) for one in in_node(deeds)] == demanded
    assert {verdict for verdict, _, _ in demanded} == {"VERIFIED", "VERIFIED_PREFIX", "INVALID"}
