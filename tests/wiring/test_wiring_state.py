"""Opening the state of a data folder: one file behind the directory and the administrators."""

from tests.ports.admins_conformance import admin_key
from tests.ports.directory_conformance import api_key

from verismo.wiring.state import open_directory, open_state


def test_directory_outlives_the_opening_call(tmp_path):
    directory = open_directory(tmp_path)
    directory.add_api_key(api_key())
    with open_state(tmp_path) as state:
        assert list(state.directory.api_keys()) == [api_key()]


def test_change_of_an_administrator_moves_the_version_too(tmp_path):
    with open_state(tmp_path) as state:
        before = state.directory.version()
        state.admins.add_admin_key(admin_key())
        assert state.directory.version() == before + 1
