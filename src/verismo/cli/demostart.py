"""What every demo needs at its start: free ports, and keys that expire by themselves."""

import os
import socket
import time
from pathlib import Path

from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.errors import StateError
from verismo.model.ids import TenantId
from verismo.model.tenant import ApiKey
from verismo.ports.admins import AdminKey, AdminRole
from verismo.wiring.state import open_state

TENANT = TenantId("TENANT_001")
KEY_LIFETIME_MS = 7 * 86_400_000


def make_caller_key(data: Path, name: str) -> str:
    """Make an API key of the demo's tenant for this start; it expires by itself.

    Args:
        data: the data folder.
        name: for people.
    """
    text = new_api_key(os.urandom(RANDOM_BYTES), "vk")
    now_ms = time.time_ns() // 1_000_000
    key = ApiKey(
        id=text.id,
        tenant=TENANT,
        secret_sha256=key_sha256(text),
        name=name,
        created_ms=now_ms,
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    with open_state(data) as state:
        state.directory.add_api_key(key)
    return text.text


def free_ports(count: int) -> list[int]:
    """Return ports that are free now; who is to listen there says so if another is faster.

    Raises:
        StateError: there are none.
    """
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    except OSError as error:
        raise StateError(
            f"no free port on 127.0.0.1: {error.strerror}",
            next_step="Check that the loopback interface is up.",
        ) from error
    finally:
        for probe in probes:
            probe.close()


def make_admin_key(data: Path, name: str, role: AdminRole) -> str:
    """Make a key of the control API for this start; it expires by itself.

    Args:
        data: the data folder.
        name: whom acts are recorded under.
        role: of the key.
    """
    text = new_api_key(os.urandom(RANDOM_BYTES), "va")
    now_ms = time.time_ns() // 1_000_000
    key = AdminKey(
        id=text.id,
        name=name,
        role=role,
        secret_sha256=key_sha256(text),
        created_ms=now_ms,
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    with open_state(data) as state:
        state.admins.add_admin_key(key)
    return text.text
