"""The page as a gateway serves it, and whom it may talk to: that gateway, or nobody."""

import base64
import contextlib

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Error
from tests.support.gateway import running_gateway
from tests.support.verifypage import FILE_URL
from tests.support.waiting import until

from verismo.attest.exchange import Exchange, SavedRequest, SavedResponse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.external("chromium"),
    pytest.mark.asyncio(loop_scope="session"),
]

REACHES = """
async (url) => {
  try {
    await fetch(url, {mode: "no-cors"});
    return true;
  } catch {
    return false;
  }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(tmp_path_factory):
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def saved(answer) -> str:
    """Return an answer of the gateway as a saved exchange."""
    request = SavedRequest(
        method=answer.request.method,
        path=answer.request.path,
        body_base64=base64.b64encode(answer.request.body).decode(),
    )
    response = SavedResponse(
        status=answer.status,
        headers=tuple(answer.headers.items()),
        body_base64=base64.b64encode(answer.body).decode(),
    )
    exchange = Exchange(v=1, request=request, response=response, nonce=answer.nonce)
    return msgspec.json.encode(exchange).decode()


async def test_a_gateways_own_answer_is_verified_at_its_own_page(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(f"{gateway.url}/verify")
    await view.give(answer__json=saved(answer))
    await view.page.locator("[data-keys=none]").wait_for()
    await view.page.click("#gateway-panel summary")
    await view.page.click("#fetch-keys")
    await view.page.locator("[data-verdict=VERIFIED]").wait_for()
    assert (await view.outcomes())[17] == "pass"
    await view.page.fill("#gateway-key", gateway.keys["TENANT_001"])
    await view.page.click("#fetch-record")
    await view.page.locator("[data-check='13'][data-outcome=pass]").wait_for()
    assert await view.page.locator(".graph").count() == 1
    assert {url.split("/")[2] for url in view.requests if url.startswith("http")} == {
        f"127.0.0.1:{gateway.port}"
    }


async def test_a_stream_is_verified_at_the_gateways_page(opened, gateway):
    answer = await gateway.chat("Hello", stream=True)
    view = await opened(f"{gateway.url}/verify")
    await view.give(stream__json=saved(answer))
    await view.page.click("#gateway-panel summary")
    await view.page.click("#fetch-keys")
    await view.page.locator("[data-verdict=VERIFIED]").wait_for()


async def test_a_record_alone_is_fetched_by_its_prov_id(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(f"{gateway.url}/verify")
    await view.page.click("#gateway-panel summary")
    await view.page.click("#fetch-keys")
    await view.page.locator("#parts [data-kind=keyring]").wait_for()
    await view.page.fill("#gateway-prov-id", answer.prov_id)
    await view.page.fill("#gateway-key", gateway.keys["TENANT_001"])
    await view.page.click("#fetch-record")
    await view.page.locator("[data-verdict=VERIFIED]").wait_for()
    assert await view.title() == "Record verified"


@pytest.mark.parametrize(
    ("key", "words"), [("", "API key is missing"), ("TENANT_002", "belongs to another tenant")]
)
async def test_what_the_gateway_refuses_is_said(opened, gateway, key, words):
    answer = await gateway.chat("Hello")
    view = await opened(f"{gateway.url}/verify", watched=False)
    await view.page.click("#gateway-panel summary")
    await view.page.fill("#gateway-prov-id", answer.prov_id)
    await view.page.fill("#gateway-key", gateway.keys.get(key, ""))
    await view.page.click("#fetch-record")
    problem = view.page.locator("#gateway-problem:not(:empty)")
    await problem.wait_for()
    assert words in await problem.inner_text()


async def test_the_served_page_cannot_reach_anybody_else(opened, gateway):
    other = f"http://localhost:{gateway.port}/healthz"
    view = await opened(
        f"{gateway.url}/verify?gateway=http://localhost:{gateway.port}", watched=False
    )
    await view.page.locator("#give").wait_for()
    assert not await view.page.evaluate(REACHES, other)
    assert any(found.startswith("connect-src") for found in await view.violations())


async def test_the_page_from_disk_cannot_reach_anybody(opened, gateway):
    view = await opened(watched=False)
    await view.page.locator("#give").wait_for()
    assert "connect to nobody" in await view.text("#doors")
    assert not await view.page.evaluate(REACHES, f"{gateway.url}/healthz")
    assert [found.split(":")[0] for found in await view.violations()] == ["connect-src"]


async def test_the_page_from_disk_opens_one_door_when_a_gateway_is_named(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(watched=False)
    await view.page.click("#gateway-panel summary")
    await view.page.fill("#gateway-url", gateway.url)
    await view.page.click("#gateway-form button")
    await view.page.locator("#fetch-keys").wait_for(state="attached")
    assert gateway.url in await view.text("#doors")
    await view.give(answer__json=saved(answer))
    await view.page.click("#gateway-panel summary")
    await view.page.click("#fetch-keys")
    await view.page.locator("[data-verdict=VERIFIED]").wait_for()
    assert not await view.page.evaluate(REACHES, f"http://localhost:{gateway.port}/healthz")


async def test_a_record_that_the_gateway_does_not_open_to_files_is_explained(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(f"{FILE_URL}?gateway={gateway.url}", watched=False)
    await view.page.click("#gateway-panel summary")
    await view.page.fill("#gateway-prov-id", answer.prov_id)
    await view.page.fill("#gateway-key", gateway.keys["TENANT_001"])
    await view.page.click("#fetch-record")
    problem = view.page.locator("#gateway-problem:not(:empty)")
    await problem.wait_for()
    assert "cors_origins" in await problem.inner_text()
    assert f"{gateway.url}/verify" in await problem.inner_text()


async def test_keys_of_another_address_than_the_signer_says_are_named(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(f"{FILE_URL}?gateway={gateway.url}")
    await view.give(answer__json=saved(answer))
    await view.page.click("#gateway-panel summary")
    await view.page.click("#fetch-keys")
    await view.page.locator("[data-verdict=VERIFIED]").wait_for()
    assert f"The name verismo is only as good as {gateway.url}" in await view.text(".foreign")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("not an address", "This is no address of a gateway"),
        ("http://gate.example", "Over plain http"),
        ("https://gate.example;script-src *", "This is no address of a gateway"),
        ("javascript:alert(1)", "This is no address of a gateway"),
    ],
)
async def test_an_address_that_is_none_opens_no_door(opened, address, words):
    view = await opened(f"{FILE_URL}?gateway={address}")
    await view.page.locator(".notice").wait_for()
    assert words in await view.text(".notice")
    assert "connect to nobody" in await view.text("#doors")


async def test_an_api_key_is_neither_kept_nor_sent_elsewhere(opened, gateway):
    answer = await gateway.chat("Hello")
    view = await opened(f"{gateway.url}/verify")
    await view.page.click("#gateway-panel summary")
    await view.page.fill("#gateway-prov-id", answer.prov_id)
    await view.page.fill("#gateway-key", gateway.keys["TENANT_001"])
    await view.page.click("#fetch-record")
    await view.page.locator("#parts [data-kind=record]").wait_for()
    kept = await view.page.evaluate(
        "() => localStorage.length + sessionStorage.length + document.cookie.length"
    )
    assert kept == 0
    assert gateway.keys["TENANT_001"] not in " ".join(view.requests)
    await view.page.reload()
    await view.page.click("#gateway-panel summary")
    assert await view.page.input_value("#gateway-key") == ""


@pytest.mark.parametrize(
    "attempt",
    [
        "const s = document.createElement('script'); s.text = 'ran = 1'; document.body.append(s)",
        "document.body.setAttribute('onclick', 'ran = 1'); document.body.click()",
        "document.body.innerHTML = '<img src=x onerror=\"ran = 1\">'",
        "const s = document.createElement('script'); s.src = '/verify'; document.body.append(s)",
        "location = 'javascript:ran = 1'",
    ],
)
async def test_no_other_script_runs_in_the_page(opened, gateway, attempt):
    view = await opened(f"{gateway.url}/verify", watched=False)
    await view.page.locator("#give").wait_for()
    with contextlib.suppress(Error):
        await view.page.evaluate(f"() => {{ {attempt} }}")
    # Whatever was refused has been reported by then.
    await view.page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    assert await view.page.evaluate("typeof ran") == "undefined"
    assert await view.page.locator("h1").count() == 1


async def test_the_page_cannot_be_framed(opened, gateway):
    view = await opened("about:blank", watched=False)
    await view.page.set_content(f'<iframe src="{gateway.url}/verify"></iframe>')
    frame = view.page.frames[-1]
    await until(lambda: frame.url.startswith("chrome-error:"))
