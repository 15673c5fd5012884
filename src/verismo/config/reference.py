"""Renders docs/configuration.md from the tables' types, defaults and docstrings."""

import inspect
import re
from decimal import Decimal
from typing import Annotated, Final, get_args, get_origin

import msgspec

from verismo.config import tables
from verismo.config.adapttable import AdaptTable
from verismo.config.archivetable import ArchiveTable
from verismo.config.budgettable import BudgetsTable
from verismo.config.canarytable import CanaryTable
from verismo.config.flagtable import FlagTable
from verismo.config.operationtable import OperationTable
from verismo.config.scalingtable import ScalingTable
from verismo.config.siemtable import SiemTable, SinkTable
from verismo.config.slacktable import SlackTable
from verismo.config.slotable import SloTable
from verismo.model.limits import Limits
from verismo.model.operation import Timeouts
from verismo.model.tenant import RateLimit

SECTIONS: Final[tuple[tuple[str, type[msgspec.Struct]], ...]] = (
    ("Top of verismo.toml", tables.MainTable),
    ("[listen]", tables.ListenTable),
    ("[control]", tables.ControlTable),
    ("[limits]", Limits),
    ("[upstream]", tables.UpstreamTable),
    ("[log]", tables.LogTable),
    ("[telemetry]", tables.TelemetryTable),
    ("[policy]", tables.PolicyTable),
    ("[ledger]", tables.LedgerTable),
    ("[witness]", tables.WitnessTable),
    ("[archive]", ArchiveTable),
    ("[siem]", SiemTable),
    ("[siem.sinks.NAME]", SinkTable),
    ("[adapt]", AdaptTable),
    ("[budgets]", BudgetsTable),
    ("[canary]", CanaryTable),
    ('[canary.flags."OPERATION"]', FlagTable),
    ("[slack]", SlackTable),
    ("[scaling.NAME]", ScalingTable),
    ("[slo.NAME]", SloTable),
    ("[keys]", tables.KeysTable),
    ("[observe]", tables.ObserveTable),
    ("[providers.NAME]", tables.ProviderTable),
    ("[providers.NAME] timeouts = { ... }", Timeouts),
    ("[deployments.NAME]", tables.DeploymentTable),
    ("[deployments.NAME] price = { ... }", tables.PriceTable),
    ("[tenants.ID]", tables.TenantTable),
    ("[tenants.ID] rate = { ... }", RateLimit),
    ('operations/*.toml: [operations."ID"]', OperationTable),
)
"""Every table of the files, in the order of the documentation."""

INTRODUCTION: Final = """\
# Configuration

`verismo init DIR` writes a folder that works; this page lists every key. It is generated:
`verismo config reference > docs/configuration.md`.

| in the folder | what |
|---|---|
| `verismo.toml` | everything but the operations |
| `operations/*.toml` | registered operations, in as many files as you like |
| `operations/documents/*.graphql` | the exact text of persisted GraphQL documents |
| `policy/` | the Rego bundle |
| `var/` | keys, journals and state; made at the first start, never in version control |

`verismo config check` reads the whole folder and names every problem at once, with file, line and
the nearest known name; then it loads the policy as the gateway would. Exit code 2 means that there
is a problem. `verismo config show` prints what is in force, with secrets masked. `verismo doctor`
checks the machine as well. `verismo serve` does the same checks before it makes anything.

Money is written in US dollars and kept exactly: at most six decimal places. Durations end in `_ms`
or `_s`, sizes in `_bytes`. Relative paths start at the folder of verismo.toml.

Provider credentials never stand in these files: a provider names an environment variable
(`api_key_env`) or a file that only its owner may read (`api_key_file`).

| environment variable | overrides |
|---|---|
| `VERISMO_HOST` | `listen.host` |
| `VERISMO_PORT` | `listen.port` |
| `VERISMO_WORKERS` | `listen.workers` |
| `VERISMO_DATA` | `data`, relative to the current folder |
"""


def reference() -> str:
    """Return docs/configuration.md as Markdown."""
    return INTRODUCTION + "".join(_section(title, kind) for title, kind in SECTIONS)


def _section(title: str, kind: type[msgspec.Struct]) -> str:
    texts = descriptions(kind)
    lines = [
        f"\n## {title}\n\n{texts['']}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    ]
    for field in msgspec.structs.fields(kind):
        default = "required" if field.required else _spelled(field)
        text = texts[field.name].replace("|", "\\|")
        lines.append(f"| `{field.name}` | {_type_name(field.type)} | {default} | {text} |\n")
    return "".join(lines)


def descriptions(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the `Args:` texts of a Struct's docstring by field; the summary under the empty name.

    Args:
        kind: a Struct that describes a table.
    """
    summary, _, arguments = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    found = {"": " ".join(summary.split())}
    for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        found[match[1]] = " ".join(match[2].split())
    return found


def _spelled(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "see right"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, msgspec.Struct):
        return "see below"
    if isinstance(value, dict):
        return "none"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


def _type_name(kind: object) -> str:
    if get_origin(kind) is Annotated:
        return _type_name(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "table"
    names: dict[object, str] = {str: "text", int: "integer", bool: "boolean", Decimal: "number"}
    if kind in names:
        return names[kind]
    origin = get_origin(kind)
    if origin is dict:
        return "table of texts" if get_args(kind)[1] is str else "tables"
    if origin is tuple:
        return f"list of {_type_name(get_args(kind)[0])}s"
    parts = [part for part in get_args(kind) if part is not type(None)]
    return _type_name(parts[0]) if parts and not isinstance(parts[0], str) else "text"
