"""AWS KMS keys as KEKs: the key never leaves the service, which decides who may use it (docs/format.md section 2, wrap type 18).

Each section is wrapped by a call of its own with its place as encryption context, so that grants and key policies can tell vaults,
generations and sections apart, and the audit log shows them. Credentials come from the usual AWS configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from recoup.engine.format.derive import derive
from recoup.engine.keys.kms_wrap import ARN, join_wrapped, split_wrapped
from recoup.engine.keys.wraps import AWS_KMS, BadWrap, Scope, Wrap
from recoup.errors import Invalid, KeyUnavailable, RecoupError, Retryable

_FOREIGN = (ClientError, BotoCoreError)
_DAMAGED = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_AWAY = frozenset(
    {
        "ThrottlingException",
        "KMSInternalException",
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "InternalFailure",
        "RequestTimeout",
    }
)


@dataclass(frozen=True, slots=True)
class KmsKek:
    """One key by its ARN. Wrapping needs kms:Encrypt, unwrapping kms:Decrypt."""

    arn: str
    type: int = field(default=AWS_KMS, init=False)
    id: bytes = field(init=False)
    proves_origin: bool = field(default=False, init=False)
    _made: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", derive(_identity(self.arn), b"rcp1/aws-kms", 16))

    @classmethod
    def from_text(cls, arn: str) -> Self:
        """Raises Invalid for anything but a key's ARN: an alias may be turned to another key behind the back of a vault."""
        if not ARN.fullmatch(arn):
            raise Invalid(
                f"{arn!r} is not the ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID; an alias will not do)", reason="InvalidKey"
            )
        return cls(arn)

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        try:
            answer = self._client.encrypt(KeyId=self.arn, Plaintext=section_key, EncryptionContext=scope.words)
        except _FOREIGN as error:
            self._fail(error, "kms:Encrypt")
        return Wrap(AWS_KMS, self.id, join_wrapped(self.arn, answer["CiphertextBlob"]))

    def owns(self, wrap: Wrap) -> bool:
        return wrap.key == (AWS_KMS, self.id)

    def unwrap(self, wrap: Wrap, scope: Scope) -> bytes | None:
        if not self.owns(wrap):
            return None
        arn, blob = split_wrapped(wrap.wrapped)
        if _identity(arn) != _identity(self.arn):
            raise BadWrap
        try:
            plain: bytes = self._client.decrypt(KeyId=self.arn, CiphertextBlob=blob, EncryptionContext=scope.words)["Plaintext"]
        except _FOREIGN as error:
            self._fail(error, "kms:Decrypt")
        return plain

    @property
    def _client(self) -> Any:
        if not self._made:
            region = self.arn.split(":")[3]
            config = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 5})
            try:
                self._made.append(boto3.Session().client("kms", region_name=region, config=config))
            except _FOREIGN as error:
                self._fail(error, "a KMS client")
        return self._made[0]

    def _fail(self, error: ClientError | BotoCoreError, action: str) -> NoReturn:
        raise _translated(error, self.arn, action) from error


def _translated(error: ClientError | BotoCoreError, arn: str, action: str) -> RecoupError | BadWrap:
    if isinstance(error, (HTTPClientError, NoConnection)):
        return Retryable(f"KMS does not answer ({action} with {arn}): {type(error).__name__}", reason="KeyServiceUnreachable")
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else type(error).__name__
    if code in _DAMAGED:
        return BadWrap()
    if code in _AWAY:
        return Retryable(f"KMS cannot serve {action} with {arn} now: {code}", reason="KeyServiceUnreachable")
    return KeyUnavailable(
        f"KMS refuses {action} with {arn}: {error}; see the key's state, its policy and grants, and these AWS credentials"
    )


def _identity(arn: str) -> bytes:
    """What names a key for ever. The replicas of a multi-region key are one key, so that another region can open what one made."""
    match = ARN.fullmatch(arn)
    assert match is not None
    partition, region, account, key = match.groups()
    return (f"{partition}:{account}:{key}" if key.startswith("mrk-") else f"{partition}:{region}:{account}:{key}").encode("ascii")
