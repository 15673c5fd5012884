"""Credentials: found, masked, refused when others can read them."""

import pytest

KEY = "sk-secret-value"


@pytest.fixture
def with_env(workspace):
    workspace.replace("verismo.toml", '/v1"', '/v1"\napi_key_env = "UP_KEY"')
    return workspace


@pytest.fixture
def with_file(workspace):
    workspace.replace("verismo.toml", '/v1"', '/v1"\napi_key_file = "secrets/up"')
    return workspace


def test_a_credential_comes_from_the_environment(with_env):
    config = with_env.load({"UP_KEY": KEY}, require_credentials=True)
    assert config.credentials["up"].reveal() == KEY
    assert config.plan.providers["up"].auth_header == "authorization"
    assert config.plan.providers["up"].auth_scheme == "Bearer "


def test_a_credential_comes_from_a_file_of_its_owner(with_file):
    with_file.write("secrets/up", f"{KEY}\n").chmod(0o600)
    assert with_file.load(require_credentials=True).credentials["up"].reveal() == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_credential_file_that_others_can_reach_is_refused(with_file, mode):
    with_file.write("secrets/up", KEY).chmod(mode)
    (problem,) = with_file.problems()
    assert problem.startswith("verismo.toml:7: providers.up.api_key_file: ")
    assert "chmod 600" in problem
    assert KEY not in problem


@pytest.mark.parametrize("environ", [{}, {"UP_KEY": ""}, {"UP_KEY": " \n"}])
def test_a_missing_credential_warns_or_fails_as_asked(with_env, environ):
    text = "verismo.toml:7: providers.up.api_key_env: the environment variable UP_KEY is not set"
    assert with_env.warnings(environ) == [text]
    assert "up" not in with_env.load(environ).credentials
    assert with_env.problems(environ, require_credentials=True) == [text]


def test_a_missing_credential_file_warns_or_fails_as_asked(with_file):
    assert "is not there or is empty" in with_file.warnings()[0]
    assert "is not there or is empty" in with_file.problems(require_credentials=True)[0]


def test_a_provider_without_credential_is_called_without_one(workspace):
    config = workspace.load(require_credentials=True)
    assert config.credentials == {}
    assert config.plan.providers["up"].auth_header == ""
    assert config.plan.providers["up"].auth_scheme == ""


@pytest.mark.parametrize("value", ["a b", "a\r\nx-admin: 1", "kéy", "a\x00b"])
def test_header_injection_by_a_credential_is_refused(with_env, value):
    (problem,) = with_env.problems({"UP_KEY": value})
    assert "space, line break or non-ASCII" in problem
    assert value not in problem


def test_a_credential_in_place_of_its_name_is_not_shown(workspace):
    workspace.replace("verismo.toml", '/v1"', f'/v1"\napi_key_env = "{KEY}"')
    (problem,) = workspace.problems()
    assert "not the credential itself" in problem
    assert KEY not in problem


def test_a_credential_written_into_the_file_is_not_shown(workspace):
    workspace.replace("verismo.toml", '/v1"', f'/v1"\napi_key = "{KEY}"')
    (problem,) = workspace.problems()
    assert "unknown key" in problem
    assert KEY not in problem


def test_two_sources_of_one_credential_are_refused(with_env):
    with_env.replace("verismo.toml", '"UP_KEY"', '"UP_KEY"\napi_key_file = "secrets/up"')
    assert "not both" in with_env.problems({"UP_KEY": KEY})[0]


def test_a_credential_file_that_is_no_text_is_refused(with_file):
    with_file.write("secrets/up", b"\xff\xfe").chmod(0o600)
    assert "not UTF-8" in with_file.problems()[0]


def test_a_credential_file_that_is_a_folder_is_refused(with_file):
    (with_file.root / "secrets" / "up").mkdir(parents=True)
    assert "cannot be read" in with_file.problems()[0]
