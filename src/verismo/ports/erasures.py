"""Which tenants were erased, and when; a backup without the private keys knows it as well."""

from collections.abc import Mapping
from typing import Protocol

from verismo.model.ids import TenantId


class Erasures(Protocol):
    """The record of erasures. It is durable when a call returns, and nothing takes it back.

    Used from any process and any thread; reads see every change that another process finished.
    A writer waits for another up to 5 s, then raises StateError. Nobody retries.
    """

    def is_erased(self, tenant: TenantId) -> bool:
        """Say whether a tenant was erased; cheap, asked for each read of a record.

        Raises:
            StateError: the store cannot be read: take the tenant for erased.
        """
        ...

    def erased(self) -> Mapping[TenantId, int]:
        """Return when each tenant was erased, Unix ms.

        Raises:
            StateError: the store cannot be read.
        """
        ...

    def record(self, tenant: TenantId, now_ms: int) -> None:
        """Record that a tenant is erased; the first time stays.

        Raises:
            StateError: the store cannot be written: do not delete the key then.
        """
        ...
