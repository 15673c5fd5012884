"""What both archives check of an object: its name, and what is already stored under it."""

import re

from verismo.model.errors import IntegrityError
from verismo.model.retention import Lock, UploadProof
from verismo.ports.archive import ArchiveUnusable

NAME_CHARS_MAX = 900
"""S3 takes 1,024 bytes, prefix included."""
_name = re.compile(r"[A-Za-z0-9.:_~-]+(?:/[A-Za-z0-9.:_~-]+)*").fullmatch


def check_name(name: str) -> str:
    """Return a name that is one.

    Raises:
        ValueError: it has other characters, is too long or has a part `.` or `..`; a mistake of
            ours.
    """
    parts = name.split("/")
    if _name(name) is None or len(name) > NAME_CHARS_MAX or {".", ".."} & set(parts):
        raise ValueError(f"{name[:64]!r} is no name of an archived object")
    return name


def refuse_other_bytes(name: str, stored_sha256: str, given_sha256: str) -> None:
    """Refuse to store something else under a name that is taken.

    Raises:
        IntegrityError: the digests differ.
    """
    if stored_sha256 != given_sha256:
        raise IntegrityError(
            f"the archive already holds {name} with other bytes "
            f"(SHA-256 {stored_sha256}, not {given_sha256}); neither was changed"
        )


def refuse_weaker_mode(found: UploadProof, lock: Lock) -> None:
    """Refuse to count an object of staging as one of production.

    Object stores change a mode only for who may bypass the lock, which the archive must not be.

    Raises:
        ArchiveUnusable: the object's mode is weaker than the one wanted.
    """
    if found.mode == "GOVERNANCE" and lock.mode == "COMPLIANCE":
        raise ArchiveUnusable(
            f"{found.name} is there, locked in GOVERNANCE mode only",
            next_step="Staging and production need archives of their own: name another bucket, "
            "prefix or folder in [archive].",
        )
