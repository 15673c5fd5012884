"""What the page says of valid, tampered, cut and incomplete answers, opened from disk."""

import json

import pytest
from forge import events, stream
from tests.support.verifypage import Vector

pytestmark = [
    pytest.mark.slow,
    pytest.mark.external("chromium"),
    pytest.mark.asyncio(loop_scope="session"),
]

CASES = [
    "whole",
    "whole-no-request",
    "whole-refusal",
    "stream",
    "stream-unsigned",
    "stream-events-swapped",
    "cut-after-head",
    "cut-within-event",
    "ended-early",
    "audience-other",
    "alg-none",
    "graph-attribute",
    "ledger",
    "ledger-no-proof",
    "ledger-stream",
    "ledger-other-answer",
    "witness-both",
    "witness-unknown",
    "ring-log-key",
    "ring-revoked-after-witnesses",
    "ring-refused-tampered",
]


def files_of(vector: Vector) -> dict[str, str]:
    """Return a vector as the files that a user would drop."""
    files = {"answer__json": vector.saved(jwks=None), "keys__json": vector.jwks}
    for number, key in enumerate(vector.ledger.get("log_keys", [])):
        files[f"log{number}__vkey"] = key
    if "witness_policy" in vector.ledger:
        files["witnesses__policy"] = vector.ledger["witness_policy"]
    if "keyring" in vector.ledger:
        files["ring__json"] = json.dumps(vector.ledger["keyring"])
    return files


@pytest.mark.parametrize("name", CASES)
async def test_the_page_and_the_vectors_agree(opened, name):
    vector = Vector(name)
    view = await opened()
    await view.give(**files_of(vector))
    assert await view.verdict() == vector.document["verdict"]
    outcomes = await view.outcomes()
    assert list(outcomes) == list(range(1, 18))
    failed = [number for number, outcome in outcomes.items() if outcome == "fail"]
    assert failed == vector.document["fails"]


async def test_a_valid_answer_is_told_in_a_sentence(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    assert await view.title() == "Verified"
    sentence = await view.text(".sentence")
    assert sentence == (
        "This answer is the one that https://gateway.example signed on "
        "21 September 2026, 14:13:20 UTC."
    )
    assert "It is." in await view.text(".answered")
    assert "Is it signed?" in await view.text(".asked")


async def test_keys_that_came_in_the_file_are_not_trusted(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(jwks=vector.document["jwks"]))
    assert await view.title() == "Not trusted"
    assert "signed on" not in await view.text(".verdict")
    assert "not trusted" in await view.text("[data-check='3']")
    await view.page.check("#own-keys")
    await view.page.locator("[data-keys=own]").wait_for()
    assert await view.title() == "Verified"


@pytest.mark.parametrize(
    ("name", "keys", "changes"),
    [
        ("whole", "embedded", {}),
        ("whole", "none", {}),
        ("whole", "given", {"nonce": "another"}),
        ("stream-unsigned", "given", {}),
        ("stream", "embedded", {}),
    ],
)
async def test_words_count_as_proven_only_if_the_verdict_says_so(opened, name, keys, changes):
    vector = Vector(name)
    files = {"answer__json": vector.saved(**changes)}
    if keys == "embedded":
        files["answer__json"] = vector.saved(jwks=vector.document["jwks"])
    if keys == "given":
        files["keys__json"] = vector.jwks
    view = await opened()
    await view.give(**files)
    await view.verdict()
    for place in (".asked .text", ".answered .text"):
        assert (await view.text(place)).startswith("Not proven: ")


async def test_another_answer_begins_another_case_by_the_same_keys(opened):
    first, second = Vector("ledger"), Vector("whole")
    view = await opened()
    await view.give(answer__json=first.saved(proof=None), keys__json=first.jwks)
    await view.give(a__tlog_proof=first.exchange["proof"], a__json=first.record)
    await view.page.locator("#parts [data-kind=record]").wait_for()
    await view.give(other__json=second.saved())
    await view.page.locator("#parts [data-kind=record]").wait_for(state="detached")
    assert await view.page.locator("#parts [data-kind=proof]").count() == 0
    assert await view.page.locator("#parts [data-kind=jwks]").count() == 1
    assert await view.title() == "Verified"


async def test_trust_in_own_keys_ends_with_another_file(opened):
    vector, other = Vector("whole"), Vector("whole-no-nonce")
    view = await opened()
    await view.give(answer__json=vector.saved(jwks=vector.document["jwks"]))
    await view.page.check("#own-keys")
    await view.page.locator("[data-keys=own]").wait_for()
    await view.give(other__json=other.saved(jwks=other.document["jwks"]))
    await view.page.locator("[data-keys=embedded]").wait_for()
    assert await view.title() == "Not trusted"


async def test_without_any_key_nothing_is_said(opened):
    view = await opened()
    await view.give(answer__json=Vector("whole").saved())
    assert await view.title() == "Not checked yet"
    assert "key set" in await view.text(".more")


async def test_a_changed_word_is_told(opened):
    vector = Vector("whole")
    response = {**vector.exchange["response"], "body_base64": "", "body_text": "It is not."}
    view = await opened()
    await view.give(answer__json=vector.saved(response=response), keys__json=vector.jwks)
    assert await view.title() == "Not valid"
    assert (await view.outcomes())[11] == "fail"
    assert "Do not rely on this answer" in await view.text(".more")


async def test_of_a_cut_stream_only_the_proven_words_count(opened):
    vector = Vector("cut-unsigned-tail")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    assert await view.title() == "Verified in part"
    assert await view.text(".sentence") == (
        "The first 2 events of this answer are the ones that https://gateway.example signed."
    )
    answered = await view.text(".answered")
    proven, _, rest = answered.partition("Not proven from here:")
    assert "word 1" in proven
    assert "inserted" in rest
    assert "inserted" not in proven


async def test_what_curl_kept_is_verified(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(
        body=vector.body, head=vector.head, asked__json=vector.question, keys__json=vector.jwks
    )
    assert await view.title() == "Verified"
    outcomes = await view.outcomes()
    assert (outcomes[10], outcomes[11]) == ("pass", "pass")


@pytest.mark.parametrize("order", [("body", "asked__json"), ("asked__json", "body")])
async def test_of_two_bodies_of_unknown_shape_the_headers_say_which_is_the_answer(opened, order):
    vector = Vector("whole")
    files = {"body": vector.body, "asked__json": b'{"anything": "an agent may be asked"}'}
    head = f"{vector.head.rstrip()}\r\ncontent-length: {len(vector.body)}\r\n\r\n"
    view = await opened()
    await view.give(head=head, keys__json=vector.jwks, **{name: files[name] for name in order})
    outcomes = await view.outcomes()
    assert (outcomes[10], outcomes[11]) == ("fail", "pass")


async def test_the_path_of_a_kept_request_can_be_said(opened):
    vector = Vector("whole-query")
    view = await opened()
    await view.give(head=vector.head, body=vector.body, asked=vector.question)
    await view.give(keys__json=vector.jwks)
    await view.page.locator("[data-check='10'][data-outcome=fail]").wait_for()
    request = vector.exchange["request"]
    await view.page.fill("#request-target", f"{request['path']}?{request['query']}")
    await view.page.keyboard.press("Tab")
    await view.page.locator("[data-check='10'][data-outcome=pass]").wait_for()
    assert await view.title() == "Verified"


async def test_headers_and_body_in_one_text_are_pasted(opened):
    vector = Vector("whole")
    view = await opened()
    await view.page.click("#paste-panel summary")
    await view.page.fill("#paste-text", vector.head + vector.body.decode())
    await view.page.click("#paste-form button")
    await view.give(keys__json=vector.jwks)
    await view.page.locator("[data-verdict=VERIFIED][data-keys=given]").wait_for()


async def test_a_record_alone_says_nothing_of_any_text(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(record__json=vector.record, keys__json=vector.jwks)
    assert await view.title() == "Record verified"
    assert "nothing is said about any text" in await view.text(".more")
    outcomes = await view.outcomes()
    assert (outcomes[10], outcomes[11], outcomes[13]) == ("skip", "skip", "pass")


async def test_a_record_brings_the_graph_of_an_answer(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(graph=None), keys__json=vector.jwks)
    await view.page.locator("[data-check='13'][data-outcome=skip]").wait_for()
    assert await view.page.locator(".graph").count() == 0
    await view.give(record__json=vector.record)
    await view.page.locator("[data-check='13'][data-outcome=pass]").wait_for()
    assert await view.page.locator(".graph").count() == 1


async def test_a_proof_file_makes_the_check_of_the_ledger(opened):
    vector = Vector("ledger")
    view = await opened()
    await view.give(answer__json=vector.saved(proof=None), keys__json=vector.jwks)
    await view.page.locator("[data-check='15'][data-outcome=skip]").wait_for()
    await view.give(
        answer__tlog_proof=vector.exchange["proof"], log__vkey=vector.ledger["log_keys"][0]
    )
    await view.page.locator("[data-check='15'][data-outcome=pass]").wait_for()
    assert await view.title() == "Verified"


async def test_what_was_not_checked_comes_with_what_to_add(opened):
    vector = Vector("whole-nothing-expected")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    await view.verdict()
    unmade = await view.text("#unmade")
    for words in ("Send an Attest-Nonce", "Add the .tlog-proof", "Add the gateway’s key ring"):
        assert words in unmade
    assert "That the answer is fresh" in await view.text("#limits")


async def test_what_the_user_expects_goes_before_the_file(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    assert "the gateway" in await view.text(".verdict .hint")
    await view.page.click("#expect-panel summary")
    await view.page.fill("#expect-issuer", "https://other.example")
    await view.page.keyboard.press("Tab")
    await view.page.locator("[data-verdict=INVALID]").wait_for()
    assert (await view.outcomes())[7] == "fail"


async def test_an_answer_that_is_too_old_fails_the_check_of_time(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    await view.page.click("#expect-panel summary")
    await view.page.fill("#expect-age", "5")
    await view.page.keyboard.press("Tab")
    await view.page.locator("[data-check='9'][data-outcome=fail]").wait_for()


async def test_a_key_set_with_a_private_key_is_refused_by_check_3(opened):
    vector = Vector("whole")
    key = {**vector.document["jwks"]["keys"][0], "d": "AA"}
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=json.dumps({"keys": [key]}))
    assert await view.verdict() == "INVALID"
    assert (await view.outcomes())[3] == "fail"


REFUSED = {
    "": "is empty",
    '{"v":1,': "begins like JSON but is none",
    "<!doctype html><title>504</title>": "is a web page",
    '{"error":{"message":"no"}}': "is an error that a server answered",
    '{"choices":[]}': "is the body of an answer",
    '{"a":1,"b":2}': "is JSON with the members a, b",
    "data: {}\n\n": "looks like the events of a stream",
    "HTTP/9\r\n\r\n": "has no status line",
    "hello": "is none of the kinds of file",
}


@pytest.mark.parametrize("content", REFUSED, ids=list(REFUSED.values()))
async def test_a_file_of_no_use_is_named_with_what_is_wrong(opened, content):
    view = await opened()
    await view.give(strange__txt=content or b"")
    notice = view.page.locator(".notice")
    await notice.wait_for()
    text = await notice.inner_text()
    assert text.startswith("strange.txt")
    assert REFUSED[content] in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"answer__json": '{"v":2,"response":{"status":200,"headers":[]}}'}, "version 2"),
        ({"answer__json": '{"v":1,"response":{}}'}, "Saved exchange answer.json"),
        ({"record__json": '{"statement":"*","signature":"","graph":{}}'}, "Provenance record"),
        ({"log__vkey": "gate.example/log/eu/2026+00000000+AAAA"}, "Now add the answer"),
    ],
)
async def test_a_part_that_cannot_be_used_is_named(opened, files, words):
    view = await opened()
    await view.give(**files)
    next_step = view.page.locator(".next")
    await next_step.wait_for()
    assert words in await next_step.inner_text()


async def test_a_log_key_that_is_none_is_named(opened):
    vector = Vector("whole")
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    await view.verdict()
    await view.give(log__vkey="gate.example/log/eu/2026+00000000+AAAA")
    next_step = view.page.locator(".next")
    await next_step.wait_for()
    assert "Log key log.vkey cannot be used" in await next_step.inner_text()


HOSTILE_BODIES = {
    "a type that is no text": {"choices": [{"message": {"content": [{"type": {"toString": 1}}]}}]},
    "a tool that is no text": {
        "choices": [{"message": {"tool_calls": [{"function": {"name": {"toString": 1}}}, None]}}]
    },
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
async def test_no_body_keeps_the_verdict_on_another_file_standing(opened, body):
    vector = Vector("whole")
    forged = {
        **vector.exchange["response"],
        "body_base64": "",
        "body_text": json.dumps(body),
    }
    view = await opened()
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    assert await view.verdict() == "VERIFIED"
    await view.give(forged__json=vector.saved(response=forged))
    await view.page.locator("[data-verdict=INVALID]").wait_for()


async def test_an_error_of_the_page_takes_the_last_verdict_away(opened):
    vector = Vector("whole")
    view = await opened(watched=False)
    await view.give(answer__json=vector.saved(), keys__json=vector.jwks)
    assert await view.verdict() == "VERIFIED"
    await view.page.evaluate(
        """() => {
          crypto.subtle.digest = () => Promise.reject(new Error("out of order"));
        }"""
    )
    await view.give(other__json=vector.saved(nonce=None))
    await view.page.locator(".verdict").wait_for(state="detached")
    assert "could not be judged: out of order" in await view.text(".next")
    assert "could not be judged" in await view.page.locator("#status").inner_text()


async def test_a_file_that_cannot_be_read_is_named(opened):
    vector = Vector("whole")
    view = await opened()
    await view.page.locator("#give").wait_for()
    await view.page.evaluate(
        """([answer, keys]) => {
          const dropped = new DataTransfer();
          dropped.items.add(new File([answer], "answer.json"));
          dropped.items.add(new File([keys], "keys.json"));
          dropped.items.add(new File([keys], "folder"));
          File.prototype.arrayBuffer = function () {
            return this.name === "folder"
              ? Promise.reject(new DOMException("a folder", "NotFoundError"))
              : Blob.prototype.arrayBuffer.call(this);
          };
          document.dispatchEvent(
            new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
        }""",
        [vector.saved(), vector.jwks],
    )
    assert await view.verdict() == "VERIFIED"
    notice = view.page.locator("p.notice")
    await notice.wait_for()
    assert "folder cannot be read" in await notice.inner_text()


async def test_a_mark_that_hides_an_event_moves_no_unproven_one_up(opened):
    marked = b"\xef\xbb\xbf: an event, for the mark before it\n\n"
    forged = b'data: {"choices":[{"delta":{"content":"Forged."}}]}\n\n'
    made = stream(sent=[marked, *events(3)], every=2)
    _, first, second, head, *_ = made.blocks
    case = made.case([first, second, head, forged])
    view = await opened()
    await view.give(answer__json=json.dumps(case.document()), keys__json=Vector("stream").jwks)
    assert await view.verdict() == "VERIFIED_PREFIX"
    assert "Forged." in await view.text(".answered .unproven")


async def test_hostile_texts_stay_texts(opened):
    vector = Vector("whole")
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    response = {
        **vector.exchange["response"],
        "body_base64": "",
        "body_text": json.dumps({"choices": [{"message": {"content": hostile}}]}),
    }
    view = await opened()
    await view.give(
        **{"<b>answer<__b>__json": vector.saved(response=response), "keys__json": vector.jwks}
    )
    await view.verdict()
    assert hostile in await view.text(".answered")
    assert await view.page.locator("img, #parts b").count() == 0
