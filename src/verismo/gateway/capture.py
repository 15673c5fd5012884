"""Captured content: kept only for tenants that ask for it, encrypted under their own key.

With it goes the salt, so that whoever may decrypt the content can also prove that it is what was
answered. Deleting the tenant's key erases both (decisions 3).
"""

import msgspec

from verismo.gateway.journey import Journey
from verismo.gateway.seal import RETRY_AFTER_S
from verismo.model.errors import Erased, IntegrityError, StateError
from verismo.model.ids import TenantId
from verismo.ports.vault import Vault

CAPTURED_BYTES_MAX = 1_048_576
"""Content of one answer that is kept; of longer content the commitments alone remain."""


class Captured(msgspec.Struct, frozen=True):
    """What is encrypted for one answer, as MessagePack."""

    salt: bytes
    query: bytes
    request: bytes
    response: bytes


_encode = msgspec.msgpack.Encoder().encode


class Capture:
    """Encrypts content for tenants with capture on.

    Args:
        vault: holds the tenants' data keys.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def check(self, journey: Journey) -> None:
        """Refuse a tenant whose content is to be kept but was erased, before anything runs.

        Raises:
            Erased: turn its capture off, or revoke its keys.
            IntegrityError: it cannot be found out whether the tenant was erased.
        """
        tenant = journey.caller.view.tenant
        if tenant.capture and self._is_erased(tenant.id):
            raise Erased("this tenant was erased, so its content can no longer be kept")

    def of_body(self, journey: Journey, body: bytes) -> bytes:
        """Return the encrypted exchange, or nothing where capture is off or it is too long.

        Raises:
            IntegrityError: the tenant's key cannot be used.
        """
        tenant = journey.caller.view.tenant
        request = journey.request
        if not tenant.capture or len(request.body) + len(body) > CAPTURED_BYTES_MAX:
            return b""
        if self._is_erased(tenant.id):
            return b""  # only `check`'s refusal gets here, or what was in flight at the erasure
        content = Captured(
            salt=journey.salt, query=request.query, request=request.body, response=body
        )
        try:
            return self._vault.seal(tenant.id, journey.prov_id, _encode(content))
        except StateError as error:
            raise _unkept() from error

    def of_stream(self, journey: Journey, events: list[bytes] | None) -> bytes:
        """Return the encrypted exchange of a stream; `events` is None where capture is off."""
        return b"" if events is None else self.of_body(journey, b"".join(events))

    def _is_erased(self, tenant: TenantId) -> bool:
        try:
            return self._vault.is_erased(tenant)
        except StateError as error:
            raise _unkept() from error


def _unkept() -> IntegrityError:
    """Serving an answer without keeping it would break what the tenant was promised."""
    return IntegrityError(
        "the content of this answer could not be kept, so the answer is not served",
        retry_after_s=RETRY_AFTER_S,
    )
