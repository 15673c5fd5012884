"""Which requests are the gateway's, and which of them must carry a proof."""

import httpx2
import pytest

from verismo.client.site import Place, Site
from verismo.model.errors import ConfigError


@pytest.mark.parametrize(
    ("method", "url", "place"),
    [
        ("POST", "/v1/chat/completions", Place("proven", "/v1/chat/completions", b"")),
        ("GET", "/v1/models?a=%20", Place("proven", "/v1/models", b"a=%20")),
        ("GET", "/v1/a%2Fb", Place("proven", "/v1/a%2Fb", b"")),
        ("GET", "/v1/prov/0190", Place("read", "/v1/prov/0190", b"")),
        ("POST", "/v1/prov/0190", Place("proven", "/v1/prov/0190", b"")),
        ("GET", "/healthz", Place("read", "/healthz", b"")),
        ("GET", "/readyz", Place("read", "/readyz", b"")),
        ("POST", "/v1/attest/verify", Place("read", "/v1/attest/verify", b"")),
        ("GET", "/v1/attest/verify", Place("proven", "/v1/attest/verify", b"")),
        ("GET", "/healthz/x", Place("proven", "/healthz/x", b"")),
        ("GET", "/log/eu/2026/checkpoint", Place("read", "/log/eu/2026/checkpoint", b"")),
        ("POST", "/log/eu/2026/checkpoint", Place("proven", "/log/eu/2026/checkpoint", b"")),
        ("GET", "/v1/attest/0190/proof", Place("read", "/v1/attest/0190/proof", b"")),
        ("POST", "/v1/attest/0190/proof", Place("proven", "/v1/attest/0190/proof", b"")),
        ("GET", "/v1/attest/0190/x/proof", Place("proven", "/v1/attest/0190/x/proof", b"")),
        ("GET", "/v1/attest/0190/proof/x", Place("proven", "/v1/attest/0190/proof/x", b"")),
    ],
)
@pytest.mark.parametrize("mount", ["", "/llm", "/llm/"])
def test_the_path_is_what_the_gateway_sees(mount, method, url, place):
    base = "https://gate.example" + mount
    assert Site(base).place(method, httpx2.URL(base.rstrip("/") + url)) == place


@pytest.mark.parametrize(
    "url",
    [
        "http://gate.example/llm/v1/models",
        "https://gate.example:8443/llm/v1/models",
        "https://gate.example.evil/llm/v1/models",
        "https://evil@other.example/llm/v1/models",
        "https://gate.example/llmx/v1/models",
        "https://gate.example/v1/models",
        "https://gate.example/llm/../v1/models",
    ],
)
def test_another_origin_or_mount_is_elsewhere(url):
    assert Site("https://gate.example/llm").place("GET", httpx2.URL(url)).kind == "elsewhere"


def test_the_default_port_and_the_case_of_the_host_do_not_matter():
    site = Site("https://Gate.Example:443")
    assert site.place("POST", httpx2.URL("https://gate.example/v1/x")).kind == "proven"
    assert site.jwks_url == "https://gate.example/.well-known/attest/jwks.json"
    mounted = Site("http://127.0.0.1:8080/llm/")
    assert mounted.jwks_url == "http://127.0.0.1:8080/llm/.well-known/attest/jwks.json"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "gate.example",
        "ftp://gate.example",
        "https://",
        "https://gate.example?x=1",
        "https://gate.example/#x",
        "https://key@gate.example",
        "https://gate.example/v1",
        "https://gate.example/v1/",
        "https://gate.example:port",
    ],
)
def test_what_is_not_an_address_is_refused_with_a_next_step(base_url):
    with pytest.raises(ConfigError) as caught:
        Site(base_url)
    assert caught.value.advice
