"""What every store of administrators must do (port: `verismo.ports.admins`).

A subclass gives two fixtures: `admins`, fresh and empty, and `admins_elsewhere`, a second opening
of the same store.
"""

import msgspec
import pytest

from verismo.model.errors import NotFound, StateError
from verismo.model.ids import KeyId
from verismo.ports.admins import AdminKey, Admins


def admin_key(key_id: str = "aaaaaaaaaa", created_ms: int = 1_000) -> AdminKey:
    return AdminKey(KeyId(key_id), "on call", "operator", "ab" * 32, created_ms, 9_000)


class AdminsConformance:
    def test_admin_key_is_read_back_as_it_was_stored(self, admins: Admins):
        admins.add_admin_key(admin_key())
        assert list(admins.admin_keys()) == [admin_key()]

    def test_admin_keys_come_by_creation_time(self, admins: Admins):
        for key_id, created_ms in (("cccccccccc", 1), ("aaaaaaaaaa", 3), ("bbbbbbbbbb", 2)):
            admins.add_admin_key(admin_key(key_id, created_ms))
        assert [key.created_ms for key in admins.admin_keys()] == [1, 2, 3]

    def test_taken_admin_id_is_refused_and_the_first_key_stays(self, admins: Admins):
        admins.add_admin_key(admin_key())
        with pytest.raises(StateError, match="is taken"):
            admins.add_admin_key(msgspec.structs.replace(admin_key(), role="admin"))
        assert list(admins.admin_keys()) == [admin_key()]

    def test_revoking_an_admin_again_keeps_the_first_time(self, admins: Admins):
        admins.add_admin_key(admin_key())
        first = admins.revoke_admin_key(KeyId("aaaaaaaaaa"), 5_000)
        assert first == msgspec.structs.replace(admin_key(), revoked_ms=5_000)
        assert admins.revoke_admin_key(KeyId("aaaaaaaaaa"), 6_000) == first

    def test_unknown_admin_key_cannot_be_revoked(self, admins: Admins):
        with pytest.raises(NotFound, match="zzzzzzzzzz"):
            admins.revoke_admin_key(KeyId("zzzzzzzzzz"), 1)

    def test_revocation_is_seen_elsewhere_at_once(self, admins: Admins, admins_elsewhere: Admins):
        admins.add_admin_key(admin_key())
        admins_elsewhere.revoke_admin_key(KeyId("aaaaaaaaaa"), 5_000)
        assert [key.revoked_ms for key in admins.admin_keys()] == [5_000]
