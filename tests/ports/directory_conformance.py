"""What every directory must do, whatever keeps it (port: `verismo.ports.directory`).

A subclass gives two fixtures: `directory`, fresh and empty, and `elsewhere`, a second opening of
the same store such as another process has.
"""

import threading

import msgspec
import pytest

from verismo.model.errors import NotFound, StateError
from verismo.model.ids import KeyId, TenantId
from verismo.model.tenant import ApiKey, RateLimit
from verismo.ports.directory import Directory, Observation

ONE = TenantId("TENANT_001")
TWO = TenantId("TENANT_002")


def api_key(key_id: str = "aaaaaaaaaa", created_ms: int = 1_000) -> ApiKey:
    return ApiKey(
        id=KeyId(key_id),
        tenant=ONE,
        secret_sha256="ab" * 32,
        name="a laptop",
        purpose="support",
        role="auditor",
        created_ms=created_ms,
        expires_ms=9_000,
        rate=RateLimit(requests_per_minute=60, tokens_per_minute=9_000),
    )


def seen(
    name: str = "gpt-4o", tenant: TenantId = ONE, count: int = 1, last_ms: int = 1_000
) -> Observation:
    return Observation(tenant, "chat", name, "", count, last_ms)


class DirectoryConformance:
    def test_key_is_read_back_as_it_was_stored(self, directory: Directory):
        directory.add_api_key(api_key())
        assert list(directory.api_keys()) == [api_key()]

    def test_keys_come_by_creation_time(self, directory: Directory):
        for key_id, created_ms in (("cccccccccc", 1), ("aaaaaaaaaa", 3), ("bbbbbbbbbb", 2)):
            directory.add_api_key(api_key(key_id, created_ms))
        assert [key.created_ms for key in directory.api_keys()] == [1, 2, 3]

    def test_taken_id_is_refused_and_the_first_key_stays(self, directory: Directory):
        directory.add_api_key(api_key())
        with pytest.raises(StateError, match="is taken"):
            directory.add_api_key(msgspec.structs.replace(api_key(), secret_sha256="cd" * 32))
        assert list(directory.api_keys()) == [api_key()]

    def test_revoked_key_stays_listed(self, directory: Directory):
        directory.add_api_key(api_key())
        revoked = directory.revoke_api_key(KeyId("aaaaaaaaaa"), 5_000)
        assert revoked == msgspec.structs.replace(api_key(), revoked_ms=5_000)
        assert list(directory.api_keys()) == [revoked]

    def test_revoking_again_keeps_the_first_time(self, directory: Directory):
        directory.add_api_key(api_key())
        first = directory.revoke_api_key(KeyId("aaaaaaaaaa"), 5_000)
        assert directory.revoke_api_key(KeyId("aaaaaaaaaa"), 6_000) == first

    def test_revoking_one_key_leaves_the_others(self, directory: Directory):
        directory.add_api_key(api_key("aaaaaaaaaa", 1))
        directory.add_api_key(api_key("bbbbbbbbbb", 2))
        directory.revoke_api_key(KeyId("aaaaaaaaaa"), 5_000)
        assert [key.revoked_ms for key in directory.api_keys()] == [5_000, 0]

    def test_unknown_key_cannot_be_revoked(self, directory: Directory):
        with pytest.raises(NotFound, match="zzzzzzzzzz"):
            directory.revoke_api_key(KeyId("zzzzzzzzzz"), 1)

    def test_version_moves_with_every_change_and_only_then(self, directory: Directory):
        versions = [directory.version()]
        directory.add_api_key(api_key())
        versions.append(directory.version())
        directory.revoke_api_key(KeyId("aaaaaaaaaa"), 5_000)
        versions.append(directory.version())
        directory.observe([seen()])
        versions.append(directory.version())
        directory.api_keys()
        directory.observations()
        directory.observe([])
        assert directory.version() == versions[-1]
        assert len(set(versions)) == 4

    def test_refused_change_does_not_move_the_version(self, directory: Directory):
        directory.add_api_key(api_key())
        before = directory.version()
        with pytest.raises(StateError):
            directory.add_api_key(api_key())
        with pytest.raises(NotFound):
            directory.revoke_api_key(KeyId("zzzzzzzzzz"), 1)
        assert directory.version() == before

    def test_change_is_seen_elsewhere_at_once(self, directory: Directory, elsewhere: Directory):
        before = elsewhere.version()
        directory.add_api_key(api_key())
        assert elsewhere.version() != before
        assert elsewhere.version() == directory.version()
        assert list(elsewhere.api_keys()) == [api_key()]

    @pytest.mark.slow
    def test_writers_elsewhere_lose_nothing(self, directory: Directory, elsewhere: Directory):
        def count(store: Directory) -> None:
            for _ in range(20):
                store.observe([seen()])

        threads = [threading.Thread(target=count, args=[d]) for d in (directory, elsewhere) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert [row.count for row in directory.observations()] == [80]

    def test_counts_add_up_and_the_last_time_is_the_latest(self, directory: Directory):
        directory.observe([seen(count=2, last_ms=5), seen(count=1, last_ms=9)])
        directory.observe([seen(count=4, last_ms=7)])
        assert list(directory.observations()) == [seen(count=7, last_ms=9)]

    def test_kind_name_document_and_tenant_tell_observations_apart(self, directory: Directory):
        rows = [
            seen(),
            seen("gpt-4o-mini"),
            seen(tenant=TWO),
            Observation(ONE, "embedding", "gpt-4o", "", 1, 1_000),
            Observation(ONE, "graphql", "gpt-4o", "{ a }", 1, 1_000),
            Observation(ONE, "graphql", "gpt-4o", "{ b }", 1, 1_000),
        ]
        directory.observe(rows)
        found = directory.observations()
        assert len(found) == len(rows)
        assert all(row in found for row in rows)

    def test_most_frequent_comes_first(self, directory: Directory):
        directory.observe([seen("rare", count=1), seen("common", count=9), seen("some", count=3)])
        assert [row.name for row in directory.observations()] == ["common", "some", "rare"]

    def test_one_tenant_does_not_see_what_another_ran(self, directory: Directory):
        directory.observe([seen("mine"), seen("theirs", tenant=TWO)])
        assert [row.name for row in directory.observations(ONE)] == ["mine"]
        assert directory.observations(TenantId("TENANT_003")) == []

    @pytest.mark.slow
    def test_flood_of_names_pushes_out_the_least_recent_of_that_tenant_only(
        self, directory: Directory
    ):
        directory.observe([seen("theirs", tenant=TWO, last_ms=0), seen("oldest", last_ms=1)])
        directory.observe([seen(f"n{number}", last_ms=2 + number) for number in range(10_000)])
        names = {row.name for row in directory.observations(ONE)}
        assert len(names) == 10_000
        assert "oldest" not in names
        assert {"n0", "n9999"} <= names
        assert [row.name for row in directory.observations(TWO)] == ["theirs"]

    @pytest.mark.parametrize(
        "name", ["'; DROP TABLE api_key; --", "a\0b", "名前", "", "x" * 100_000, "%s ? :name"]
    )
    def test_clients_text_is_kept_as_it_is(self, directory: Directory, name: str):
        directory.observe([seen(name)])
        assert list(directory.observations()) == [seen(name)]

    def test_lone_surrogate_in_a_name_does_not_lose_the_batch(self, directory: Directory):
        directory.observe([seen("good"), seen("bad \ud800")])
        assert sorted(row.name for row in directory.observations()) == ["bad ?", "good"]
