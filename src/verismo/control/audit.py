"""The audit log of the control API: one line for each change and each refusal by role."""

import logging

from verismo.control.guard import Actor

log = logging.getLogger("verismo.audit")


def record_change(actor: Actor, action: str, target: str, **facts: str | int) -> None:
    """Log what somebody changed.

    Args:
        actor: who.
        action: what, such as `apikey.create`.
        target: id of the thing; never a secret.
        facts: what else matters; never a secret.
    """
    fields = {"who": actor.key_id, "name": actor.name, "role": actor.role}
    log.info("change", extra={"fields": {**fields, "action": action, "target": target, **facts}})


def record_refusal(action: str, detail: str) -> None:
    """Log that a known key tried what its role may not do."""
    log.warning("refused", extra={"fields": {"action": action, "detail": detail}})
