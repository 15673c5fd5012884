"""The client side: refusals that every client understands, GraphQL requests in every shape."""

import json
from contextlib import suppress
from urllib.parse import quote, urlencode

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.clients import (
    GRAPHQL_ERROR_MEDIA,
    PROBLEM_MEDIA,
    GraphqlRequest,
    graphql_error_body,
    parse_graphql_request,
    problem_body,
)
from verismo.model.errors import (
    BudgetExhausted,
    ConfigError,
    DuplicateMember,
    IntegrityError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    OperationUnregistered,
    Overloaded,
    PolicyRefusal,
    RateLimited,
    RouteThrottled,
    Unauthenticated,
    UpstreamBroken,
    UpstreamTimeout,
    VerismoError,
)

DOCS = "https://docs.example/errors"
TEXT = "query($id:ID!){user(id:$id){name}}"
HASH = "71f7dc5758652baac68e4a10c50be732b741c892ade2883a99358f52b555286b"
ID = f"sha256:{HASH}"


def raised_by_the_sdk(error: VerismoError) -> openai.APIStatusError:
    """Let the real SDK read a refusal."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            error.status,
            headers={"content-type": PROBLEM_MEDIA, "x-request-id": "r1"},
            content=problem_body(error, "urn:uuid:r1", DOCS),
        )

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(
            api_key="vk_x", base_url="http://gateway.test/v1", http_client=http, max_retries=0
        ) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.models.list()
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected", "error_type"),
    [
        (MalformedRequest("x"), openai.BadRequestError, "invalid_request_error"),
        (Unauthenticated("x"), openai.AuthenticationError, "authentication_error"),
        (PolicyRefusal("x"), openai.PermissionDeniedError, "permission_error"),
        (NotFound("x"), openai.NotFoundError, "invalid_request_error"),
        (RateLimited("x"), openai.RateLimitError, "rate_limit_error"),
        (UpstreamBroken("x"), openai.InternalServerError, "upstream_error"),
        (IntegrityError("x"), openai.InternalServerError, "server_error"),
    ],
)
def test_the_openai_sdk_raises_its_own_class(
    error: VerismoError, expected: type[openai.APIStatusError], error_type: str
):
    caught = raised_by_the_sdk(error)
    assert type(caught) is expected
    assert (caught.code, caught.type, caught.param) == (error.code, error_type, None)
    assert (caught.status_code, caught.request_id) == (error.status, "r1")
    assert error.next_step in str(caught)


def test_a_problem_has_the_members_of_rfc_9457_in_their_types():
    error = PolicyRefusal("data may not leave eu.", reasons=("purpose", "residency"))
    problem = json.loads(problem_body(error, "urn:uuid:r1", DOCS))
    assert problem == {
        "type": "https://docs.example/errors#policy_refused",
        "title": "Refused by policy",
        "status": 403,
        "detail": "data may not leave eu.",
        "instance": "urn:uuid:r1",
        "next_step": PolicyRefusal.next_step,
        "code": "policy_refused",
        "reasons": ["purpose", "residency"],
        "error": {
            "message": f"data may not leave eu. {PolicyRefusal.next_step}",
            "type": "permission_error",
            "param": None,
            "code": "policy_refused",
        },
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BudgetExhausted("x", policies=("budget",)), "quota-exceeded"),
        (RateLimited("x", policies=("tenant",)), "quota-exceeded"),
        (RouteThrottled("x", policies=("route",)), "temporary-reduced-capacity"),
    ],
)
def test_a_429_has_a_registered_problem_type_and_names_the_quota(error, kind):
    problem = json.loads(problem_body(error, "urn:uuid:r1", DOCS))
    assert problem["type"] == f"https://iana.org/assignments/http-problem-types#{kind}"
    assert problem["violated-policies"] == list(error.policies)
    assert problem["code"] == error.code


def test_a_retry_time_is_told_where_there_is_one():
    assert (
        json.loads(problem_body(RateLimited("x", retry_after_s=3), "i", DOCS))["retry_after_s"] == 3
    )
    assert "retry_after_s" not in json.loads(problem_body(RateLimited("x"), "i", DOCS))


def test_an_operator_error_gives_its_own_advice():
    error = ConfigError("line 3", next_step="Rename it.")
    assert json.loads(problem_body(error, "i", DOCS))["next_step"] == "Rename it."


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_detail_gives_a_problem(detail: str):
    for body in (
        problem_body(NotFound(detail), "i", DOCS),
        graphql_error_body(NotFound(detail), "i", DOCS),
    ):
        assert json.loads(body)


@pytest.mark.parametrize(
    ("error", "registering", "code"),
    [
        (OperationUnregistered("x"), False, "PERSISTED_QUERY_NOT_FOUND"),
        (OperationUnregistered("x"), True, "PERSISTED_QUERY_NOT_SUPPORTED"),
        (MalformedRequest("x"), True, "MALFORMED_REQUEST"),
        (BudgetExhausted("x", retry_after_s=9), False, "BUDGET_EXHAUSTED"),
        (UpstreamTimeout("x"), False, "UPSTREAM_TIMEOUT"),
    ],
)
def test_graphql_errors_have_graphql_s_shape(error: VerismoError, registering: bool, code: str):
    body = json.loads(graphql_error_body(error, "urn:uuid:r1", DOCS, apq_registration=registering))
    assert list(body) == ["errors"]
    [only] = body["errors"]
    assert only["message"] == "x"
    assert only["extensions"]["code"] == code
    assert only["extensions"]["next_step"] == error.next_step
    assert only["extensions"]["type"] == (error.problem_type or f"{DOCS}#{error.code}")
    assert only["extensions"].get("retry_after_s") == error.retry_after_s
    assert GRAPHQL_ERROR_MEDIA == "application/graphql-response+json"


def test_graphql_errors_name_the_rules_that_refused():
    body = graphql_error_body(PolicyRefusal("x", reasons=("purpose",)), "i", DOCS)
    assert json.loads(body)["errors"][0]["extensions"]["reasons"] == ["purpose"]


def posted(members: dict[str, object]) -> GraphqlRequest:
    return parse_graphql_request("POST", "", json.dumps(members).encode())


def got(**parameters: str) -> GraphqlRequest:
    return parse_graphql_request("GET", urlencode(parameters), b"")


def apollo(digest: object = HASH, version: object = 1) -> dict[str, object]:
    return {"persistedQuery": {"version": version, "sha256Hash": digest}}


@pytest.mark.parametrize(
    ("members", "document_id"),
    [
        ({"documentId": ID}, ID),
        ({"documentId": "x-git:abc/1"}, "x-git:abc/1"),
        ({"documentId": "GetUser"}, "GetUser"),
        ({"extensions": apollo()}, ID),
        ({"doc_id": "5d41402abc4b2a76b9719d911017c592"}, "5d41402abc4b2a76b9719d911017c592"),
        ({"id": "5d41402abc4b2a76b9719d911017c592"}, "5d41402abc4b2a76b9719d911017c592"),
        ({"documentId": ID, "extensions": apollo(), "id": None}, ID),
    ],
)
def test_every_way_of_naming_a_document_is_read(members: dict[str, object], document_id: str):
    request = posted({**members, "operationName": "Q", "variables": {"id": 1}})
    assert (request.document_id, request.text) == (document_id, "")
    assert (request.operation_name, request.by_id, request.apq_registration) == ("Q", True, False)
    assert request.body.members["variables"] == {"id": 1}


def test_text_is_named_by_the_hash_of_its_exact_bytes():
    request = posted({"query": TEXT})
    assert (request.document_id, request.text, request.by_id) == (ID, TEXT, False)
    assert request.operation_name == ""
    assert posted({"query": TEXT + " "}).document_id != ID


def test_apollo_registration_is_recognised():
    request = posted({"query": TEXT, "extensions": apollo()})
    assert request.apq_registration
    assert (request.document_id, request.text, request.by_id) == (ID, TEXT, False)


def test_a_poisoned_registration_is_refused():
    with pytest.raises(MalformedRequest, match="hash of `query`"):
        posted({"query": "mutation{drop}", "extensions": apollo()})


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"query": None},
        {"query": ""},
        {"query": 1},
        {"query": "\ud800"},
        {"query": TEXT, "documentId": ID},
        {"query": TEXT, "id": "x"},
        {"documentId": ID, "doc_id": "x"},
        {"documentId": ID, "extensions": apollo("0" * 64)},
        {"documentId": ID.upper()},
        {"documentId": f"sha256:{HASH.upper()}"},
        {"documentId": ID[:-1]},
        {"documentId": ID + "\n"},
        {"documentId": "md5:5d41402abc4b2a76b9719d911017c592"},
        {"documentId": ""},
        {"documentId": "a b"},
        {"documentId": "é"},
        {"documentId": "a" * 257},
        {"documentId": 7},
        {"extensions": apollo(HASH.upper())},
        {"extensions": apollo(None)},
        {"extensions": apollo(version=2)},
        {"extensions": apollo(version=True)},
        {"extensions": {"persistedQuery": "x"}},
        {"documentId": ID, "extensions": []},
        {"documentId": ID, "variables": []},
        {"documentId": ID, "variables": "{}"},
        {"documentId": ID, "operationName": 1},
    ],
)
def test_bad_combinations_are_refused(members: dict[str, object]):
    with pytest.raises(MalformedRequest):
        posted(members)


@pytest.mark.parametrize("body", [b"", b"[]", b'[{"documentId":"x"}]', b"\xff", b"{"])
def test_batches_and_what_is_no_object_are_refused(body: bytes):
    with pytest.raises(MalformedRequest):
        parse_graphql_request("POST", "", body)


def test_a_document_named_twice_is_refused():
    with pytest.raises(DuplicateMember):
        parse_graphql_request("POST", "", b'{"documentId":"a","documentId":"b"}')
    with pytest.raises(DuplicateMember, match="query string"):
        parse_graphql_request("GET", "documentId=a&documentId=b", b"")


def test_a_get_reads_the_query_string():
    request = got(
        documentId=ID, operationName="Q é", variables='{ "a" : 1.50 }', extensions='{"t":[]}', v="1"
    )
    assert (request.document_id, request.operation_name, request.by_id) == (ID, "Q é", True)
    start, end = request.body.spans["variables"]
    assert request.body.text[start:end] == '{ "a" : 1.50 }'
    assert request.body.members["extensions"] == {"t": []}
    assert "v" not in request.body.members


def test_a_get_may_carry_text_or_apollo_s_hash():
    assert got(query=TEXT).document_id == ID
    assert got(extensions=json.dumps(apollo())).by_id
    assert got(query=TEXT, extensions=json.dumps(apollo()), variables="").apq_registration


@pytest.mark.parametrize(
    "query",
    [
        "",
        "documentId=",
        "documentId=%ff",
        "documentId=é",
        "documentId=a&variables={",
        "documentId=a&variables=[]",
        "documentId=a&variables=" + quote('{"a":1},"documentId":"b"'),
        "documentId=a&variables=" + quote('{"a":1}} {'),
        "documentId=a&" + "&".join(f"x{n}=1" for n in range(64)),
    ],
)
def test_a_broken_query_string_is_refused(query: str):
    with pytest.raises(MalformedRequest):
        parse_graphql_request("GET", query, b"")


def test_duplicates_within_variables_are_refused():
    with pytest.raises(DuplicateMember):
        got(documentId="a", variables='{"a":1,"a":2}')


def test_a_get_with_a_body_and_other_methods_are_refused():
    with pytest.raises(MalformedRequest, match="no body"):
        parse_graphql_request("GET", "documentId=a", b"{}")
    with pytest.raises(MethodNotAllowed):
        parse_graphql_request("PUT", "", b"{}")


def test_the_query_string_of_a_post_names_nothing():
    with pytest.raises(MalformedRequest):
        parse_graphql_request("POST", "documentId=a", b"{}")


@given(st.sampled_from(["GET", "POST", "HEAD"]), st.text(max_size=60), st.binary(max_size=60))
def test_any_request_is_read_or_refused(method: str, query: str, body: bytes):
    for text in (query, f"documentId={query}", f"query={query}&variables={query}"):
        for octets in (b"", body, b'{"query":"' + body + b'"}', b'{"extensions":' + body + b"}"):
            with suppress(VerismoError):
                request = parse_graphql_request(method, text, octets)
                assert request.document_id


def test_overload_has_a_retry_time_in_both_shapes():
    error = Overloaded("x", retry_after_s=1)
    assert b'"retry_after_s":1' in problem_body(error, "i", DOCS)
    assert b'"retry_after_s":1' in graphql_error_body(error, "i", DOCS)
