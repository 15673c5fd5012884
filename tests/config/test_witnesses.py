"""The policy file of witnesses: read whole at start, every fault with file and line."""

import pytest
from tests.support.tilelog import witness_key

from verismo.config.effective import effective, flattened
from verismo.model.errors import ConfigError

ALICE, BOB = (witness_key(name).key.vkey for name in ("alice.example", "bob.example"))
POLICY = f"""# ours
witness alice {ALICE} https://alice.example/w/
witness bob {BOB}
group both all alice bob
quorum both
"""


@pytest.fixture
def configured(workspace):
    (workspace.root / "witnesses").write_text(POLICY)

    def configure(*lines, policy=POLICY):
        (workspace.root / "witnesses").write_text(policy)
        table = "\n".join(["[witness]", 'policy = "witnesses"', *lines, "[observe]"])
        workspace.replace("verismo.toml", "[observe]", table)
        return workspace

    return configure


def test_without_a_policy_nobody_is_asked(workspace):
    witness = workspace.load().witness
    assert (witness.policy, witness.urls) == (None, ())


def test_witnesses_are_asked_at_the_urls_of_policy_and_table(configured):
    config = configured("timeout_ms = 700", 'urls = { bob = "http://10.0.0.7:8090" }').load()
    assert [(one.name, one.url) for one in config.witness.urls] == [
        ("alice", "https://alice.example/w"),
        ("bob", "http://10.0.0.7:8090"),
    ]
    assert config.witness.policy.quorum == "both"
    assert config.witness.timeout_ms == 700
    assert config.warnings == ()


def test_the_table_moves_a_witness(configured):
    config = configured('urls = { alice = "http://a", bob = "http://b" }').load()
    assert [one.url for one in config.witness.urls] == ["http://a", "http://b"]


def test_what_is_in_force_is_shown(configured):
    shown = dict(flattened(effective(configured('urls = { bob = "http://b" }').load())))
    assert shown["witness.quorum"] == "both"
    assert shown["witness.urls.bob.example"] == "http://b"


def test_a_broken_policy_names_its_file_and_line(configured):
    with pytest.raises(ConfigError, match=r"witnesses:3: line 3 of the policy: .*base64"):
        configured(policy=POLICY.replace(BOB, "nonsense+00000000+!")).load()


def test_a_policy_that_is_wrong_as_a_whole_names_its_file(configured):
    with pytest.raises(ConfigError, match=r"witnesses: the policy has no quorum line"):
        configured(policy=f"witness alice {ALICE}\n").load()


def test_a_missing_policy_is_named_with_the_line_of_its_setting(workspace):
    workspace.replace("verismo.toml", "[observe]", '[witness]\npolicy = "nowhere"\n[observe]')
    with pytest.raises(ConfigError, match=r"verismo\.toml:\d+: witness\.policy: .*cannot be read"):
        workspace.load()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (('urls = { bop = "http://b" }',), r"witness\.urls\.bop: .*did you mean bob"),
        (('urls = { bob = "ftp://b" }',), r"witness\.urls\.bob: "),
        (("urls = { bob = 7 }",), r"witness\.urls\.bob: expected `str`"),
        (("timeout_ms = 1",), r"witness\.timeout_ms"),
        (('quorum = "any"',), r"witness\.quorum: unknown key"),
    ],
)
def test_wrong_settings_are_told(configured, lines, words):
    with pytest.raises(ConfigError, match=words):
        configured(*lines).load()


def test_urls_without_a_policy_are_told(workspace):
    workspace.replace("verismo.toml", "[observe]", '[witness.urls]\na = "http://b"\n[observe]')
    with pytest.raises(ConfigError, match=r"witness\.urls: needs policy"):
        workspace.load()


def test_a_url_in_the_policy_is_checked(configured):
    policy = POLICY.replace("https://alice.example/w/", "https://user:pw@alice.example")
    with pytest.raises(ConfigError, match=r"witness\.policy: "):
        configured(policy=policy).load()


def test_a_quorum_that_cannot_be_met_or_is_none_is_a_warning(configured):
    warnings = [str(one) for one in configured().load().warnings]
    assert any("only 1 of its witnesses have a URL" in one for one in warnings)


def test_a_policy_that_asks_nobody_is_a_warning(configured):
    warnings = [str(one) for one in configured(policy="quorum none\n").load().warnings]
    assert any("no quorum" in one for one in warnings)
