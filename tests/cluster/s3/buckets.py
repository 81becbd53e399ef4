"""Fresh buckets for tests, and getting rid of them with everything they hold."""

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tests.cluster.s3.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Bucket:
    """A bucket and the server it is on."""

    server: S3Server
    name: str

    @cached_property
    def client(self) -> "S3Client":
        return self.server.client()

    def url(self, prefix: str = "") -> str:
        return f"s3://{self.name}/{prefix}".rstrip("/")


def create_bucket(server: S3Server, name: str | None = None, *, versioned: bool = False, object_lock: bool = False) -> Bucket:
    """Make a bucket, by a random name if none is given. Object lock implies versioning."""
    bucket, client = Bucket(server, name or f"test-{secrets.token_hex(6)}"), server.client()
    client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=object_lock)
    if versioned and not object_lock:
        client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def delete_bucket(bucket: Bucket) -> None:
    """Delete a bucket with all objects, versions and unfinished uploads; locks of governance mode are overridden.

    Objects under a compliance lock can't be deleted by anybody: then the bucket stays until its server goes.
    """
    client, name = bucket.client, bucket.name
    for uploads in client.get_paginator("list_multipart_uploads").paginate(Bucket=name):
        for upload in uploads.get("Uploads", []):
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            try:
                client.delete_object(Bucket=name, Key=entry["Key"], VersionId=entry["VersionId"], BypassGovernanceRetention=True)
            except ClientError as error:
                if error.response["Error"]["Code"] != "AccessDenied":
                    raise
                return
    client.delete_bucket(Bucket=name)
