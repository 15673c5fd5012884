"""The few settings that an operator may give by environment variable instead of in the file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from verismo.config.schema import Secret
from verismo.config.source import Findings, Problem
from verismo.config.tables import ListenTable, MainTable

LABEL: Final = "environment"


def override(main: MainTable, environ: Mapping[str, str], findings: Findings) -> MainTable:
    """Apply VERISMO_HOST, VERISMO_PORT, VERISMO_WORKERS and VERISMO_DATA; an empty one is unset.

    Args:
        main: verismo.toml.
        environ: the environment.
        findings: takes what is wrong with a variable.

    Returns:
        The table with the overrides that are valid.
    """
    listen = main.listen
    if host := environ.get("VERISMO_HOST", ""):
        listen = msgspec.structs.replace(listen, host=host)
    for variable, field in (("VERISMO_PORT", "port"), ("VERISMO_WORKERS", "workers")):
        number = _number(variable, field, environ.get(variable, ""), findings)
        if number is not None:
            listen = msgspec.structs.replace(listen, **{field: number})
    data = environ.get("VERISMO_DATA", "")
    # Relative to the current folder, as an operator who types it expects.
    return msgspec.structs.replace(
        main, listen=listen, data=str(Path(data).absolute()) if data else main.data
    )


def secret_of(variable: str, environ: Mapping[str, str] | None = None) -> Secret | None:
    """Return the secret that a variable holds; None if it is not set or empty.

    Args:
        variable: its name, given at the command line.
        environ: environment variables; None means the process's own.
    """
    text = (os.environ if environ is None else environ).get(variable, "").strip()
    return Secret(text) if text else None


def _number(variable: str, field: str, text: str, findings: Findings) -> int | None:
    if not text:
        return None
    if variable == "VERISMO_PORT" and text.startswith("tcp://"):
        # Kubernetes sets this for every pod beside a Service named `verismo`.
        findings.warnings.append(
            Problem(LABEL, 0, f"{variable}={text} is a Kubernetes service link and is ignored")
        )
        return None
    kind = next(f.type for f in msgspec.structs.fields(ListenTable) if f.name == field)
    if not (text.isascii() and text.isdigit()):
        findings.errors.append(Problem(LABEL, 0, f"{variable}={text!r} is not a whole number"))
        return None
    try:
        number: int = msgspec.convert(int(text[:20]), kind)
    except msgspec.ValidationError as error:
        findings.errors.append(Problem(LABEL, 0, f"{variable}={text}: {error}"))
        return None
    return number
