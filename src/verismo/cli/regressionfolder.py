"""The folder of the demo's regression: two deployments, a ladder of rungs, a webhook for cards."""

import re
from importlib.resources import files
from pathlib import Path

from verismo.cli.demofolder import OWN_OPERATIONS, REGRESSION_OPERATIONS
from verismo.config.install import install, prepare
from verismo.config.load import FILE_NAME
from verismo.config.scaffold import recipe_for
from verismo.config.writing import write_whole

STABLE_PORT, NEXT_PORT = 9104, 9105
"""As the template has them."""
_WEBHOOK_FILE = "slack.url"
_BEGIN = "# The demo's own parts, written at every start ------------------------------------------"
_TABLE = r"^\[{name}\]\n(?:(?!\[).*\n)*"
_CONTROL_PORT = re.compile(r"(\[control\][^\[]*?\n)#? ?port = \d+", re.DOTALL)


def prepare_regression(
    data: Path, control_port: int, upstream_ports: tuple[int, int], webhook: str
) -> Path:
    """Make the folder, or bring an older one up to date.

    Args:
        data: the folder.
        control_port: of the control API; commands read it from the configuration.
        upstream_ports: of the stable provider and of the next one.
        webhook: address to which cards are posted.

    Returns:
        Its configuration file.

    Raises:
        OperatorError: a file cannot be read or written.
    """
    path = data / FILE_NAME
    if not path.exists():
        install(prepare(data, recipe_for("simulator")))
    text, _, _ = path.read_text(encoding="utf-8").partition(_BEGIN)
    own = files("verismo") / "templates" / "demo"
    tables = (own / "regression.toml").read_text(encoding="utf-8")
    for usual, port in zip((STABLE_PORT, NEXT_PORT), upstream_ports, strict=True):
        tables = tables.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
    tables += f'\n[slack]\nwebhook_url_file = "{_WEBHOOK_FILE}"\n'
    for name in ("adapt", "canary", "slack"):
        # A table stands once: these take the place of those with the defaults.
        text = re.sub(_TABLE.format(name=name), "", text, flags=re.MULTILINE)
    text = _CONTROL_PORT.sub(rf"\g<1>port = {control_port}", text)
    operations = (own / "regression-operations.toml").read_bytes()
    write_whole(data / _WEBHOOK_FILE, webhook.encode("ascii"), mode=0o600)
    write_whole(data / REGRESSION_OPERATIONS, operations)
    (data / OWN_OPERATIONS).unlink(missing_ok=True)
    write_whole(path, f"{text.rstrip()}\n\n{_BEGIN}\n{tables}".encode())
    return path
