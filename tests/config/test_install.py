"""Writing a folder: says what it would overwrite, swaps providers cleanly, touches nothing else."""

import pytest

from verismo.config.install import install, prepare
from verismo.config.load import load_config
from verismo.config.scaffold import recipe_for
from verismo.model.errors import OperatorError


def put(folder, provider):
    installation = prepare(folder, recipe_for(provider))
    install(installation)
    return installation


def test_a_new_folder_overwrites_nothing(tmp_path):
    installation = put(tmp_path / "a" / "b", "simulator")
    assert (installation.overwritten, installation.stale) == ((), ())
    assert load_config(tmp_path / "a" / "b" / "verismo.toml", {}).plan.tenants


def test_preparing_changes_nothing(tmp_path):
    prepare(tmp_path / "x", recipe_for("simulator"))
    assert list(tmp_path.iterdir()) == []


def test_the_same_files_again_overwrite_nothing(tmp_path):
    put(tmp_path, "simulator")
    assert prepare(tmp_path, recipe_for("simulator")).overwritten == ()


def test_changed_files_are_named(tmp_path):
    put(tmp_path, "simulator")
    (tmp_path / "policy" / "residency.rego").write_text("package mine\n")
    (tmp_path / "verismo.toml").write_text("# mine\n")
    installation = prepare(tmp_path, recipe_for("simulator"))
    assert installation.overwritten == ("policy/residency.rego", "verismo.toml")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "http://127.0.0.1:1/v1"])
def test_going_live_after_the_simulator_leaves_a_valid_folder(tmp_path, provider):
    put(tmp_path, "simulator")
    installation = put(tmp_path, provider)
    assert "operations/http.toml" in installation.stale
    config = load_config(
        tmp_path / "verismo.toml", {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    )
    assert config.warnings == ()


def test_samples_that_were_edited_and_data_are_never_removed(tmp_path):
    put(tmp_path, "simulator")
    edited = tmp_path / "operations" / "http.toml"
    edited.write_text(edited.read_text() + "# mine\n")
    key = tmp_path / "var" / "keys" / "token.key"
    key.parent.mkdir(parents=True)
    key.write_text("k")
    installation = put(tmp_path, "openai")
    assert "operations/http.toml" not in installation.stale
    assert edited.exists()
    assert key.read_text() == "k"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(OperatorError, match="not a folder"):
        prepare(tmp_path / "x", recipe_for("simulator"))


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "verismo.toml").mkdir()
    with pytest.raises(OperatorError, match="cannot be read"):
        prepare(tmp_path, recipe_for("simulator"))
