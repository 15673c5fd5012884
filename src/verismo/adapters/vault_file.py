"""The vault on files: AES-256-GCM under one data key for each tenant, `keys/tenants/<ID>.key`.

Deleting the key file is erasure; that it happened is recorded elsewhere (`ports.erasures`), so that
no process makes a new key for a tenant that was erased. Earlier versions recorded it beside the
key, in `<ID>.erased`: that still counts.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from verismo.adapters.secret_file import make_secret, read_secret
from verismo.model.errors import Erased, StateError
from verismo.model.ids import ProvId, TenantId, prov_id_bytes
from verismo.ports.erasures import Erasures

NONCE_BYTES = 12


class FileVault:
    """Tenants' data keys in a folder; see `ports.vault.Vault`.

    Args:
        folder: `keys/tenants` of the data folder.
        erasures: who was erased; None where only the markers in the folder say so.
    """

    def __init__(self, folder: Path, erasures: Erasures | None = None) -> None:
        self._folder = folder
        self._erasures = erasures

    def seal(self, tenant: TenantId, prov_id: ProvId, content: bytes) -> bytes:
        """Encrypt content under the tenant's key; a random nonce stands before the ciphertext."""
        return self._sealed(tenant, _bound(tenant, prov_id), content)

    def open(self, tenant: TenantId, prov_id: ProvId, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned."""
        return self._opened(tenant, _bound(tenant, prov_id), sealed)

    def seal_file(self, tenant: TenantId, name: str, content: bytes) -> bytes:
        """Encrypt an archived file under the tenant's key, bound to the file's name."""
        return self._sealed(tenant, _bound_file(tenant, name), content)

    def open_file(self, tenant: TenantId, name: str, sealed: bytes) -> bytes:
        """Decrypt what `seal_file` returned."""
        return self._opened(tenant, _bound_file(tenant, name), sealed)

    def make_key(self, tenant: TenantId) -> bool:
        """Make a tenant's data key before anything is sealed under it.

        Returns:
            True if it was made now; False if it is there, or the tenant was erased.

        Raises:
            StateError: it cannot be written.
        """
        path = self._path(tenant)
        return not path.exists() and not self.is_erased(tenant) and make_secret(path)

    def _sealed(self, tenant: TenantId, bound: bytes, content: bytes) -> bytes:
        if self.is_erased(tenant):
            raise StateError(
                f"{tenant} was erased; its content is not captured any more",
                next_step=f"Turn `capture` off for {tenant}.",
            )
        path = self._path(tenant)
        make_secret(path)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(read_secret(path)).encrypt(nonce, content, bound)

    def _opened(self, tenant: TenantId, bound: bytes, sealed: bytes) -> bytes:
        if self.is_erased(tenant) or not self._path(tenant).exists():
            raise Erased("the tenant's data key is gone")
        key = AESGCM(read_secret(self._path(tenant)))
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return key.decrypt(nonce, ciphertext, bound)
        except (InvalidTag, ValueError) as error:
            raise StateError(
                "the content is not this answer's or file's, or was altered"
            ) from error

    def is_erased(self, tenant: TenantId) -> bool:
        """Say whether the tenant was erased."""
        if self._erasures is not None and self._erasures.is_erased(tenant):
            return True
        return (self._folder / f"{tenant}.erased").exists()

    def _path(self, tenant: TenantId) -> Path:
        return self._folder / f"{tenant}.key"


def _bound(tenant: TenantId, prov_id: ProvId) -> bytes:
    """What the ciphertext belongs to, so that it cannot be moved to another answer."""
    return prov_id_bytes(prov_id) + tenant.encode("utf-8")


def _bound_file(tenant: TenantId, name: str) -> bytes:
    """What an archived file belongs to; its label is no UUIDv7, so it is never an answer's."""
    return b"archive\0" + name.encode("utf-8") + b"\0" + tenant.encode("utf-8")
