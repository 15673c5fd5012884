"""A folder of settings with one operation that may be rolled out from one deployment to another."""

from pathlib import Path

CONFIG = """\
issuer = "https://gateway.example"
[tenants]
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[deployments.old]
provider = "up"
model = "m1"
region = "eu"
[deployments.new]
provider = "up"
model = "m2"
region = "eu"
"""
OPERATION = """\
[operations.chat]
kind = "chat"
purpose = "support"
deployments = ["old"]
candidates = ["new"]
"""


def write_site(folder: Path, text: str = CONFIG) -> Path:
    """Write the settings, the operation and a policy; return the file to load.

    Args:
        folder: there, and empty.
        text: of verismo.toml.
    """
    file = folder / "verismo.toml"
    for name, content in (
        (file.name, text),
        ("operations/chat.toml", OPERATION),
        ("policy/main.rego", "package verismo\n"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return file
