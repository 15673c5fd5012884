"""The policy engine: one question, one verdict."""

from typing import Protocol

import msgspec


class PolicyInput(msgspec.Struct, frozen=True):
    """The projected input of a decision: facts the host has established, no content.

    Small on purpose: evaluation time grows with the input, and the verdict is memoised on exactly
    these values (decisions 23).

    Args:
        tenant: the caller's tenant id.
        tenant_region: its home region.
        tenant_purposes: what its data may be used for.
        tenant_models: model names or `prefix*` patterns that it may reach.
        enforcement: `observe`, `safelist` or `id-only`.
        operation: the operation's id, or what was asked for if it is not registered.
        operation_kind: `chat`, `embedding`, `graphql`, `http`, `mcp`, `agent`.
        operation_purpose: the purpose of the operation.
        registered: whether the operation is registered for this tenant.
        by_id: whether the caller named it by its id (not by alias or full text).
        purpose: the purpose of this call, from the API key or the tenant.
        deployment: id of the candidate deployment; empty where a run is only sealed.
        deployment_region: where the data would go.
        model: the model that would be asked.
    """

    tenant: str
    tenant_region: str
    tenant_purposes: tuple[str, ...]
    tenant_models: tuple[str, ...]
    enforcement: str
    operation: str
    operation_kind: str
    operation_purpose: str
    registered: bool
    by_id: bool
    purpose: str
    deployment: str
    deployment_region: str
    model: str


class ToolInput(PolicyInput, frozen=True):
    """The input for a call of an MCP server. Its verdict is not memoised: arguments differ.

    Args:
        method: such as `tools/call`.
        tool: the tool that is called, or what else is asked for by name; empty for lists.
        arguments: scalar arguments of the tool; a text is cut to 256 characters.
        argument_names: every argument's name, sorted.
        arguments_partial: names of those that `arguments` lacks or has cut, sorted.
    """

    method: str
    tool: str
    arguments: dict[str, bool | int | float | str | None]
    argument_names: tuple[str, ...]
    arguments_partial: tuple[str, ...]


class Denial(msgspec.Struct, frozen=True, order=True):
    """One reason for a refusal. `code` is stable API; `msg` is for people."""

    code: str
    msg: str


class Verdict(msgspec.Struct, frozen=True):
    """The engine's answer (decisions 13).

    Args:
        allow: true only if the policy said `allow` and denied nothing.
        deny: the reasons, sorted; not empty when `allow` is false.
        obligations: names of things the gateway must do, sorted.
        bundle: hex SHA-256 of the bundle that decided.
    """

    allow: bool
    deny: tuple[Denial, ...]
    obligations: tuple[str, ...]
    bundle: str


class PolicyEngine(Protocol):
    """Evaluates the entry point `data.verismo.gateway.decision`.

    Never raises for a policy's fault: undefined, an error or a result of the wrong shape is a
    verdict that refuses with the code `policy_error`. Used by one thread only.
    """

    @property
    def bundle(self) -> str:
        """The hex SHA-256 of the bundle in force."""
        ...

    def decide(self, question: PolicyInput) -> Verdict:
        """Return the verdict for a question; memoised where the bundle allows it."""
        ...

    def reload(self) -> bool:
        """Load the bundle again if it changed; keep the one in force if the new one is bad.

        Returns:
            True if another bundle is in force now.

        Raises:
            StateError: the new bundle is refused; the old one stays in force.
        """
        ...

    def close(self) -> None:
        """Free what it holds, in its thread; it decides nothing any more."""
        ...
