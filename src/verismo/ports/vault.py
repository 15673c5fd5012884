"""The vault: captured content under each tenant's own data key, so that it can be erased."""

from typing import Protocol

from verismo.model.ids import ProvId, TenantId


class Vault(Protocol):
    """Encrypts and decrypts content; deleting a tenant's key is erasure.

    A tenant's key is made at first use. After erasure no key is made again for that tenant.
    """

    def seal(self, tenant: TenantId, prov_id: ProvId, content: bytes) -> bytes:
        """Encrypt content, bound to the tenant and the answer.

        Raises:
            StateError: the key cannot be read or made, or the tenant was erased.
        """
        ...

    def open(self, tenant: TenantId, prov_id: ProvId, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned.

        Raises:
            Erased: the tenant's key is gone.
            StateError: the bytes are not this answer's.
        """
        ...

    def is_erased(self, tenant: TenantId) -> bool:
        """Say whether a tenant was erased; cheap, asked for each read of a record."""
        ...
