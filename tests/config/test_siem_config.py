"""`[siem]`: each sink has what its kind needs; tokens come from outside and show nowhere."""

import json

import pytest

from verismo.config.effective import effective
from verismo.model.errors import ConfigError

FILE = '[siem.sinks.disk]\nkind = "file"\n'
SYSLOG = '[siem.sinks.soc]\nkind = "syslog"\naddress = "siem.example.com:6514"\ntls = true\n'
HTTP = '[siem.sinks.hec]\nkind = "http"\nurl = "https://hec.example.com/raw?index=ai"\n'


def sink_of(workspace, text, environ=None, **options):
    workspace.append("verismo.toml", text)
    [sink] = workspace.load(environ or {}, **options).siem.sinks
    return sink


def problem(workspace, text, environ=None, **options):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load(environ or {}, **options)
    return caught.value.detail


def test_nothing_is_exported_unless_it_is_asked_for(workspace):
    assert workspace.load().siem.sinks == ()


def test_file_sink_lies_in_the_data_folder_by_default(workspace):
    sink = sink_of(workspace, FILE)
    assert sink.folder == workspace.root / "var" / "siem" / "disk"


def test_paths_start_at_the_configuration_folder(workspace):
    sink = sink_of(workspace, FILE + 'path = "out/siem"\n')
    assert sink.folder == workspace.root / "out" / "siem"


def test_address_is_taken_apart(workspace):
    sink = sink_of(workspace, SYSLOG + 'received_file = "r.log"\n')
    assert (sink.host, sink.port, sink.tls) == ("siem.example.com", 6514, True)
    assert sink.received_file == workspace.root / "r.log"


def test_ipv6_address_is_taken_apart(workspace):
    sink = sink_of(workspace, SYSLOG.replace("siem.example.com", "[::1]"))
    assert (sink.host, sink.port) == ("::1", 6514)


def test_collectors_address_keeps_its_query(workspace):
    assert sink_of(workspace, HTTP).url == "https://hec.example.com/raw?index=ai"


def test_token_is_read_from_the_environment_and_shown_nowhere(workspace):
    workspace.append("verismo.toml", HTTP + 'token_env = "HEC"\n')
    config = workspace.load({"HEC": " top-secret \n"})
    assert config.siem.sinks[0].token.reveal() == "top-secret"
    assert "top-secret" not in json.dumps(effective(config)) + repr(config)


def test_token_is_read_from_a_file_of_its_owners(workspace):
    file = workspace.root / "token"
    file.write_text("top-secret\n")
    file.chmod(0o600)
    sink = sink_of(workspace, HTTP + 'token_file = "token"\n')
    assert sink.token.reveal() == "top-secret"


def test_token_file_that_others_can_read_is_refused(workspace):
    (workspace.root / "token").write_text("top-secret")
    (workspace.root / "token").chmod(0o644)
    told = problem(workspace, HTTP + 'token_file = "token"\n')
    assert "chmod 600" in told
    assert "top-secret" not in told


def test_missing_token_is_a_warning_and_where_it_is_required_an_error(workspace):
    workspace.append("verismo.toml", HTTP + 'token_env = "HEC"\n')
    config = workspace.load({})
    assert config.siem.sinks[0].token is None
    assert any("HEC is not set" in str(one) for one in config.warnings)
    with pytest.raises(ConfigError, match="HEC is not set"):
        workspace.load({}, require_credentials=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FILE.replace("file", "smoke"), "kind"),
        (FILE + 'url = "https://x.example"\n', "does not belong to a sink of kind file"),
        (FILE + "tls = true\n", "does not belong"),
        (HTTP + 'path = "x"\n', "does not belong to a sink of kind http"),
        ('[siem.sinks.a]\nkind = "http"\n', "url is missing"),
        ('[siem.sinks.a]\nkind = "syslog"\n', "address is missing"),
        (SYSLOG.replace(":6514", ""), "HOST:PORT"),
        (SYSLOG.replace("6514", "65536"), "HOST:PORT"),
        (SYSLOG.replace("6514", "0"), "HOST:PORT"),
        (SYSLOG + 'ca_file = "absent.pem"\n', "there is no file"),
        (SYSLOG + 'structured_data_id = "no number"\n', "structured_data_id"),
        (SYSLOG + "message_bytes_max = 100\n", "message_bytes_max"),
        (HTTP.replace("https", "ftp"), "http://"),
        (HTTP.replace("hec.example", "me:pw@hec.example"), "credential"),
        (HTTP + 'token_env = "A"\ntoken_file = "b"\n', "not both"),
        (FILE + "rotate_bytes_max = 1\n", "rotate_bytes_max"),
        (FILE + "[ledger]\nenabled = false\n", "enable [ledger]"),
        ("[siem]\nbatch_events_max = 0\n", "batch_events_max"),
    ],
)
def test_what_cannot_work_is_refused_by_name(workspace, text, told):
    assert told in problem(workspace, text)


def test_certificates_without_tls_are_refused(workspace):
    (workspace.root / "ca.pem").write_text("")
    plain = SYSLOG.replace("tls = true\n", 'ca_file = "ca.pem"\n')
    assert "tls = true" in problem(workspace, plain)


def test_token_with_a_line_break_is_refused(workspace):
    told = problem(workspace, HTTP + 'token_env = "HEC"\n', {"HEC": "one\ntwo"})
    assert "line break" in told
    assert "one" not in told.replace("none", "")


def test_events_in_clear_are_warned_of(workspace):
    workspace.append("verismo.toml", SYSLOG.replace("tls = true\n", ""))
    assert any("in clear" in str(one) for one in workspace.load().warnings)
