"""What an S3 server's or the network's complaint means, as an error that names bucket, endpoint, cause and the next step.

Pure apart from importing botocore's exception classes; tested as a table.
"""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import botocore.exceptions as boto
import urllib3.exceptions as http

from recoup.errors import Denied, Integrity, Invalid, NotFound, RecoupError, Retryable

REJECTED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded"}
CONFLICTS = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "InternalError"}
ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect"}
FOREIGN = (boto.BotoCoreError, boto.ClientError, http.HTTPError, HTTPException, OSError)
"""What an S3 call may raise because of the place; anything else is a bug of ours and stays what it is."""
NETWORK = (boto.HTTPClientError, boto.ConnectionError, http.HTTPError, boto.IncompleteReadError, HTTPException, OSError)


def code_of(error: BaseException) -> tuple[str, int]:
    """The S3 error code ("" if there is none) and the HTTP status (0 if there was no answer)."""
    if not isinstance(error, boto.ClientError):
        return "", 0
    answer: dict[str, Any] = dict(error.response)
    return str(answer.get("Error", {}).get("Code", "")), int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translate(error: BaseException, *, name: str, bucket: str, endpoint: str) -> RecoupError:
    """The error to raise for `error`, which came when the object `name` was asked for."""
    where = f"bucket {bucket} at {endpoint}"
    if isinstance(error, boto.ClientError):
        return _answered(error, name, where)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)):
        message = f"{where}: no complete credentials found; give --credentials-dir, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Denied(message, reason="CredentialsMissing")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = f"{where}: its certificate is not trusted; check the host name, or give its authority with --ca-bundle"
        return Invalid(message, reason="CertificateRejected")
    if isinstance(error, (boto.ParamValidationError, boto.InvalidRegionError, boto.ProfileNotFound)):
        return Invalid(f"{where}: not a usable location: {_short(error)}", reason="InvalidLocation")
    if isinstance(error, NETWORK):
        message = f"{where} cannot be reached: {_short(error)}; check the endpoint, the name service and the network between"
        return Retryable(message, reason="LocationUnreachable")
    return Retryable(f"{where} gave an answer that is not S3's: {_short(error)}; check the endpoint", reason="LocationUnavailable")


def _answered(error: boto.ClientError, name: str, where: str) -> RecoupError:
    code, status = code_of(error)
    said = f"{code or status}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if code == "NoSuchBucket":
        return Invalid(f"{where} does not exist; check the name, or create the bucket", reason="BucketNotFound")
    if code in {"NoSuchKey", "404", "NotFound"} or (status == 404 and not code):
        return NotFound(f"{name}: no such object in {where}", reason="ObjectNotFound")
    if code == "InvalidRange" or status == 416:
        return Integrity(f"{name} in {where} is shorter than the range asked for; the object is truncated", reason="ObjectTruncated")
    if code in REJECTED or status == 401:
        return Denied(
            f"{where} rejected the credentials ({said}); check access key, secret and session token", reason="CredentialsRejected"
        )
    if code == "RequestTimeTooSkewed":
        return Invalid(f"{where}: this machine's clock differs too much from the server's; set it right", reason="ClockSkewed")
    if code in ELSEWHERE or status in {301, 307}:
        region = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        return Invalid(f"{where} is in another region{f', {region}' if region else ''}; set --region", reason="RegionMismatch")
    if status == 403 or code == "AccessDenied":
        return Denied(f"{name}: {where} does not allow this ({said}); the credentials need the right to do it", reason="AccessDenied")
    if "ObjectLockConfiguration" in said:
        return Invalid(
            f"{where} has no object lock ({said}): it is enabled when a bucket is made; make another bucket, or leave the lock out",
            reason="ObjectLockMissing",
        )
    if code in THROTTLED or status in {429, 503}:
        return Retryable(f"{where} throttles ({said})", reason="Throttled")
    if code in CONFLICTS or (status >= 500 and status != 501):
        return Retryable(f"{where} failed ({said})", reason="LocationUnavailable")
    return Invalid(f"{name}: {where} refused the request ({said})", reason="RequestRefused")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
