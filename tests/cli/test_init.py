"""`verismo init`: a folder that works, and nothing overwritten by surprise."""

import pytest


def test_a_new_folder_is_written_checked_and_explained(verismo, tmp_path):
    outcome = verismo("init", tmp_path / "new")
    assert outcome.code == 0
    assert f"wrote  {tmp_path / 'new' / 'verismo.toml'}" in outcome.out
    assert "Checked: 3 tenants, 6 operations" in outcome.out
    assert "verismo apikey create --tenant TENANT_001" in outcome.out
    assert verismo("config", "check", "-c", tmp_path / "new" / "verismo.toml").code == 0


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("openai", "export OPENAI_API_KEY=..."),
        ("anthropic", "export ANTHROPIC_API_KEY=..."),
        ("http://127.0.0.1:8000/v1", "the model is 'gpt-4o-mini'"),
        ("simulator", "verismo simulate"),
    ],
)
def test_the_next_step_of_each_provider_is_said(verismo, tmp_path, provider, said):
    outcome = verismo("init", tmp_path, "--provider", provider)
    assert outcome.code == 0
    assert said in outcome.out


def test_nothing_is_overwritten_without_force(verismo, initialised):
    mine = initialised / "operations" / "chat.toml"
    mine.write_text("# mine\n")
    outcome = verismo("init", initialised)
    assert outcome.code == 2
    assert f"would be overwritten:\n       {mine}\n" in outcome.err
    assert "--force" in outcome.err
    assert mine.read_text() == "# mine\n"


def test_force_overwrites_and_says_what(verismo, initialised):
    mine = initialised / "operations" / "chat.toml"
    mine.write_text("# mine\n")
    outcome = verismo("init", initialised, "--force")
    assert outcome.code == 0
    assert f"overwrote  {mine}" in outcome.out
    assert f"wrote  {initialised / 'verismo.toml'}" in outcome.out


def test_going_live_removes_the_samples_that_do_not_fit(verismo, initialised):
    outcome = verismo("init", initialised, "--force", "--provider", "openai")
    assert outcome.code == 0
    assert f"removed  {initialised / 'operations' / 'http.toml'}" in outcome.out


def test_running_it_again_changes_nothing(verismo, initialised):
    before = {p: p.read_bytes() for p in initialised.rglob("*") if p.is_file()}
    assert verismo("init", initialised).code == 0
    assert {p: p.read_bytes() for p in initialised.rglob("*") if p.is_file()} == before


def test_an_unknown_provider_is_refused_before_anything_is_written(verismo, tmp_path):
    outcome = verismo("init", tmp_path / "new", "--provider", "opnai")
    assert outcome.code == 2
    assert "--provider openai" in outcome.err
    assert not (tmp_path / "new").exists()
