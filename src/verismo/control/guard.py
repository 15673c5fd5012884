"""Who may do what on the control API: admin keys and their three roles.

Keys are read from the store on every call, so a revoked key is refused at once.
"""

import msgspec

from verismo.control.problem import RoleTooLow
from verismo.model.apikey import is_in_force, key_matches, parse_api_key
from verismo.model.errors import Unauthenticated
from verismo.ports.admins import AdminKey, AdminRole, Admins

_RANK: dict[AdminRole, int] = {"viewer": 0, "operator": 1, "admin": 2}
_NOBODY = "0" * 64
_REFUSAL = "no admin key that is in force came with this request"


class Actor(msgspec.Struct, frozen=True):
    """Who acts, as the audit log names it.

    Args:
        key_id: public part of the key.
        name: who holds it.
        role: what it may do.
    """

    key_id: str
    name: str
    role: AdminRole


def authorize(admins: Admins, authorization: str, needed: AdminRole, now_ms: int) -> Actor:
    """Find who calls and check the role.

    Args:
        admins: the keys.
        authorization: the header's value; empty without one.
        needed: the least role that may do this; a higher one may too.
        now_ms: Unix ms.

    Raises:
        Unauthenticated: no key, an unknown, expired or revoked one, or a tenant's.
        RoleTooLow: the key is good but its role is lower.
    """
    scheme, _, presented = authorization.partition(" ")
    key = parse_api_key(presented.strip(), "va") if scheme.lower() == "bearer" else None
    if key is None:
        raise Unauthenticated(_REFUSAL)
    record = next((found for found in admins.admin_keys() if found.id == key.id), None)
    # The comparison runs for unknown keys too, so that time does not tell which ids exist.
    matches = key_matches(key, _NOBODY if record is None else record.secret_sha256)
    if record is None or not matches or not is_in_force(record, now_ms):
        raise Unauthenticated(_REFUSAL)
    actor = _actor(record)
    check_role(actor, needed)
    return actor


def check_role(actor: Actor, needed: AdminRole) -> None:
    """Refuse somebody whose role is too low.

    Raises:
        RoleTooLow: says which role is needed.
    """
    if _RANK[actor.role] < _RANK[needed]:
        raise RoleTooLow(f"this needs the role {needed}; the key {actor.key_id} has {actor.role}")


def _actor(record: AdminKey) -> Actor:
    return Actor(key_id=record.id, name=record.name, role=record.role)
