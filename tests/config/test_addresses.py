"""Listeners, networks, origins and base URLs."""

import pytest


def listen(workspace, text: str) -> list[str]:
    workspace.append("verismo.toml", text)
    return workspace.problems()


@pytest.mark.parametrize(
    "text",
    [
        "[control]\nport = 8080\n",
        '[listen]\nhost = "0.0.0.0"\nport = 8081\n',
        '[listen]\nhost = "localhost"\n[control]\nport = 8080\n',
        '[listen]\nhost = "::"\nport = 9\n[control]\nport = 9\n',
    ],
)
def test_one_port_for_both_listeners_is_refused(workspace, text):
    (problem,) = listen(workspace, text)
    assert "is the public listener's port too" in problem


def test_one_port_on_two_addresses_is_allowed(workspace):
    workspace.append("verismo.toml", '[listen]\nhost = "10.0.0.1"\n[control]\nport = 8080\n')
    assert workspace.load().control.port == 8080


def test_both_listeners_may_ask_for_a_free_port(workspace):
    workspace.append("verismo.toml", "[listen]\nport = 0\n[control]\nport = 0\n")
    assert workspace.load().listen.port == 0


def test_a_control_listener_beyond_loopback_is_a_warning(workspace):
    workspace.append("verismo.toml", '[control]\nhost = "0.0.0.0"\n')
    assert "plain HTTP" in workspace.warnings()[0]


@pytest.mark.parametrize("host", ["a b", "http://x", "", "host/path"])
def test_a_host_that_cannot_be_one_is_refused(workspace, host):
    (problem,) = listen(workspace, f'[listen]\nhost = "{host}"\n')
    assert problem.startswith("verismo.toml:31: listen.host: ")


@pytest.mark.parametrize("network", ["10.0.0.0/33", "10.0.0.1/8", "proxy", "", "fe80::/129"])
def test_a_bad_network_is_refused(workspace, network):
    (problem,) = listen(workspace, f'[listen]\ntrusted_proxies = [\n"{network}"]\n')
    assert problem.startswith("verismo.toml:32: listen.trusted_proxies[0]: ")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_address_spoofing_through_a_proxy_list_of_everybody_is_refused(workspace, network):
    (problem,) = listen(workspace, f'[listen]\ntrusted_proxies = ["{network}"]\n')
    assert "trusts everybody" in problem


def test_networks_and_single_addresses_are_taken(workspace):
    workspace.append("verismo.toml", '[listen]\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n')
    assert workspace.load().listen.trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize("origin", ["app.example.com", "https://a/b", "https://a/", "null", ""])
def test_what_is_no_origin_is_refused(workspace, origin):
    (problem,) = listen(workspace, f'[listen]\ncors_origins = ["{origin}"]\n')
    assert "is not an origin" in problem


def test_origins_are_taken(workspace):
    workspace.append("verismo.toml", '[listen]\ncors_origins = ["*", "https://a.example:8443"]\n')
    assert workspace.load().listen.cors_origins == ("*", "https://a.example:8443")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("ftp://127.0.0.1", "must start with http"),
        ("127.0.0.1:80", "must start with http"),
        ("http://", "must start with http"),
        ("", "must start with http"),
        ("http://127.0.0.1:99999", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://127.0.0.1:0", "port 0"),
        ("http://user:pass@127.0.0.1", "holds a credential"),
        ("http://127.0.0.1/v1?key=1", "query or fragment"),
        ("http://127.0.0.1/v1#x", "query or fragment"),
        ("http://127.0.0.1/v1?", "query or fragment"),
        ("http://127.0.0.1/a b", "space"),
        ("http://127.0.0.1/é", "outside ASCII"),
    ],
)
def test_a_bad_base_url_is_refused(workspace, url, part):
    workspace.replace("verismo.toml", '"http://127.0.0.1:9090/v1"', f'"{url}"')
    (problem,) = workspace.problems()
    assert problem.startswith("verismo.toml:6: providers.up.base_url: ")
    assert part in problem
    assert "pass" not in problem


def test_trailing_slashes_of_a_base_url_are_dropped(workspace):
    workspace.replace("verismo.toml", '9090/v1"', '9090/v1//"')
    assert workspace.load().plan.providers["up"].base_url == "http://127.0.0.1:9090/v1"


@pytest.mark.parametrize("host", ["api.example.com", "203.0.113.7x.org", "8.8.8.8"])
def test_plain_http_to_another_machine_is_a_warning(workspace, host):
    workspace.replace("verismo.toml", "127.0.0.1:9090/v1", f"{host}/v1")
    assert "in clear" in workspace.warnings()[0]


@pytest.mark.parametrize("host", ["localhost", "10.1.2.3", "model", "model.internal", "[::1]"])
def test_plain_http_within_a_network_is_not_warned_of(workspace, host):
    workspace.replace("verismo.toml", "127.0.0.1:9090/v1", f"{host}/v1")
    assert workspace.warnings() == []


@pytest.mark.parametrize("key", ["docs_base_url", "telemetry.otlp_endpoint"])
def test_optional_urls_are_checked_too(workspace, key):
    workspace.write("verismo.toml", f'{key} = "nowhere"\n' + workspace.file.read_text())
    assert workspace.problems() == [
        f"verismo.toml:1: {key}: must start with http:// or https:// and name a host"
    ]
