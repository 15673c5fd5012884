"""Reads the policy file of witnesses that `[witness] policy` names."""

from pathlib import Path

from verismo.attest.witnesspolicy import (
    NO_QUORUM,
    POLICY_BYTES_MAX,
    PolicyRefused,
    PolicyWitness,
    WitnessPolicy,
    read_policy,
)
from verismo.config.addresses import check_url
from verismo.config.schema import Witnesses, WitnessUrl
from verismo.config.source import Problem, Source, suggestion
from verismo.config.tables import WitnessTable


def read_witnesses(table: WitnessTable, source: Source) -> Witnesses:
    """Read who cosigns the log; problems are noted with their file and line.

    Args:
        table: the `[witness]` table.
        source: verismo.toml, which takes the problems.
    """
    if not table.policy:
        if table.urls:
            source.error(("witness", "urls"), "needs policy: the file with the witnesses' keys")
        return Witnesses(None, (), table.timeout_ms)
    policy = _read_policy(source.path.parent / table.policy, table.policy, source)
    if policy is None:
        return Witnesses(None, (), table.timeout_ms)
    names = [one.name for one in policy.witnesses]
    for name in table.urls:
        if name not in names:
            text = f"the policy names no such witness{suggestion(name, names)}"
            source.error(("witness", "urls", name), text)
    urls = tuple(
        WitnessUrl(one.name, one.key, url)
        for one in policy.witnesses
        if (url := _url(one, table, source))
    )
    asked = frozenset(one.name for one in urls)
    if policy.quorum == NO_QUORUM:
        source.warn(("witness", "policy"), "asks for no quorum: nobody has to have seen the log")
    elif not policy.is_quorum(asked):
        source.warn(
            ("witness", "policy"),
            f"no quorum can be met: only {len(asked)} of its witnesses have a URL",
        )
    return Witnesses(policy, urls, table.timeout_ms)


def _read_policy(path: Path, label: str, source: Source) -> WitnessPolicy | None:
    try:
        with path.open("rb") as file:
            data = file.read(POLICY_BYTES_MAX + 1)
    except OSError as error:
        source.error(("witness", "policy"), f"{path} cannot be read: {error.strerror}")
        return None
    try:
        return read_policy(data)
    except PolicyRefused as error:
        source.findings.errors.append(Problem(label, error.line, str(error)))
        return None


def _url(witness: PolicyWitness, table: WitnessTable, source: Source) -> str:
    if witness.name in table.urls:
        return check_url(table.urls[witness.name], source, ("witness", "urls", witness.name))
    return check_url(witness.url, source, ("witness", "policy")) if witness.url else ""
