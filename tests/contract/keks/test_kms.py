"""AWS KMS: who may do what decides the service, and recoup says what it said. Against moto's server, with its IAM switched on."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber

from recoup.cli.main import run
from recoup.engine.keys.kms import KmsKek
from recoup.engine.keys.wraps import BadWrap, Scope, Wrap
from recoup.errors import Invalid, KeyUnavailable, Retryable

SCOPE = Scope(bytes(16), bytes(range(16)), 3, "private")
KEY = os.urandom(32)
ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def kms() -> Any:
    return boto3.client("kms", region_name="eu-central-1")


@pytest.fixture
def arn(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@contextmanager
def enforcing(endpoint: str) -> Iterator[None]:
    """From here on moto asks IAM."""

    def say(actions: bytes) -> None:
        request = urllib.request.Request(
            f"{endpoint}/moto-api/reset-auth", data=actions, method="POST", headers={"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request):
            pass

    say(b"0")
    try:
        yield
    finally:
        say(b"Infinity")


def become(monkeypatch: pytest.MonkeyPatch, *actions: str) -> None:
    """Credentials of a new user who may do just this with keys."""
    iam, name = boto3.client("iam", region_name="us-east-1"), f"user-{os.urandom(4).hex()}"
    iam.create_user(UserName=name)
    if actions:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="keys", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])


@pytest.mark.parametrize(
    ("actions", "may_close", "may_open"),
    [((), False, False), (("kms:Encrypt",), True, False), (("kms:Decrypt",), False, True), (("kms:Encrypt", "kms:Decrypt"), True, True)],
    ids=["nothing", "encrypt", "decrypt", "both"],
)
def test_rights_to_close_and_to_open_are_apart(
    actions: tuple[str, ...], may_close: bool, may_open: bool, aws: str, arn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = KmsKek.from_text(arn).wrap(KEY, SCOPE)
    become(monkeypatch, *actions)
    kek = KmsKek.from_text(arn)
    with enforcing(aws):
        _expect(may_close, lambda: kek.wrap(KEY, SCOPE), ("kms:Encrypt", arn))
        _expect(may_open, lambda: kek.unwrap(wrap, SCOPE), ("kms:Decrypt", arn))


def _expect(allowed: bool, use: Callable[[], object], words: tuple[str, ...]) -> None:
    if allowed:
        assert use()
        return
    with pytest.raises(KeyUnavailable) as caught:
        use()
    assert all(word in str(caught.value) for word in (*words, "AccessDenied", "policy and grants"))


def granted(kms: Any, arn: str, kek: KmsKek) -> None:
    """Make the client ask moto's list of grants first. moto keeps grants and their constraints, and does not enforce them."""

    def check(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked = json.loads(params["body"])["EncryptionContext"]
        for grant in kms.list_grants(KeyId=arn)["Grants"]:
            subset = grant.get("Constraints", {}).get("EncryptionContextSubset", {})
            if model.name in grant["Operations"] and subset.items() <= asked.items():
                return
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no grant"}}, model.name)

    kek._client.meta.events.register("before-call.kms.*", check)


@pytest.mark.parametrize(
    ("subset", "opens"),
    [
        ({"recoup/vault": SCOPE.vault_id.hex()}, True),
        ({"recoup/vault": SCOPE.vault_id.hex(), "recoup/generation": "3"}, True),
        ({"recoup/vault": SCOPE.vault_id.hex(), "recoup/generation": "2"}, False),
        ({"recoup/vault": bytes(16).hex()}, False),
        ({"recoup/section": "catalogue"}, False),
    ],
)
def test_a_grant_can_be_for_a_vault_a_generation_or_a_section(subset: dict[str, str], opens: bool, kms: Any, arn: str) -> None:
    wrap = KmsKek.from_text(arn).wrap(KEY, SCOPE)
    kms.create_grant(
        KeyId=arn,
        GranteePrincipal="arn:aws:iam::123456789012:role/restore",
        Operations=["Decrypt"],
        Constraints={"EncryptionContextSubset": subset},
    )
    kek = KmsKek.from_text(arn)
    granted(kms, arn, kek)
    if opens:
        assert kek.unwrap(wrap, SCOPE) == KEY
    else:
        with pytest.raises(KeyUnavailable, match="no grant"):
            kek.unwrap(wrap, SCOPE)
    with pytest.raises(KeyUnavailable, match="no grant"):
        kek.wrap(KEY, SCOPE)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("InvalidCiphertextException", BadWrap),
        ("IncorrectKeyException", BadWrap),
        ("AccessDeniedException", KeyUnavailable),
        ("DisabledException", KeyUnavailable),
        ("KMSInvalidStateException", KeyUnavailable),
        ("NotFoundException", KeyUnavailable),
        ("UnrecognizedClientException", KeyUnavailable),
        ("ExpiredTokenException", KeyUnavailable),
        ("ThrottlingException", Retryable),
        ("KMSInternalException", Retryable),
        ("DependencyTimeoutException", Retryable),
    ],
)
def test_what_the_service_says_decides_what_is_raised(code: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    kek = KmsKek.from_text(ARN)
    wrap = Wrap(kek.type, kek.id, len(ARN).to_bytes(2, "big") + ARN.encode() + b"blob")
    with Stubber(kek._client) as stubber:
        monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's pauses between its own tries
        for _ in range(5):
            stubber.add_client_error("decrypt", code, http_status_code=400)
        with pytest.raises(expected) as caught:
            kek.unwrap(wrap, SCOPE)
    if expected is not BadWrap:
        assert ARN in str(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(EndpointConnectionError(endpoint_url="https://kms"), Retryable), (NoCredentialsError(), KeyUnavailable)],
)
def test_a_service_that_is_away_is_no_refusal(error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    kek = KmsKek.from_text(ARN)

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(kek._client, "encrypt", fail)
    with pytest.raises(expected, match="kms:Encrypt"):
        kek.wrap(KEY, SCOPE)


@pytest.mark.parametrize(
    "text", ["", "alias/backups", "arn:aws:kms:eu-central-1:123456789012:alias/backups", "arn:aws:s3:::bucket", ARN + " "]
)
def test_only_the_arn_of_a_key_names_a_key(text: str) -> None:
    with pytest.raises(Invalid, match="ARN"):
        KmsKek.from_text(text)


def test_the_replicas_of_a_multi_region_key_are_one_key() -> None:
    """By name: moto does not decrypt with a replica what its primary encrypted, as AWS does."""
    multi = ARN.replace("key/1234abcd-12ab-34cd-56ef-1234567890ab", "key/mrk-1234abcd12ab34cd56ef1234567890ab")
    for arn, same in ((multi, True), (ARN, False)):
        assert (KmsKek.from_text(arn).id == KmsKek.from_text(arn.replace("eu-central-1", "us-east-1")).id) is same
    assert KmsKek.from_text(multi).id != KmsKek.from_text(multi.replace("123456789012", "210987654321")).id


def test_the_command_line_makes_and_opens_a_vault_with_a_kms_key(arn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, other = ("--location", f"file://{tmp_path}/location"), ("--aws-kms", ARN)
    assert run(["init", *place, "--aws-kms", arn, "-o", "json"]) == 0
    fingerprint = ("--fingerprint", json.loads(capsys.readouterr().out)["fingerprint"])
    assert run(["snapshots", *place, *fingerprint, "--aws-kms", arn]) == 0
    assert run(["snapshots", *place, *fingerprint, *other]) == 40
    assert run(["keys", "list", *place, *fingerprint, "--aws-kms", arn]) == 0
    assert re.search(rf"awsKms +1 +yes +{arn}", capsys.readouterr().out)
    assert run(["keygen", str(tmp_path / "key")]) == 0
    assert run(["keys", "add", *place, *fingerprint, "--aws-kms", arn, "--new-key-file", str(tmp_path / "key")]) == 0
    assert run(["snapshots", *place, "--key-file", str(tmp_path / "key")]) == 0
