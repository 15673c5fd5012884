import contextlib
import datetime
import sys
import time
import uuid

import botocore.auth
import botocore.exceptions
import pytest
from tests.ports.archive_conformance import NAME, ArchiveConformance, lock
from tests.support import objectstore

from verismo.adapters.archive_s3 import S3Archive, S3Settings
from verismo.model.errors import IntegrityError, StateError
from verismo.ports.archive import ArchiveUnreachable, ArchiveUnusable, RetentionHolds

pytestmark = pytest.mark.slow
UTC = datetime.UTC


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory):
    with objectstore.object_store(tmp_path_factory.mktemp("objectstore")) as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", objectstore.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", objectstore.SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture(scope="session")
def client(endpoint):
    return objectstore.s3_client(endpoint)


@pytest.fixture
def settings(endpoint, client) -> S3Settings:
    bucket = f"archive-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return S3Settings(bucket, objectstore.REGION, endpoint, "staging/one")


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def archive(settings) -> S3Archive:
    return S3Archive(settings)


@pytest.fixture
def archive_elsewhere(settings) -> S3Archive:
    return S3Archive(settings)


@objectstore.needed
class TestS3Archive(ArchiveConformance):
    pass


KEY = f"staging/one/{NAME}"


@objectstore.needed
class TestObjectLock:
    def test_proof_names_the_version_that_the_store_locked(self, archive, client, settings, now_ms):
        proof = archive.put(NAME, b"content", lock(now_ms))
        assert proof.enforced_by == "object-lock"
        told = client.get_object_retention(
            Bucket=settings.bucket, Key=KEY, VersionId=proof.version
        )["Retention"]
        assert told["Mode"] == "COMPLIANCE"
        assert told["RetainUntilDate"].timestamp() * 1_000 == proof.until_ms

    def test_delete_marker_does_not_hide_an_object(self, archive, client, settings, now_ms):
        proof = archive.put(NAME, b"content", lock(now_ms))
        assert client.delete_object(Bucket=settings.bucket, Key=KEY)["DeleteMarker"]
        assert archive.find(NAME) == proof
        assert archive.get(NAME) == b"content"
        assert list(archive.names("attest/")) == [NAME]
        assert archive.put(NAME, b"content", lock(now_ms)) == proof

    def test_object_stored_over_another_does_not_replace_it(
        self, archive, client, settings, now_ms
    ):
        proof = archive.put(NAME, b"content", lock(now_ms))
        client.put_object(Bucket=settings.bucket, Key=KEY, Body=b"forged")
        assert archive.find(NAME) == proof
        assert archive.get(NAME) == b"content"

    def test_store_refuses_to_shorten_weaken_or_delete_what_the_archive_locked(
        self, archive, client, settings, now_ms
    ):
        proof = archive.put(NAME, b"content", lock(now_ms))
        given = {"Bucket": settings.bucket, "Key": KEY, "VersionId": proof.version}
        sooner = datetime.datetime.fromtimestamp(now_ms / 1_000 + 86_400, UTC)
        later = datetime.datetime.fromtimestamp(proof.until_ms / 1_000, UTC)
        for call in (
            lambda: client.delete_object(**given),
            lambda: client.delete_object(**given, BypassGovernanceRetention=True),
            lambda: client.put_object_retention(
                **given, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": sooner}
            ),
            lambda: client.put_object_retention(
                **given, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": later}
            ),
        ):
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                call()
        assert archive.find(NAME) == proof

    def test_delete_is_the_stores_decision_whatever_time_the_caller_says(self, archive, now_ms):
        proof = archive.put(NAME, b"content", lock(now_ms))
        with pytest.raises(ArchiveUnusable, match="denies"):
            archive.remove(NAME, proof.until_ms)
        assert archive.get(NAME) == b"content"

    def test_object_is_deleted_once_its_lock_has_run_out(self, archive, client, settings, now_ms):
        proof = archive.put(NAME, b"content", lock(now_ms, days=1, mode="GOVERNANCE"))
        with pytest.raises(RetentionHolds):
            archive.remove(NAME, now_ms)
        until_s = int(time.time()) + 4  # a busy machine needs a while to ask for it
        client.put_object_retention(
            Bucket=settings.bucket,
            Key=KEY,
            VersionId=proof.version,
            Retention={
                "Mode": "GOVERNANCE",
                "RetainUntilDate": datetime.datetime.fromtimestamp(until_s, UTC),
            },
            BypassGovernanceRetention=True,
        )
        deadline = time.monotonic() + 30
        while archive.find(NAME) is not None:
            assert time.monotonic() < deadline
            with contextlib.suppress(RetentionHolds, ArchiveUnusable):
                archive.remove(NAME, time.time_ns() // 1_000_000)

    def test_object_without_a_lock_is_no_archived_object(self, archive, client, settings, now_ms):
        client.put_object(Bucket=settings.bucket, Key=KEY, Body=b"content")
        with pytest.raises(IntegrityError, match="without a lock"):
            archive.put(NAME, b"content", lock(now_ms))

    def test_object_without_a_checksum_is_no_archived_object(
        self, archive, client, settings, now_ms
    ):
        client.put_object(
            Bucket=settings.bucket,
            Key=KEY,
            Body=b"content",
            ChecksumAlgorithm="CRC32",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=datetime.datetime.fromtimestamp(
                lock(now_ms).until_ms / 1_000, UTC
            ),
        )
        with pytest.raises(IntegrityError, match="without a SHA-256"):
            archive.put(NAME, b"content", lock(now_ms))


@objectstore.needed
class TestRefusals:
    """What the store or the machine has wrong is named with a next step, and nothing is lost."""

    def refused(self, settings, now_ms, kind=ArchiveUnusable):
        with pytest.raises(kind) as refused:
            S3Archive(settings).put(NAME, b"content", lock(now_ms))
        return refused.value

    def test_bucket_without_object_lock_takes_nothing(self, endpoint, client, now_ms):
        bucket = f"plain-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket)
        error = self.refused(S3Settings(bucket, objectstore.REGION, endpoint), now_ms)
        assert "has no Object Lock" in error.detail
        assert "Object Lock" in error.advice
        assert "Contents" not in client.list_objects_v2(Bucket=bucket)

    def test_missing_bucket_is_named(self, endpoint, now_ms):
        error = self.refused(S3Settings("no-such-bucket", objectstore.REGION, endpoint), now_ms)
        assert "no bucket no-such-bucket" in error.detail

    def test_expired_credentials_are_named_and_the_upload_goes_on_after_renewal(
        self, settings, now_ms, monkeypatch
    ):
        with monkeypatch.context() as expired:
            expired.setenv("AWS_SESSION_TOKEN", "expired")
            error = self.refused(settings, now_ms)
        assert "refuses the credentials" in error.detail
        assert "Renew them" in error.advice
        assert S3Archive(settings).put(NAME, b"content", lock(now_ms)).bytes == 7

    def test_wrong_secret_is_named(self, settings, now_ms, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert "SignatureDoesNotMatch" in self.refused(settings, now_ms).detail

    def test_missing_credentials_are_named(self, settings, now_ms, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        error = self.refused(settings, now_ms)
        assert "no credentials" in error.detail
        assert "AWS_ACCESS_KEY_ID" in error.advice

    def test_clock_two_hours_off_is_named(self, settings, now_ms, monkeypatch):
        real = botocore.auth.get_current_datetime

        def late(*given, **named):
            return real(*given, **named) - datetime.timedelta(hours=2)

        with monkeypatch.context() as skewed:
            skewed.setattr(botocore.auth, "get_current_datetime", late)
            error = self.refused(settings, now_ms)
        assert "clock" in error.detail
        assert "NTP" in error.advice
        assert S3Archive(settings).put(NAME, b"content", lock(now_ms)).bytes == 7

    def test_unreachable_store_may_be_tried_again(self, settings, now_ms, monkeypatch):
        monkeypatch.setattr("verismo.adapters.archive_s3.ATTEMPTS_MAX", 1)
        closed = S3Settings(settings.bucket, settings.region, "http://127.0.0.1:9")
        error = self.refused(closed, now_ms, ArchiveUnreachable)
        assert "repeat the command" in error.advice

    def test_endpoint_that_is_no_url_is_named(self, settings, now_ms):
        broken = S3Settings(settings.bucket, settings.region, "not a url")
        assert "endpoint" in self.refused(broken, now_ms).advice

    def test_answer_lost_after_the_store_stored_it_is_made_good_by_repeating(
        self, archive, archive_elsewhere, now_ms, monkeypatch
    ):
        put = archive._client.put_object

        def stored_but_lost(**given):
            put(**given)
            raise botocore.exceptions.ConnectionClosedError(endpoint_url="the store")

        with monkeypatch.context() as broken:
            broken.setattr(archive._client, "put_object", stored_but_lost)
            with pytest.raises(ArchiveUnreachable):
                archive.put(NAME, b"content", lock(now_ms))
        proof = archive_elsewhere.put(NAME, b"content", lock(now_ms))
        assert archive.put(NAME, b"content", lock(now_ms)) == proof

    def test_request_that_never_arrived_is_made_good_by_repeating(
        self, archive, now_ms, monkeypatch
    ):
        def lost(**given):
            raise botocore.exceptions.EndpointConnectionError(endpoint_url="the store")

        with monkeypatch.context() as broken:
            broken.setattr(archive._client, "put_object", lost)
            with pytest.raises(ArchiveUnreachable):
                archive.put(NAME, b"content", lock(now_ms))
        assert archive.find(NAME) is None
        assert archive.put(NAME, b"content", lock(now_ms)).bytes == 7


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(StateError, match="not installed") as refused:
        S3Archive(S3Settings("bucket"))
    assert "cluster" in refused.value.advice
