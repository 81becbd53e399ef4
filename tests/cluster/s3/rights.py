"""Credentials that may do only what an IAM policy document says, on either server.

minio: an access key of its own with the policy, or a temporary one with a session token. versitygw has no policies of
users, so there the policy's statements become bucket policies for a new user: the buckets must exist already.
"""

import hashlib
import json
import os
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.cluster.s3.credentials import Credentials, fresh
from tests.cluster.trouble import Trouble

if TYPE_CHECKING:
    from tests.cluster.s3.servers import S3Server

Policy = dict[str, Any]
ARN = "arn:aws:s3:::"


def restricted_credentials(server: "S3Server", policy: Policy) -> Credentials:
    """Make keys that may do what the policy (an IAM document) allows and nothing else. Raise Trouble if refused."""
    user = fresh()
    if server.provider == "minio":
        request = {"policy": policy, "accessKey": user.access_key, "secretKey": user.secret_key, "name": "recoup-test"}
        body = _madmin_encrypt(server.credentials.secret_key, json.dumps(request).encode())
        _signed(server, "PUT", "/minio/admin/v3/add-service-account", body)
    else:
        account = f"<Account><Access>{user.access_key}</Access><Secret>{user.secret_key}</Secret><Role>user</Role></Account>"
        _signed(server, "PATCH", "/create-user", account.encode())
        _grant_by_buckets(server, user.access_key, policy)
    return user


def session_credentials(server: "S3Server", policy: Policy, *, seconds: int = 900) -> Credentials:
    """Make temporary keys with a session token by STS AssumeRole (minio only; it refuses less than 900 s)."""
    if server.provider != "minio":
        raise Trouble(f"{server.provider} has no STS", step="use restricted_credentials")
    sts: Any = server.session().client("sts", endpoint_url=server.endpoint, verify=str(server.ca_file) if server.ca_file else None)
    given = sts.assume_role(
        RoleArn="arn:aws:iam::000000000000:role/test", RoleSessionName="test", Policy=json.dumps(policy), DurationSeconds=seconds
    )["Credentials"]
    return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def _grant_by_buckets(server: "S3Server", user: str, policy: Policy) -> None:
    """Add the policy's statements, with this user as principal, to the policies of the buckets they name."""
    client = server.client()
    by_bucket: dict[str, list[Policy]] = {}
    for statement in policy["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            bucket = resource.removeprefix(ARN).split("/", 1)[0]
            same = {key: value for key, value in statement.items() if key not in ("Resource", "Sid")}
            by_bucket.setdefault(bucket, []).append({**same, "Principal": {"AWS": [user]}, "Resource": resource})
    for bucket, statements in by_bucket.items():
        try:
            present = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
                raise
            present = []
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [*present, *statements]}))


def _signed(server: "S3Server", method: str, path: str, body: bytes) -> bytes:
    """Call a server's administration interface, which wants a signature as S3 does."""
    request = AWSRequest(method, server.endpoint + path, data=body, headers={"X-Amz-Content-Sha256": hashlib.sha256(body).hexdigest()})
    keys = ReadOnlyCredentials(server.credentials.access_key, server.credentials.secret_key, None)
    SigV4Auth(keys, "s3", server.region).add_auth(request)
    trust = ssl.create_default_context(cafile=str(server.ca_file)) if server.ca_file else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(urllib.request.Request(server.endpoint + path, body, dict(request.headers), method=method), timeout=30) as answer:
            reply: bytes = answer.read()
            return reply
    except urllib.error.HTTPError as error:
        with error:
            raise Trouble(f"{server.provider} refused {method} {path}: {error.code} {error.read().decode(errors='replace')}") from error


def _madmin_encrypt(password: str, data: bytes) -> bytes:
    """Encrypt one request as minio's administration wants it: PBKDF2, then one AES-256-GCM fragment of its stream format."""
    salt, nonce = os.urandom(32), os.urandom(8)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 8192, 32))
    head_tag = cipher.encrypt(nonce + (0).to_bytes(4, "little"), b"", b"")
    last_fragment = cipher.encrypt(nonce + (1).to_bytes(4, "little"), data, b"\x80" + head_tag)
    return salt + b"\x02" + nonce + last_fragment
