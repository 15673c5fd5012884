"""The configuration in force as plain JSON values, with every secret masked."""

import msgspec

from verismo.config.schema import MASK, Config
from verismo.model.canonical import Json


def effective(config: Config) -> dict[str, Json]:
    """Return what `verismo config show` prints.

    Args:
        config: a loaded configuration.

    Returns:
        JSON values; `credentials` says for each provider that has one that it is there.
    """
    plan = msgspec.to_builtins(config.plan)
    return {
        "path": str(config.path),
        "data": str(config.data),
        "docs_base_url": config.docs_base_url,
        "listen": msgspec.to_builtins(config.listen, enc_hook=str),
        "control": msgspec.to_builtins(config.control),
        "limits": msgspec.to_builtins(config.limits),
        "upstream_client": config.upstream_client,
        "log": msgspec.to_builtins(config.log),
        "telemetry": msgspec.to_builtins(config.telemetry),
        "policy": str(config.policy),
        "ledger": msgspec.to_builtins(config.ledger),
        "witness": {
            "quorum": "" if config.witness.policy is None else config.witness.policy.quorum,
            "urls": {one.key.name: one.url for one in config.witness.urls},
            "timeout_ms": config.witness.timeout_ms,
        },
        "archive": msgspec.to_builtins(config.archive, enc_hook=str),
        "siem": msgspec.to_builtins(config.siem, enc_hook=str),
        "adapt": msgspec.to_builtins(config.adapt),
        "budgets": msgspec.to_builtins(config.budgets),
        "canary": msgspec.to_builtins(config.canary),
        "slack": msgspec.to_builtins(config.slack, enc_hook=str),
        "scaling": msgspec.to_builtins(config.scaling, enc_hook=str),
        "slos": msgspec.to_builtins(config.slos),
        "keys": msgspec.to_builtins(config.keys),
        "plan": plan,
        "credentials": {str(name): MASK for name in config.credentials},
        "warnings": [str(problem) for problem in config.warnings],
    }


def flattened(value: Json, path: str = "") -> list[tuple[str, Json]]:
    """Turn nested JSON into `(dotted path, value)` pairs; lists of plain values stay whole."""
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in flattened(item, f"{path}.{key}" if path else key)
        ]
    return [(path, value)]
