"""A small configuration folder that tests bend."""

from collections.abc import Callable
from pathlib import Path

import pytest

from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.model.errors import ConfigError

MAIN = """\
[observe]
chat = ["chat"]

[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:9090/v1"

[providers.graph]
kind = "graphql"
base_url = "http://127.0.0.1:9090/graphql"

[deployments.chat]
provider = "up"
model = "gpt-4o-mini"
region = "us"

[deployments.graph]
provider = "graph"
region = "us"

[tenants.TENANT_001]
region = "us"
purposes = ["support"]
models = ["gpt-*"]
budget_usd_per_day = 10

[tenants.TENANT_002]
region = "eu"
purposes = ["support"]
"""

CHAT = """\
[operations."support.answer"]
kind = "chat"
purpose = "support"
deployments = ["chat"]
aliases = ["gpt-4o"]

[operations.user]
kind = "graphql"
purpose = "support"
deployments = ["graph"]
document = "user.graphql"
"""

DOCUMENT = "query User($id: ID!) { user(id: $id) { id } }\n"


class Workspace:
    """A configuration folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "verismo.toml"
        self.write("verismo.toml", MAIN)
        self.write("operations/chat.toml", CHAT)
        self.write("operations/user.graphql", DOCUMENT)
        self.write("policy/main.rego", "package verismo\n")

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.root / name).read_text() + text)

    def load(self, environ: dict[str, str] | None = None, **options: bool) -> Config:
        return load_config(self.file, environ or {}, **options)

    def problems(self, environ: dict[str, str] | None = None, **options: bool) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(environ, **options)
        return caught.value.detail.split("\n       ")

    def warnings(self, environ: dict[str, str] | None = None) -> list[str]:
        return [str(problem) for problem in self.load(environ).warnings]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def make_workspace(tmp_path: Path) -> Callable[[str], Workspace]:
    return lambda name: Workspace(tmp_path / name)
