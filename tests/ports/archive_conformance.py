"""What every archive must do (port: `verismo.ports.archive`).

A subclass gives the fixtures `archive`, fresh and empty, `archive_elsewhere`, a second opening of
the same one, and `now_ms`, the present of whoever enforces the locks.
"""

import threading

import pytest

from verismo.model import canonical
from verismo.model.errors import IntegrityError
from verismo.model.retention import Lock
from verismo.ports.archive import Archive, ArchiveUnusable, RetentionHolds

DAY_MS = 86_400_000
NAME = "attest/v1/gw.example:8080/log/eu/2026/2026/11/22/rollup.dsse.json"


def lock(now_ms: int, days: int = 3_000, mode="COMPLIANCE") -> Lock:
    """Return a lock that ends on a whole second, days from now."""
    return Lock(mode, (now_ms // 1_000) * 1_000 + days * DAY_MS)


class ArchiveConformance:
    def test_what_was_stored_is_read_back_with_digest_size_and_lock(
        self, archive: Archive, archive_elsewhere: Archive, now_ms: int
    ):
        proof = archive.put(NAME, b"content", lock(now_ms))
        assert (proof.name, proof.bytes) == (NAME, 7)
        assert proof.sha256 == canonical.digest(b"content")
        assert (proof.mode, proof.until_ms) == ("COMPLIANCE", lock(now_ms).until_ms)
        assert archive_elsewhere.find(NAME) == proof
        assert archive_elsewhere.get(NAME) == b"content"

    def test_empty_object_is_an_object(self, archive: Archive, now_ms: int):
        assert archive.put(NAME, b"", lock(now_ms)).bytes == 0
        assert archive.get(NAME) == b""

    def test_storing_the_same_bytes_again_gives_the_same_proof(
        self, archive: Archive, archive_elsewhere: Archive, now_ms: int
    ):
        proof = archive.put(NAME, b"content", lock(now_ms))
        assert archive_elsewhere.put(NAME, b"content", lock(now_ms)) == proof
        assert archive.put(NAME, b"content", lock(now_ms, days=100)) == proof

    def test_other_bytes_are_refused_by_name_and_the_first_stay(
        self, archive: Archive, now_ms: int
    ):
        proof = archive.put(NAME, b"content", lock(now_ms))
        with pytest.raises(IntegrityError, match=NAME):
            archive.put(NAME, b"contenT", lock(now_ms))
        assert archive.get(NAME) == b"content"
        assert archive.find(NAME) == proof

    def test_lock_is_made_longer_and_never_shorter(self, archive: Archive, now_ms: int):
        archive.put(NAME, b"content", lock(now_ms, days=10))
        longer = archive.put(NAME, b"content", lock(now_ms, days=20))
        assert longer.until_ms == lock(now_ms, days=20).until_ms
        assert archive.put(NAME, b"content", lock(now_ms, days=5)) == longer

    def test_object_of_staging_is_never_counted_as_one_of_production(
        self, archive: Archive, now_ms: int
    ):
        proof = archive.put(NAME, b"content", lock(now_ms, days=10, mode="GOVERNANCE"))
        with pytest.raises(ArchiveUnusable, match="GOVERNANCE mode only") as refused:
            archive.put(NAME, b"content", lock(now_ms, days=5))
        assert "archives of their own" in refused.value.advice
        assert archive.find(NAME) == proof

    def test_lock_of_production_is_more_than_staging_asks_for(self, archive: Archive, now_ms: int):
        archive.put(NAME, b"content", lock(now_ms, days=10))
        kept = archive.put(NAME, b"content", lock(now_ms, days=12, mode="GOVERNANCE"))
        assert (kept.mode, kept.until_ms) == ("COMPLIANCE", lock(now_ms, days=12).until_ms)

    def test_delete_before_the_date_is_refused(self, archive: Archive, now_ms: int):
        archive.put(NAME, b"content", lock(now_ms))
        with pytest.raises(RetentionHolds):
            archive.remove(NAME, now_ms)
        assert archive.get(NAME) == b"content"

    def test_removing_what_is_not_there_is_fine(self, archive: Archive, now_ms: int):
        archive.remove(NAME, now_ms)

    def test_missing_object_is_not_found(self, archive: Archive, now_ms: int):
        assert archive.find(NAME) is None
        assert list(archive.names("attest/")) == []
        with pytest.raises(IntegrityError, match=NAME):
            archive.get(NAME)

    def test_names_come_sorted_and_by_prefix(self, archive: Archive, now_ms: int):
        for name in ("attest/v1/b/2", "attest/v1/b/10", "attest/v1/a/1", "attest/v2/a"):
            archive.put(name, b"x", lock(now_ms))
        assert list(archive.names("attest/v1/")) == [
            "attest/v1/a/1",
            "attest/v1/b/10",
            "attest/v1/b/2",
        ]
        assert list(archive.names("attest/v1/b/1")) == ["attest/v1/b/10"]

    def test_name_that_begins_another_name_is_another_object(self, archive: Archive, now_ms: int):
        archive.put("attest/v1/tiles-0-1.tar.gz", b"long", lock(now_ms))
        archive.put("attest/v1/tiles-0-1.tar", b"short", lock(now_ms))
        assert archive.get("attest/v1/tiles-0-1.tar") == b"short"
        assert archive.find("attest/v1/tiles-0") is None

    @pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a/../b", "a/./b", "a b", "a\n", "ä"])
    def test_name_that_leaves_the_archive_is_refused(self, archive: Archive, now_ms: int, name):
        with pytest.raises(ValueError, match="no name"):
            archive.put(name, b"", lock(now_ms))

    def test_of_two_writers_one_wins_and_neither_is_lied_to(
        self, archive: Archive, archive_elsewhere: Archive, now_ms: int
    ):
        stored, refused, start = [], [], threading.Barrier(2, timeout=20)

        def store(where: Archive, content: bytes) -> None:
            start.wait()
            try:
                where.put(NAME, content, lock(now_ms))
                stored.append(content)
            except IntegrityError:
                refused.append(content)

        writers = [
            threading.Thread(target=store, args=given)
            for given in ((archive, b"one"), (archive_elsewhere, b"two"))
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
        assert sorted([*stored, *refused]) == [b"one", b"two"]
        assert stored == [archive.get(NAME)]
