"""The vault: content and archived records under each tenant's own data key: erasable."""

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

    def seal_file(self, tenant: TenantId, name: str, content: bytes) -> bytes:
        """Encrypt a file of a tenant's records for the archive, bound to the tenant and its name.

        Raises:
            StateError: the key cannot be read or made, or the tenant was erased.
        """
        ...

    def open_file(self, tenant: TenantId, name: str, sealed: bytes) -> bytes:
        """Decrypt what `seal_file` returned.

        Raises:
            Erased: the tenant's key is gone.
            StateError: the bytes are not this file's.
        """
        ...

    def is_erased(self, tenant: TenantId) -> bool:
        """Say whether a tenant was erased; cheap, asked for each read of a record.

        Raises:
            StateError: that cannot be found out now; take the tenant for erased.
        """
        ...
