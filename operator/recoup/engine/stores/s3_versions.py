"""S3 object versions and what locks them: the requests behind `s3_versioned.py`. Raises botocore's errors; s3.py translates them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from recoup.engine.stores.versions import Retention, Version

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_UNKNOWN: Final = datetime.min.replace(tzinfo=UTC)

Page = tuple[list[Version], tuple[str, str]]
"""What a page lists, by name and the newest first, versions before delete markers; key and version to go on from, or nothing."""


def list_page(client: S3Client, bucket: str, prefix: str, strip: int, start: tuple[str, str]) -> Page:
    """One page of versions and delete markers; names without the first `strip` characters of their keys."""
    request: Any = {"Bucket": bucket, "Prefix": prefix}
    if start[0]:
        request["KeyMarker"] = start[0]
    if start[1]:
        request["VersionIdMarker"] = start[1]
    page: Any = client.list_object_versions(**request)
    entries = [*((entry, False) for entry in page.get("Versions", [])), *((entry, True) for entry in page.get("DeleteMarkers", []))]
    found = [
        Version(entry["Key"][strip:], entry["VersionId"], marker, entry.get("Size", 0), entry["LastModified"]) for entry, marker in entries
    ]
    found.sort(key=lambda version: version.name)
    more = page.get("IsTruncated") and page.get("NextKeyMarker")
    return found, (page["NextKeyMarker"], page.get("NextVersionIdMarker", "")) if more else ("", "")


def newest_first(found: list[Version]) -> Iterator[Version]:
    """Sorted by time, whatever their names."""
    return iter(sorted(found, key=lambda version: version.modified or _UNKNOWN, reverse=True))


def ask_retention(client: S3Client, bucket: str, key: str, version: str) -> Retention:
    """What HEAD says of a version; nothing where these credentials may not ask."""
    try:
        answer = client.head_object(Bucket=bucket, Key=key, VersionId=version)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {403, 404, 405}:
            return Retention(None, hold=False)
        raise
    return Retention(answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockLegalHoldStatus") == "ON")
