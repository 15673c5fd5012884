"""Provider credentials: from the environment or from files that only their owner can read."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from verismo.config.locate import KeyPath
from verismo.config.schema import Secret
from verismo.config.source import Source
from verismo.config.tables import ProviderTable
from verismo.model.ids import ProviderId

CREDENTIAL_BYTES_MAX = 16_384


def read_credentials(
    providers: Mapping[str, ProviderTable],
    source: Source,
    environ: Mapping[str, str],
    *,
    required: bool,
) -> dict[ProviderId, Secret]:
    """Read the credential of every provider that names one.

    Args:
        providers: the `[providers]` tables.
        source: verismo.toml; takes the problems. They never hold any part of a credential.
        environ: the environment.
        required: a missing credential is an error, not a warning.

    Returns:
        What was found, by provider.
    """
    found: dict[ProviderId, Secret] = {}
    for name, table in providers.items():
        path: KeyPath = ("providers", name)
        if table.api_key_env and table.api_key_file:
            source.error((*path, "api_key_file"), "set api_key_env or api_key_file, not both")
            continue
        if table.api_key_env:
            where = (*path, "api_key_env")
            text: str | None = environ.get(table.api_key_env, "")
            missing = f"the environment variable {table.api_key_env} is not set"
        elif table.api_key_file:
            where = (*path, "api_key_file")
            text = read_key_file(source.path.parent / table.api_key_file, source, where)
            missing = f"{table.api_key_file} is not there or is empty"
        else:
            continue
        if text is None:
            continue
        text = text.strip()
        if not text:
            (source.error if required else source.warn)(where, missing)
        elif re.fullmatch(r"[!-~]+", text) is None:
            source.error(where, "the credential has a space, line break or non-ASCII character")
        else:
            found[ProviderId(name)] = Secret(text)
    return found


def read_key_file(file: Path, source: Source, where: KeyPath) -> str | None:
    """Read a credential file.

    Returns:
        Its text, empty if there is no such file, None after noting a problem.
    """
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                source.error(
                    where,
                    f"{file} can be read by others (mode {mode:04o}); run: chmod 600 {file}",
                )
                return None
            return stream.read(CREDENTIAL_BYTES_MAX).decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        source.error(where, f"{file} is not UTF-8 text")
    except OSError as error:
        source.error(where, f"{file} cannot be read: {error.strerror}")
    return None
