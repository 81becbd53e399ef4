"""S3 object versions and what locks them: the requests behind `versions.py`. Raises botocore's errors; s3.py translates them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from recoup.engine.stores.versions import Retention, Version

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def list_versions(client: S3Client, bucket: str, prefix: str, strip: int) -> Iterator[Version]:
    """Versions and delete markers below a prefix, the newest first; names without the first `strip` characters of their keys."""
    found: list[tuple[Any, Version]] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        entries: list[tuple[Any, bool]] = [
            *((entry, False) for entry in page.get("Versions", [])),
            *((entry, True) for entry in page.get("DeleteMarkers", [])),
        ]
        found += [(entry["LastModified"], Version(entry["Key"][strip:], entry["VersionId"], marker)) for entry, marker in entries]
    return iter([version for _, version in sorted(found, key=lambda pair: pair[0], reverse=True)])


def ask_retention(client: S3Client, bucket: str, key: str, version: str) -> Retention:
    """What HEAD says of a version; nothing where these credentials may not ask."""
    try:
        answer = client.head_object(Bucket=bucket, Key=key, VersionId=version)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {403, 404, 405}:
            return Retention(None, hold=False)
        raise
    return Retention(answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockLegalHoldStatus") == "ON")
