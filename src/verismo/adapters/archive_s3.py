"""The archive on S3 with Object Lock; needs the extra `cluster`.

The bucket must have Object Lock. An object is stored with `If-None-Match: *`, its SHA-256 and its
lock, and is then read back by its version. A name means the *oldest* version of its key: a delete
marker or a newer version, which even a locked bucket allows, neither hides nor replaces it.

Credentials come from where every AWS client takes them: environment, profile or instance role.
"""

import base64
import binascii
import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar

import msgspec

from verismo.adapters.archive_names import check_name, refuse_other_bytes, refuse_weaker_mode
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.retention import Lock, UploadProof
from verismo.ports.archive import ArchiveUnreachable, ArchiveUnusable, RetentionHolds

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_S_MAX = 10
READ_S_MAX = 120
"""One object of 20 MB over a slow line."""
ATTEMPTS_MAX = 4
"""boto3's own retries, with back-off, of what is safe to repeat."""
VERSIONS_MAX = 1_000
"""Versions of one key that are looked through; the archive makes one."""

_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_NO_LOCK = "ObjectLockConfigurationNotFoundError"

T = TypeVar("T")


class S3Settings(msgspec.Struct, frozen=True):
    """Where the bucket is.

    Args:
        bucket: its name.
        region: of the bucket; empty takes the environment's.
        endpoint: URL of a store other than AWS; empty for AWS.
        prefix: before every name, without slashes at its ends; empty for none.
    """

    bucket: str
    region: str = ""
    endpoint: str = ""
    prefix: str = ""


class _Version(TypedDict):
    Key: str
    VersionId: str
    LastModified: datetime


class _Body(Protocol):
    def read(self) -> bytes: ...


_Answer = Mapping[str, object]


class _Paginator(Protocol):
    def paginate(self, **given: object) -> Iterable[Mapping[str, Sequence[_Version]]]: ...


class _Client(Protocol):
    """The part of boto3's client that is used; boto3 makes its methods at run time."""

    def put_object(self, **given: object) -> _Answer: ...
    def head_object(self, **given: object) -> _Answer: ...
    def get_object(self, **given: object) -> Mapping[str, _Body]: ...
    def delete_object(self, **given: object) -> _Answer: ...
    def put_object_retention(self, **given: object) -> _Answer: ...
    def get_object_lock_configuration(self, **given: object) -> _Answer: ...
    def get_paginator(self, name: str) -> _Paginator: ...


class S3Archive:
    """Objects in a bucket with Object Lock; see `ports.archive.Archive`.

    One client for the life of the object; it may be used by several threads.

    Args:
        settings: where.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix}/" if settings.prefix else ""
        self._lock_checked = False
        self._failures = _load("botocore.exceptions")
        self._client: _Client = self._call(lambda: _client(settings))

    def put(self, name: str, content: bytes, lock: Lock) -> UploadProof:
        """Store an object under its lock and read it back by its version."""
        digest = hashlib.sha256(content)
        self._check_bucket()
        found = self.find(name)
        if found is None:
            version = self._store(name, content, digest.digest(), lock)
            # A crash or a lost answer here leaves the object stored and locked: the next `put`
            # finds it, reads it back, and returns its proof.
            found = self._read_back(name, version) if version else self.find(name)
        if found is None:
            raise IntegrityError(f"the archive says that {name} is taken, and then holds none")
        refuse_other_bytes(name, found.sha256, digest.hexdigest())
        if not found.satisfies(lock):
            found = self._lengthen(found, lock)
        if not found.satisfies(lock):
            raise IntegrityError(
                f"{name} was read back with the lock {found.mode} until {found.until_ms}, "
                f"not {lock.mode} until {lock.until_ms}"
            )
        return found

    def find(self, name: str) -> UploadProof | None:
        """Read back the oldest version of an object."""
        oldest = self._oldest(self._key(name))
        return None if oldest is None else self._read_back(name, oldest)

    def get(self, name: str) -> bytes:
        """Return the oldest version's bytes, checked against the digest of the store."""
        key, version = self._key(name), self._oldest(self._key(name))
        if version is None:
            raise IntegrityError(f"the bucket {self._bucket} holds no {name}")

        def fetch() -> bytes:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, VersionId=version, ChecksumMode="ENABLED"
            )
            return answer["Body"].read()

        content = self._call(fetch)
        proof = self._read_back(name, version)
        if canonical.digest(content) != proof.sha256:
            raise IntegrityError(f"{name} is not what was stored under it")
        return content

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names that begin with a prefix, sorted, those behind delete markers too."""
        cut = len(self._prefix)
        versions = self._versions(self._prefix + prefix)
        return sorted({version["Key"][cut:] for version in versions})

    def remove(self, name: str, now_ms: int) -> None:
        """Delete every version of an object; the store's own clock decides whether it may."""
        key = self._key(name)
        for version in [one for one in self._versions(key) if one["Key"] == key]:
            proof = self._read_back(name, version["VersionId"])
            if now_ms < proof.until_ms:
                raise RetentionHolds(f"{name} is locked until {proof.until_ms} (Unix ms)")
            self._call(
                lambda: self._client.delete_object(
                    Bucket=self._bucket,
                    Key=key,
                    VersionId=version["VersionId"],  # noqa: B023 - called at once
                )
            )

    def _key(self, name: str) -> str:
        return self._prefix + check_name(name)

    def _store(self, name: str, content: bytes, digest: bytes, lock: Lock) -> str:
        """Store an object that is not there; empty where another writer was first."""

        def store() -> _Answer:
            return self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(name),
                Body=content,
                IfNoneMatch="*",
                ChecksumSHA256=base64.b64encode(digest).decode("ascii"),
                ObjectLockMode=lock.mode,
                ObjectLockRetainUntilDate=datetime.fromtimestamp(lock.until_ms / 1_000, UTC),
            )

        try:
            return str(self._call(store).get("VersionId", ""))
        except _Taken:
            return ""

    def _read_back(self, name: str, version: str) -> UploadProof:
        answer: _Answer = self._call(
            lambda: self._client.head_object(
                Bucket=self._bucket,
                Key=self._key(name),
                VersionId=version,
                ChecksumMode="ENABLED",
            )
        )
        until, mode = answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockMode")
        if not isinstance(until, datetime) or mode not in ("COMPLIANCE", "GOVERNANCE"):
            raise IntegrityError(f"the archive holds {name} without a lock (version {version})")
        return UploadProof(
            name=name,
            sha256=_hex(answer.get("ChecksumSHA256"), name),
            bytes=int(str(answer["ContentLength"])),
            version=version,
            mode="COMPLIANCE" if mode == "COMPLIANCE" else "GOVERNANCE",
            until_ms=int(until.timestamp()) * 1_000,
            enforced_by="object-lock",
        )

    def _lengthen(self, found: UploadProof, lock: Lock) -> UploadProof:
        """Make a lock longer, in the mode that it has; Object Lock refuses the reverse."""
        refuse_weaker_mode(found, lock)
        until = datetime.fromtimestamp(lock.until_ms / 1_000, UTC)
        self._call(
            lambda: self._client.put_object_retention(
                Bucket=self._bucket,
                Key=self._key(found.name),
                VersionId=found.version,
                Retention={"Mode": found.mode, "RetainUntilDate": until},
            )
        )
        return self._read_back(found.name, found.version)

    def _oldest(self, key: str) -> str | None:
        versions = [one for one in self._versions(key) if one["Key"] == key]
        # Newest first within a key (ListObjectVersions), and times have whole seconds only.
        return versions[-1]["VersionId"] if versions else None

    def _versions(self, prefix: str) -> list[_Version]:
        return self._call(lambda: list(self._pages(prefix)))

    def _pages(self, prefix: str) -> Iterator[_Version]:
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in pages:
            yield from page.get("Versions", ())

    def _check_bucket(self) -> None:
        """Refuse a bucket without Object Lock before anything is stored; asked once."""
        if self._lock_checked:
            return
        answer: _Answer = self._call(
            lambda: self._client.get_object_lock_configuration(Bucket=self._bucket)
        )
        found = answer.get("ObjectLockConfiguration")
        if not isinstance(found, dict) or found.get("ObjectLockEnabled") != "Enabled":
            raise _without_lock(self._bucket)
        self._lock_checked = True

    def _call(self, what: Callable[[], T]) -> T:
        """Call the store and translate what it or boto3 raises."""
        failures = self._failures
        try:
            return what()
        except failures.ClientError as error:
            raise self._translated(error) from error
        except (
            failures.NoCredentialsError,
            failures.PartialCredentialsError,
            failures.ProfileNotFound,
        ) as error:
            raise ArchiveUnusable(
                f"no credentials for the bucket {self._bucket}: {error}",
                next_step="Give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or an "
                "instance role to the process, then repeat the command.",
            ) from error
        except (failures.HTTPClientError, failures.ConnectionError) as error:
            raise ArchiveUnreachable(
                f"the bucket {self._bucket} does not answer: {error}"
            ) from error
        except (failures.BotoCoreError, ValueError) as error:
            # botocore refuses a malformed endpoint or region with ValueError.
            raise ArchiveUnusable(
                f"the bucket {self._bucket} cannot be used: {error}",
                next_step="Check [archive] bucket, region and endpoint.",
            ) from error

    def _translated(self, error: "ClientError") -> StateError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        told = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
        if code in _TAKEN:
            return _Taken(told)
        if code in _CREDENTIALS:
            return ArchiveUnusable(
                f"the bucket {self._bucket} refuses the credentials ({told})",
                next_step="Renew them, then repeat the command: what is already there is kept, "
                "and what is missing is uploaded.",
            )
        if code == "RequestTimeTooSkewed":
            return ArchiveUnusable(
                f"this machine's clock and the store's are too far apart ({told})",
                next_step="Set the clock (NTP), then repeat the command.",
            )
        if code == "NoSuchBucket":
            return ArchiveUnusable(
                f"there is no bucket {self._bucket}",
                next_step="Make it with Object Lock, or mend [archive] bucket.",
            )
        if code == _NO_LOCK:
            return _without_lock(self._bucket)
        if code in ("AccessDenied", "403"):
            return ArchiveUnusable(
                f"the bucket {self._bucket} denies it ({told})",
                next_step="The archive needs s3:PutObject, s3:PutObjectRetention, s3:GetObject, "
                "s3:GetObjectVersion, s3:GetObjectRetention, s3:ListBucketVersions and "
                "s3:GetBucketObjectLockConfiguration.",
            )
        if status >= 500 or code in ("SlowDown", "RequestTimeout"):
            return ArchiveUnreachable(f"the bucket {self._bucket} failed ({told})")
        return ArchiveUnusable(
            f"the bucket {self._bucket} refuses it ({told})",
            next_step="Check that the store supports Object Lock and SHA-256 checksums.",
        )


class _Taken(StateError):
    """The key has an object: another writer was first."""


def _client(settings: S3Settings) -> _Client:
    client: _Client = (
        _load("boto3")
        .session.Session()
        .client(
            "s3",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            config=_load("botocore.config").Config(
                connect_timeout=CONNECT_S_MAX,
                read_timeout=READ_S_MAX,
                retries={"total_max_attempts": ATTEMPTS_MAX, "mode": "standard"},
                # Stores other than AWS rarely have a host name for each bucket.
                s3={"addressing_style": "path" if settings.endpoint else "auto"},
            ),
        )
    )
    return client


def _load(name: str) -> ModuleType:
    """Import a part of boto3, which only those install who archive to S3."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise StateError(
            f"the archive on S3 needs the package {error.name}, which is not installed",
            next_step="Install it: pip install 'verismo[gateway,cluster]'",
        ) from error


def _without_lock(bucket: str) -> ArchiveUnusable:
    return ArchiveUnusable(
        f"the bucket {bucket} has no Object Lock, so it would keep nothing for seven years",
        next_step="Make a bucket with Object Lock (--object-lock-enabled-for-bucket) and name it "
        "in [archive] bucket.",
    )


def _hex(checksum: object, name: str) -> str:
    try:
        raw = base64.b64decode(str(checksum), validate=True)
    except binascii.Error as error:
        raise IntegrityError(f"the archive holds {name} without a SHA-256 checksum") from error
    if len(raw) != hashlib.sha256().digest_size:
        raise IntegrityError(f"the archive holds {name} without a SHA-256 checksum")
    return raw.hex()
